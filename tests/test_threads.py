"""Calls in daemon threads."""

import subprocess
import sys
import threading

import pytest

from flat_dist.runtime.threads import in_threads


def test_results_come_in_the_order_of_the_calls() -> None:
    late = threading.Event()

    def first() -> int:
        assert late.wait(60)
        return 1

    def second() -> int:
        late.set()
        return 2

    assert in_threads([first, second], 2) == [1, 2]
    assert in_threads([lambda: 3, lambda: 4, lambda: 5], 2) == [3, 4, 5]
    assert in_threads([], 2) == []


def test_no_more_threads_than_allowed_run_at_a_time() -> None:
    running, most, lock = 0, 0, threading.Lock()

    def call() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        threading.Event().wait(0.01)
        with lock:
            running -= 1

    in_threads([call] * 12, 3)
    assert most <= 3


def test_an_error_is_raised_at_once_and_calls_that_wait_are_not_made() -> None:
    made, never = [], threading.Event()

    def fails() -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        in_threads([never.wait, fails, lambda: made.append(1)], 2)
    never.set()
    assert not made


BLOCKED = """
import threading
from flat_dist import cli
from flat_dist.config.errors import UserError
from flat_dist.runtime.threads import in_threads

def job(arguments):
    def fails():
        {error}
    in_threads([threading.Event().wait, fails], 2)

cli.main(job)
"""


@pytest.mark.parametrize(
    ("error", "code"),
    [("raise UserError('wrong')", 2), ("import os, signal; os.kill(os.getpid(), signal.SIGTERM); raise KeyError", 130)],
)
def test_a_command_ends_although_a_call_never_returns(error: str, code: int) -> None:
    done = subprocess.run([sys.executable, "-c", BLOCKED.format(error=error)], timeout=120, capture_output=True)
    assert done.returncode == code, done.stderr
