"""One driver at a time: a folder that a run writes to is held by one process.

On a disk the kernel keeps the lock, and frees it when the process ends, however it ends. An object store has no locks:
there a lease is renewed as long as the process lives, and is anybody's when it has not been for a while.
"""

import contextlib
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import filelock
import psutil

from flat_dist.config import UserError
from flat_dist.data.storage import Folder

HOLDER = ".driver.json"
"""Says who holds a folder; on an object store it is the lease."""
LOCK = ".lock"

RENEW_SECONDS = 20.0
LEASE_SECONDS = 90.0
"""Since it was last renewed, after which a lease is void."""
SETTLE_SECONDS = 1.0
"""Between writing a lease and looking whether another driver wrote one at the same moment."""
SAY_SECONDS = 30.0
"""How often one that waits says so."""
LOOK_SECONDS = 1.0


@contextlib.contextmanager
def held(folder: Folder, what: str, wait: Callable[[str], None] | None = None) -> Iterator[None]:
    """Hold a folder while the block runs.

    Args:
        folder: what only one driver may write to; made if it is not there.
        what: what is done there, for messages.
        wait: says a line; None: do not wait for another driver.

    Raises:
        UserError: another driver holds the folder and `wait` is None, or the lease was lost in the meantime.
    """
    claim = _Lease(folder) if folder.local is None else _Lock(folder)
    said = float("-inf")
    while not claim.take():
        holder = _read_holder(folder)
        if wait is None:
            raise UserError(f"{what}: {folder.uri} is in use by {_describe(holder)}: wait until it ends, or end it")
        if time.monotonic() - said > SAY_SECONDS:
            said = time.monotonic()
            wait(f"{what}: waiting for {_describe(holder)}, which is at the same")
        time.sleep(LOOK_SECONDS)
    try:
        yield
    finally:
        claim.give_up()


def _read_holder(folder: Folder) -> dict[str, Any] | None:
    try:
        holder: dict[str, Any] = folder.read_json(HOLDER)
    except (FileNotFoundError, ValueError):
        return None
    return holder


def _describe(holder: dict[str, Any] | None) -> str:
    if holder is None:
        return "another driver"
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(holder["since"]))
    said = f"process {holder['pid']} on {holder['host']}, since {since}"
    if "renewed" in holder:
        left = max(holder["renewed"] + LEASE_SECONDS - time.time(), 0)
        said += f" (if it was killed, its claim ends in {left:.0f} s)"
    return said


class _Lock:
    """A lock of the kernel's on a file in the folder."""

    def __init__(self, folder: Folder):
        assert folder.local is not None
        self.folder = folder
        self.lock = filelock.FileLock(folder.local / LOCK)

    def take(self) -> bool:
        """Whether the folder is ours now."""
        assert self.folder.local is not None
        try:
            self.folder.local.mkdir(parents=True, exist_ok=True)
            self.lock.acquire(timeout=0)
        except filelock.Timeout:
            return False
        except OSError as error:
            raise UserError(f"{self.folder.uri} cannot be written: {error}; name another --storage") from error
        self.folder.write_json(HOLDER, {"host": socket.gethostname(), "pid": os.getpid(), "since": time.time()})
        return True

    def give_up(self) -> None:
        """Free the folder."""
        self.folder.delete(HOLDER)
        self.lock.release()


class _Lease:
    """A file that says whose the folder is, and until when."""

    def __init__(self, folder: Folder):
        self.folder = folder
        self.mine = {"host": socket.gethostname(), "pid": os.getpid(), "token": secrets.token_hex(8)}
        self.ended, self.lost = threading.Event(), False
        self.thread = threading.Thread(target=self._renew, daemon=True)

    def take(self) -> bool:
        """Whether the folder is ours now."""
        holder = _read_holder(self.folder)
        if holder is not None and not _is_void(holder):
            return False
        self.mine["since"] = time.time()
        self._write()
        time.sleep(SETTLE_SECONDS)
        if not self._is_ours():
            return False
        self.thread.start()
        return True

    def give_up(self) -> None:
        """Free the folder.

        Raises:
            UserError: it was not ours any more.
        """
        self.ended.set()
        self.thread.join()
        if self.lost:
            raise UserError(f"{self.folder.uri} was taken over by {_describe(_read_holder(self.folder))}")
        self.folder.delete(HOLDER)

    def _write(self) -> None:
        self.folder.write_json(HOLDER, {**self.mine, "renewed": time.time()})

    def _is_ours(self) -> bool:
        return (_read_holder(self.folder) or {}).get("token") == self.mine["token"]

    def _renew(self) -> None:
        while not self.ended.wait(RENEW_SECONDS):
            with contextlib.suppress(UserError):  # an object store that is away for a moment is no reason to end
                if not self._is_ours():
                    self.lost = True
                    os.kill(os.getpid(), signal.SIGINT)
                    return
                self._write()


def _is_void(holder: dict[str, Any]) -> bool:
    here = holder["host"] == socket.gethostname()
    return (here and not psutil.pid_exists(holder["pid"])) or time.time() - holder["renewed"] > LEASE_SECONDS
