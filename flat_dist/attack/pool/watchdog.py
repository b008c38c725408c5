"""Ends a process that makes no progress, such as one whose victim never answers."""

import faulthandler
import time
from types import TracebackType


class Watchdog:
    """Use it as a context manager around work that calls `tick` now and then.

    The clock is a thread in C, which runs even where a hanging extension keeps Python's lock. Before the process ends,
    the stack of each of its threads is written to standard error, which Ray keeps in the worker's log.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        """Without a tick after which the process ends; 0: never."""
        self.ticked = time.monotonic()
        """When there was progress last."""

    def __enter__(self) -> None:
        self.tick()

    def tick(self) -> None:
        """There is progress: the time counts from now."""
        self.ticked = time.monotonic()
        if self.seconds:
            faulthandler.dump_traceback_later(self.seconds, exit=True)

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        faulthandler.cancel_dump_traceback_later()
