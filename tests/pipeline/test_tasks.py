"""Tasks that hang are restarted; tasks that wait for a CPU, or take long, are not."""

import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import ray
import torch

from flat_dist.config.errors import UserError
from flat_dist.runtime import tasks
from flat_dist.runtime.tasks import ProgressReporter

pytestmark = pytest.mark.ray


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "GRACE_SECONDS", 1.0)
    monkeypatch.setattr(tasks, "LOOK_SECONDS", 0.5)


def log(path: Path) -> Callable[[str], list[int]]:
    """Returns a function that reads the ids of the processes that a task ran in."""
    return lambda name: [int(line) for line in (path / name).read_text().split()]


@ray.remote(num_cpus=1, max_retries=2)
def stop(file: str, times: int, name: str) -> str:
    """Stop the own process `times` times, each time in another process."""
    progress = ProgressReporter(name)
    with Path(file).open("a") as written:
        written.write(f"{os.getpid()}\n")
    if len(Path(file).read_text().split()) <= times:
        os.kill(os.getpid(), signal.SIGSTOP)
    progress.follow(model := torch.nn.Identity())
    for _ in range(60):  # longer than a task may hang
        time.sleep(0.1)
        model(torch.zeros(1))
    return f"done, {times}"


def test_a_task_that_hangs_is_restarted(local_ray: None, tmp_path: Path) -> None:
    calls = {times: partial(stop.remote, str(tmp_path / f"{times}"), times) for times in (0, 1)}
    calls[-1] = partial(stop.remote, str(tmp_path / "waits"), 0)  # there are two processors
    assert dict(tasks.results("stop", calls, stall_seconds=4.0)) == {0: "done, 0", 1: "done, 1", -1: "done, 0"}
    ran = log(tmp_path)
    assert (len(ran("0")), len(ran("1")), len(ran("waits"))) == (1, 2, 1)
    stopped, other = ran("1")
    assert stopped != other
    assert not Path(f"/proc/{stopped}").exists()


def test_a_task_that_always_hangs_is_reported_in_one_sentence(
    local_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "ATTEMPTS", 1)
    with pytest.raises(UserError, match=r"stop: 1 processes in a row made no progress for 0.5 s"):
        list(tasks.results("stop", {0: partial(stop.remote, str(tmp_path / "log"), 99)}, stall_seconds=0.5))


@ray.remote(num_cpus=1)
def mistake(name: str) -> None:
    raise UserError("a mistake of the user")


def test_a_user_error_has_no_ray_traceback(local_ray: None) -> None:
    with pytest.raises(UserError, match=r"^a mistake of the user$"):
        list(tasks.results("fail", {0: mistake.remote}, stall_seconds=1.0))
