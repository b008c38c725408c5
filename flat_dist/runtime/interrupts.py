"""What Ctrl-C and SIGTERM do to a command: one sentence and exit code 130, at any moment."""

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

Handler = Callable[[int, FrameType | None], object]

CODE = 130
_came = False
CONTINUES = "the same command continues where this one stopped"


def exit_on_signal() -> None:
    """From now on both end the process, which has nothing to put in order yet.

    A SIGINT that whoever started this process ignores stays ignored, here and below.
    """
    _install(_say_and_end, _say_and_end)


def raise_interrupt() -> None:
    """From now on both raise KeyboardInterrupt."""
    _install(_interrupt, _interrupt)


def was_interrupted() -> bool:
    """Whether KeyboardInterrupt was raised so: some libraries turn it into an error of their own."""
    return _came


def exit_silently() -> None:
    """The command has said that it was interrupted; another signal ends it at once."""
    _install(_end, _end)


def _install(interrupt: Handler, terminate: Handler) -> None:
    if threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, terminate)


def _interrupt(number: int, frame: FrameType | None) -> None:
    global _came
    _came = True
    raise KeyboardInterrupt


def _say_and_end(number: int, frame: FrameType | None) -> None:
    os.write(2, f"interrupted; {CONTINUES}\n".encode())
    os._exit(CODE)


def _end(number: int, frame: FrameType | None) -> None:
    os._exit(CODE)
