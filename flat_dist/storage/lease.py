"""A lease on a folder of an object store, which has no locks: it expires unless its driver renews it.

It is written by conditional writes, so that only one of two drivers gets it. Clocks of different machines are never
compared: a waiting driver checks on its own clock whether the lease changes.
"""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from flat_dist.config.errors import UserError
from flat_dist.storage import files
from flat_dist.storage.conditional_write import ConditionalFile, FileVersion, open_file
from flat_dist.storage.folder import Folder
from flat_dist.storage.lock_holder import HOLDER, UNKNOWN, LockHolder

RENEW_SECONDS = 10.0
LEASE_SECONDS = 90.0
"""A lease that does not change for so long, while another driver watches it, is expired."""
TRUST_SECONDS = 60.0
"""Age up to which our own lease is certainly valid; an older one is renewed before anything is written."""

FREE = b'{"free": true}\n'
"""Content of a released lease. The file is not deleted, because it could already be another driver's."""


class Lease:
    """A file that names the driver that holds the folder."""

    def __init__(self, folder: Folder, log_line: Callable[[str], None]):
        self.folder, self.log_line = folder, log_line
        self.file: ConditionalFile = open_file(folder, HOLDER, log_line)
        self.mine = LockHolder.of_this_process()
        self.observer = LeaseObserver()
        self.version: FileVersion | None = None
        self.renewed, self.lost = 0.0, False
        self.renew_lock, self.stopped = threading.RLock(), threading.Event()
        self.thread = threading.Thread(target=self._renew_regularly, daemon=True)

    @property
    def is_live(self) -> bool:
        """Whether another driver certainly holds the folder."""
        return self.observer.is_live

    @property
    def holder(self) -> str:
        """The holder in words."""
        return str(self.observer.holder or UNKNOWN)

    @property
    def why(self) -> str:
        """Why this driver waits, in words."""
        if self.is_live:
            return f"which is doing the same (if it was killed, this continues within {LEASE_SECONDS:.0f} s)"
        return f"for at most {LEASE_SECONDS:.0f} s, to see whether it still runs"

    def acquire(self) -> bool:
        """Try to get the lease; whether it was successful."""
        start = _now()
        seen = self.file.read()
        if not self.observer.is_free(seen, start) or not self._write(seen):
            return False
        files.before_writing.append(self.confirm)
        self.thread.start()
        return True

    def release(self) -> None:
        """Free the lease.

        Raises:
            UserError: another driver has taken it over.
        """
        self.stopped.set()
        self.thread.join()
        files.before_writing.remove(self.confirm)
        try:
            freed = not self.lost and self._replace(self.version, FREE)
        except UserError as error:
            self.log_line(f"{error}; it expires by itself in {LEASE_SECONDS:.0f} s")
            return
        if not freed:
            raise self._taken_over()

    def confirm(self) -> None:
        """Check that the lease is still ours, before something is written.

        Raises:
            UserError: it is not, or the store cannot be reached.
        """
        if self.lost or (_now() - self.renewed > TRUST_SECONDS and not self._renew()):
            raise self._taken_over()

    def _taken_over(self) -> UserError:
        with contextlib.suppress(UserError):
            seen = self.file.read()
            self.observer.holder = LockHolder.parse(seen.content) if seen else None
        return UserError(f"{self.folder.uri} was taken over by {self.holder}: this run stops; its results are kept")

    def _write(self, over: FileVersion | None) -> bool:
        start = _now()
        version = self._replace(over, self.mine.to_bytes())
        if version is not None:
            self.version, self.renewed = version, start
        return version is not None

    def _replace(self, over: FileVersion | None, content: bytes) -> FileVersion | None:
        version = self.file.write(content, over)
        if version is not None:
            return version
        seen = self.file.read()  # another driver was first, or our answer was lost
        if seen is not None and seen.content == content:
            return seen
        if over is not None and (seen is None or self._is_ours(seen)):  # the file was removed, or an answer was lost
            return self.file.write(content, seen)
        return None

    def _is_ours(self, seen: FileVersion) -> bool:
        holder = LockHolder.parse(seen.content)
        return holder is not None and holder.token == self.mine.token

    def _renew(self) -> bool:
        with self.renew_lock:
            if not self.lost:
                self.mine = replace(self.mine, renewed=self.mine.renewed + 1)
                self.lost = not self._write(self.version)
            return not self.lost

    def _renew_regularly(self) -> None:
        while not self.lost and not self.stopped.wait(RENEW_SECONDS):
            with contextlib.suppress(UserError):  # the store may be unreachable for a moment
                self._renew()
        if self.lost and not self.stopped.is_set():
            os.kill(os.getpid(), signal.SIGINT)


class LeaseObserver:
    """Observes another driver's lease."""

    def __init__(self) -> None:
        self.seen: FileVersion | None = None
        self.since: float | None = None
        """Our clock when the lease was first seen in its current version; None: never seen."""
        self.is_live = False
        self.holder: LockHolder | None = None

    def is_free(self, seen: FileVersion | None, start: float) -> bool:
        """Whether nobody holds the lease, by a read that started at `start`."""
        is_first, changed = self.since is None, seen != self.seen
        if self.since is None or changed:
            self.since, self.seen = _now(), seen
        if seen is None or seen.content == FREE:
            self.is_live = False
            return True
        self.holder = LockHolder.parse(seen.content)
        alive = self.holder.is_alive() if self.holder else None
        self.is_live = bool(alive) or (changed and not is_first)
        return alive is False or start - self.since > LEASE_SECONDS


def _now() -> float:
    """Seconds on a monotonic clock that also counts while the machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
