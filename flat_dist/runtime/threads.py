"""Calls in threads that do not keep an interrupted process alive."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from typing import TypeVar

T = TypeVar("T")


def in_threads(calls: Sequence[Callable[[], T]], threads: int) -> list[T]:
    """Results of calls, in their order, made in at most so many threads at a time.

    The first error, or an interrupt of the calling thread, is raised at once; calls that have not begun are not made.
    The threads are daemons: Python waits at its end for those of a ThreadPoolExecutor, and one that waits for a Ray
    that has ended may never return.
    """
    futures: list[Future[T]] = [Future() for _ in calls]
    left = zip(calls, futures, strict=True)  # shared by the threads: each pair is taken once

    def cancel() -> None:
        for future in futures:
            future.cancel()

    def work() -> None:
        for call, future in left:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(call())
            except BaseException as error:
                future.set_exception(error)
                cancel()

    for _ in range(min(threads, len(calls))):
        threading.Thread(target=work, daemon=True).start()
    try:
        ended, _ = wait(futures, return_when=FIRST_EXCEPTION)
        for future in ended:
            if not future.cancelled() and (error := future.exception()):
                raise error
        return [future.result() for future in futures]
    finally:
        cancel()
