"""Exclusive locks on folders: one driver at a time writes to a folder.

On a disk it is a kernel lock, which is freed whenever the process ends. On an object store, which has no locks, it is a
lease.
"""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

import filelock

from flat_dist.config.errors import UserError
from flat_dist.storage.folder import Folder
from flat_dist.storage.lease import Lease
from flat_dist.storage.lock_holder import HOLDER, UNKNOWN, LockHolder

LOCK = ".lock"
MESSAGE_SECONDS = 30.0
"""Interval of messages while waiting."""
RETRY_SECONDS = 1.0
"""Interval of attempts to get the lock."""


@contextlib.contextmanager
def exclusive_lock(
    folder: Folder, what: str, wait: Callable[[str], None] | None = None, log_line: Callable[[str], None] | None = None
) -> Iterator[None]:
    """Hold the lock of a folder while the block runs.

    Args:
        folder: the folder to lock; created if it does not exist.
        what: the work to do, for messages.
        wait: logs a line while waiting for another driver; None: do not wait for a driver that runs.
        log_line: logs a line if `wait` is None; default: standard error.

    Raises:
        UserError: another driver holds the lock and `wait` is None, or the lease was lost meanwhile.
    """
    log_line = wait or log_line or _print_to_stderr
    lock = Lease(folder, log_line) if folder.local is None else _KernelLock(folder)
    last_message = float("-inf")
    while not lock.acquire():
        if wait is None and lock.is_live:
            raise UserError(f"{what}: {folder.uri} is in use by {lock.holder}: wait until it ends, or end it")
        if time.monotonic() - last_message > MESSAGE_SECONDS:
            last_message = time.monotonic()
            log_line(f"{what}: waiting for {lock.holder}, {lock.why}")
        time.sleep(RETRY_SECONDS)
    try:
        yield
    finally:
        lock.release()


def _print_to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


class _KernelLock:
    """A kernel lock on a file in the folder."""

    is_live = True
    """Whether the holder is known to run: the kernel frees the lock when it ends."""
    why = "which is doing the same"

    def __init__(self, folder: Folder):
        assert folder.local is not None
        self.folder = folder
        self.lock = filelock.FileLock(folder.local / LOCK)

    def acquire(self) -> bool:
        """Try to get the lock; whether it was successful."""
        assert self.folder.local is not None
        try:
            self.folder.local.mkdir(parents=True, exist_ok=True)
            self.lock.acquire(timeout=0)
        except filelock.Timeout:
            return False
        except OSError as error:
            raise UserError(f"{self.folder.uri} cannot be written: {error}; name another --storage") from error
        try:
            self.folder.write(HOLDER, LockHolder.of_this_process().to_bytes())
        except BaseException:
            self.lock.release()
            raise
        return True

    @property
    def holder(self) -> str:
        """The holder in words."""
        try:
            return str(LockHolder.parse(self.folder.read(HOLDER)) or UNKNOWN)
        except (FileNotFoundError, UserError):
            return UNKNOWN

    def release(self) -> None:
        """Free the lock."""
        self.folder.delete(HOLDER)
        self.lock.release()
