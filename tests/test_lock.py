"""One driver at a time; leases are tried on a local folder that says it is none."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flat_dist import lock
from flat_dist.config import UserError
from flat_dist.data.storage import Folder
from flat_dist.lock import HOLDER, held

HOLDS = """
import sys, time
from flat_dist.data.storage import Folder
from flat_dist.lock import held
with held(Folder(sys.argv[1]), "a run"):
    print("held", flush=True)
    time.sleep(600)
"""


class Remote(Folder):
    """A folder as of an object store."""

    local = None  # type: ignore[assignment]

    def _put(self, path: str, data: bytes) -> None:
        Path(path).parent.mkdir(exist_ok=True)
        super()._put(path, data)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "SETTLE_SECONDS", 0.05)
    monkeypatch.setattr(lock, "RENEW_SECONDS", 0.05)
    monkeypatch.setattr(lock, "LOOK_SECONDS", 0.02)


def test_a_second_driver_is_refused_until_the_first_is_killed(tmp_path: Path) -> None:
    first = subprocess.Popen([sys.executable, "-c", HOLDS, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    assert first.stdout.readline() == "held\n"
    with (
        pytest.raises(UserError, match=rf"a run: .* is in use by process {first.pid} on {socket.gethostname()}, since"),
        held(Folder(tmp_path), "a run"),
    ):
        pass
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    with held(Folder(tmp_path), "a run"):
        pass


@pytest.mark.parametrize("kind", [Folder, Remote])
def test_one_that_waits_goes_on_when_the_other_ends(kind: type[Folder], tmp_path: Path) -> None:
    said: list[str] = []
    first = held(kind(tmp_path), "training")
    first.__enter__()

    def say(line: str) -> None:
        said.append(line)
        first.__exit__(None, None, None)

    with held(kind(tmp_path), "training", say):
        assert said[0].startswith(f"training: waiting for process {os.getpid()} on ")
    assert len(said) == 1
    assert not (tmp_path / HOLDER).exists()


def lease(folder: Folder, **changes: object) -> None:
    mine = {"host": "elsewhere", "pid": 1, "token": "theirs", "since": time.time(), "renewed": time.time()}
    folder.write_json(HOLDER, mine | changes)


def test_a_lease_is_void_when_it_is_old_or_its_process_is_gone(tmp_path: Path) -> None:
    folder = Remote(tmp_path)
    lease(folder)
    with pytest.raises(UserError, match=r"process 1 on elsewhere.*its claim ends in (90|89) s"), held(folder, "a run"):
        pass
    lease(folder, renewed=time.time() - lock.LEASE_SECONDS - 1)
    with held(folder, "a run"):
        assert folder.read_json(HOLDER)["pid"] == os.getpid()
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    lease(folder, host=socket.gethostname(), pid=gone.pid)
    with held(folder, "a run"):
        pass
    lease(folder, host=socket.gethostname(), pid=os.getppid())
    with pytest.raises(UserError, match="in use"), held(folder, "a run"):
        pass


def test_a_lease_is_renewed(tmp_path: Path) -> None:
    folder = Remote(tmp_path)
    with held(folder, "a run"):
        first = folder.read_json(HOLDER)["renewed"]
        while folder.read_json(HOLDER)["renewed"] == first:
            time.sleep(0.01)


def test_of_two_that_write_a_lease_at_once_one_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Remote(tmp_path)
    monkeypatch.setattr(lock.time, "sleep", lambda _: lease(folder))  # while ours settles
    with pytest.raises(UserError, match="in use by process 1 on elsewhere"), held(folder, "a run"):
        pass


def test_a_lease_that_another_takes_over_ends_the_run(tmp_path: Path) -> None:
    folder = Remote(tmp_path)
    with pytest.raises(UserError, match="was taken over by process 1 on elsewhere"), held(folder, "a run"):
        lease(folder)
        time.sleep(30)  # interrupted
