"""Handlers of Ctrl-C and SIGTERM: a command ends with one sentence and exit code 130 at any moment."""

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

Handler = Callable[[int, FrameType | None], object]

EXIT_CODE = 130
AGAIN_SECONDS = 0.1
"""Seconds after which a signal is sent again that came where Python ignores errors."""
_interrupted = False
CONTINUES = "the same command continues where this one stopped"


def exit_on_signal() -> None:
    """Both signals end the process at once; for use before there is anything to clean up.

    If the parent process ignores SIGINT, it stays ignored, here and in the functions below.
    """
    _install(_print_and_exit, _print_and_exit)


def raise_interrupt() -> None:
    """Both signals raise KeyboardInterrupt."""
    _install(_interrupt, _interrupt)


def was_interrupted() -> bool:
    """Whether a signal raised KeyboardInterrupt: some libraries turn it into another error."""
    return _interrupted


def exit_silently() -> None:
    """Both signals end the process without a message, because the command has printed one."""
    _install(_exit, _exit)


def _install(interrupt: Handler, terminate: Handler) -> None:
    if threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, terminate)


def _interrupt(number: int, frame: FrameType | None) -> None:
    global _interrupted
    _interrupted = True
    if not _in_destructor(frame):
        raise KeyboardInterrupt
    again = threading.Timer(AGAIN_SECONDS, os.kill, (os.getpid(), number))
    again.daemon = True
    again.start()


def _in_destructor(frame: FrameType | None) -> bool:
    """Whether a frame is, or is called by, `__del__`: Python prints errors from there, and goes on."""
    while frame is not None:
        if frame.f_code.co_name == "__del__":
            return True
        frame = frame.f_back
    return False


def _print_and_exit(number: int, frame: FrameType | None) -> None:
    os.write(2, f"interrupted; {CONTINUES}\n".encode())
    os._exit(EXIT_CODE)


def _exit(number: int, frame: FrameType | None) -> None:
    os._exit(EXIT_CODE)
