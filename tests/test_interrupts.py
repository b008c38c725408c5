"""Handlers of Ctrl-C and SIGTERM."""

import signal
import time
from collections.abc import Iterator

import pytest

from flat_dist.runtime import interrupts


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


class Interrupted:
    """Receives Ctrl-C while it is destroyed."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


def test_ctrl_c_in_a_destructor_is_not_lost() -> None:
    """Python itself prints "Exception ignored in" there, and the program goes on."""
    interrupts.raise_interrupt()
    with pytest.raises(KeyboardInterrupt):
        Interrupted()
        time.sleep(30)
