"""A Ray whose token is not the user's, and commands that run on it in this process.

A small job works for a second or two. In a process of its own, it first imports for seconds, as do its Ray and each of
its workers. So a test that does not end a process runs its commands with `flat_dist`.
"""

import io
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext, redirect_stderr, redirect_stdout
from functools import partial
from typing import Any

import pytest

from flat_dist.attack.pool import run as attack_pool
from flat_dist.commands.main import main
from flat_dist.evaluation import attribution_worker
from flat_dist.models.endpoint import TOKEN
from flat_dist.pipeline import jobs
from flat_dist.pipeline.run_worker import RunWorker
from flat_dist.reproduction import runner
from flat_dist.runtime import cluster
from flat_dist.scheduling.worker_group import WarmWorkers
from tests.test_black_box import SECRET

WORKERS = WarmWorkers(RunWorker)
"""Workers on `local_ray` that stay from one test to the next."""

Done = subprocess.CompletedProcess[str]
Command = Callable[..., Done]


@pytest.fixture(scope="session", autouse=True)
def private_token() -> None:
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    os.environ["RAY_ADDRESS"] = "local"  # never the cluster of somebody's `ray start`


@pytest.fixture(scope="session")
def local_ray(private_token: None) -> Iterator[None]:
    os.environ[TOKEN] = SECRET  # of models behind HTTP; its workers keep it
    with cluster.connected(cpus=2):
        del os.environ[TOKEN]
        yield


@pytest.fixture(scope="session")
def run_here(local_ray: None, assets: object) -> Callable[..., Done]:
    """Runs a program in this process, on `local_ray` and its workers, one of each kind unless it asks for more.

    Takes the program, a function, and its command line. Returns what `subprocess.run` would.
    """

    def run(program: Callable[[], object], *command_line: str) -> Done:
        out, errors, code = io.StringIO(), io.StringIO(), 0
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(errors):
            patch.setattr(sys, "argv", list(command_line))
            patch.setattr(cluster, "connected", nullcontext)
            for module in (jobs, runner):
                patch.setattr(module, "run_workers", lambda _: WORKERS.group(1))
            patch.setattr(attack_pool, "ray_group", lambda *asked: WORKERS.group(asked[-1] or 1))
            patch.setattr(attribution_worker, "ray_group", lambda *_: WORKERS.group(1))
            try:
                program()
            except SystemExit as ended:
                code = int(ended.code or 0)
        return Done(command_line, code, out.getvalue(), errors.getvalue())

    return run


@pytest.fixture(scope="session")
def flat_dist(run_here: Callable[..., Done]) -> Command:
    """Runs the command line `flat-dist ...` with `run_here`."""
    return partial(run_here, main, "flat-dist")


def printed(done: Done) -> Any:
    """The JSON of the last line of a command that ended well."""
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
