"""One driver at a time: a folder that a run writes to is held by one process.

On a disk the kernel keeps the lock, and frees it when the process ends, however it ends. An object store has no locks:
there it is a lease.
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
SAY_SECONDS = 30.0
"""How often one that waits says so."""
LOOK_SECONDS = 1.0


@contextlib.contextmanager
def exclusive_lock(
    folder: Folder, what: str, wait: Callable[[str], None] | None = None, log_line: Callable[[str], None] | None = None
) -> Iterator[None]:
    """Hold a folder while the block runs.

    Args:
        folder: what only one driver may write to; made if it is not there.
        what: what is done there, for messages.
        wait: says a line; None: do not wait for another driver that is at work, only until it is clear that none is.
        say: says a line where `wait` is None; default: on standard error.

    Raises:
        UserError: another driver holds the folder and `wait` is None, or the lease was lost in the meantime.
    """
    log_line = wait or log_line or _print_to_stderr
    claim = Lease(folder, log_line) if folder.local is None else _Lock(folder)
    said = float("-inf")
    while not claim.acquire():
        if wait is None and claim.is_live:
            raise UserError(f"{what}: {folder.uri} is in use by {claim.holder}: wait until it ends, or end it")
        if time.monotonic() - said > SAY_SECONDS:
            said = time.monotonic()
            log_line(f"{what}: waiting for {claim.holder}, {claim.why}")
        time.sleep(LOOK_SECONDS)
    try:
        yield
    finally:
        claim.release()


def _print_to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


class _Lock:
    """A lock of the kernel's on a file in the folder."""

    is_live = True
    """Whether its holder surely works: the kernel frees the lock of one that does not."""
    why = "which is at the same"

    def __init__(self, folder: Folder):
        assert folder.local is not None
        self.folder = folder
        self.lock = filelock.FileLock(folder.local / LOCK)

    def acquire(self) -> bool:
        """Whether the folder is ours now."""
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
        """Who has the folder, in words."""
        try:
            return str(LockHolder.parse(self.folder.read(HOLDER)) or UNKNOWN)
        except (FileNotFoundError, UserError):
            return UNKNOWN

    def release(self) -> None:
        """Free the folder."""
        self.folder.delete(HOLDER)
        self.lock.release()
