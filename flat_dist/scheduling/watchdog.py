"""Ends a process that makes no progress, for example because its model never answers."""

import faulthandler
import time
from types import TracebackType


class Watchdog:
    """A context manager around work that calls `tick` regularly.

    The timer is a C thread, so it also fires while native code holds Python's lock. Before the process ends, the stack
    of each thread is written to standard error, which Ray keeps in the worker's log.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        """Seconds without a tick after which the process ends; 0: never."""
        self.last_tick = time.monotonic()

    def __enter__(self) -> None:
        self.tick()

    def tick(self) -> None:
        """Report progress: the timer starts again."""
        self.last_tick = time.monotonic()
        if self.seconds:
            faulthandler.dump_traceback_later(self.seconds, exit=True)

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        faulthandler.cancel_dump_traceback_later()
