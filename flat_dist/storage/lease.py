"""A lease on a folder of an object store, which has no locks: renewed as long as its driver lives, or else it expires.

It is written by conditional writes, so that of two drivers one gets it. Nobody compares two machines' clocks: who waits
for a lease sees on a clock of his own whether it changes.
"""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from flat_dist.config.errors import UserError
from flat_dist.storage import folder as folders
from flat_dist.storage.conditional_write import File, Seen, open_file
from flat_dist.storage.folder import Folder
from flat_dist.storage.lock_holder import HOLDER, UNKNOWN, LockHolder

RENEW_SECONDS = 10.0
LEASE_SECONDS = 90.0
"""For which a lease must stay as it is, while another driver watches it, to be void."""
SURE_SECONDS = 60.0
"""Since it was last renewed, in which a lease is surely ours; after it, nothing is written before it is renewed."""

FREE = b'{"free": true}\n'
"""What a driver that ended leaves as its lease: a file that was deleted could be another's by then."""


class Lease:
    """A file that says whose the folder is."""

    def __init__(self, folder: Folder, log_line: Callable[[str], None]):
        self.folder, self.log_line = folder, log_line
        self.file: File = open_file(folder, HOLDER, log_line)
        self.mine = LockHolder.of_this_process()
        self.watch = Watch()
        self.left: Seen | None = None
        self.renewed, self.lost = 0.0, False
        self.guard, self.ended = threading.RLock(), threading.Event()
        self.thread = threading.Thread(target=self._keep, daemon=True)

    @property
    def is_live(self) -> bool:
        """Whether another driver surely holds the folder."""
        return self.watch.is_live

    @property
    def holder(self) -> str:
        """Who has the folder, in words."""
        return str(self.watch.holder or UNKNOWN)

    @property
    def why(self) -> str:
        """What is waited for."""
        if self.is_live:
            return f"which is at the same (if it was killed, this goes on within {LEASE_SECONDS:.0f} s)"
        return f"for {LEASE_SECONDS:.0f} s at most, to see whether it still works"

    def acquire(self) -> bool:
        """Whether the folder is ours now."""
        began = _now()
        seen = self.file.read()
        if not self.watch.is_void(seen, began) or not self._write(seen):
            return False
        folders.before_writing.append(self.confirm)
        self.thread.start()
        return True

    def release(self) -> None:
        """Free the folder.

        Raises:
            UserError: it was not ours any more.
        """
        self.ended.set()
        self.thread.join()
        folders.before_writing.remove(self.confirm)
        try:
            freed = not self.lost and self._replace(self.left, FREE)
        except UserError as error:
            self.log_line(f"{error}; it expires by itself in {LEASE_SECONDS:.0f} s")
            return
        if not freed:
            raise self._taken_over()

    def confirm(self) -> None:
        """Make sure that the folder is still ours, before something is written.

        Raises:
            UserError: it is not, or that cannot be found out.
        """
        if self.lost or (_now() - self.renewed > SURE_SECONDS and not self._renew()):
            raise self._taken_over()

    def _taken_over(self) -> UserError:
        with contextlib.suppress(UserError):
            seen = self.file.read()
            self.watch.holder = LockHolder.parse(seen.content) if seen else None
        return UserError(f"{self.folder.uri} was taken over by {self.holder}: this run stops; its results are kept")

    def _write(self, over: Seen | None) -> bool:
        began = _now()
        left = self._replace(over, self.mine.to_bytes())
        if left is not None:
            self.left, self.renewed = left, began
        return left is not None

    def _replace(self, over: Seen | None, content: bytes) -> Seen | None:
        left = self.file.write(content, over)
        if left is not None:
            return left
        seen = self.file.read()  # another was first; or it was us, and the answer was lost
        if seen is not None and seen.content == content:
            return seen
        if over is not None and (seen is None or self._is_ours(seen)):  # somebody removed it, or an answer was lost
            return self.file.write(content, seen)
        return None

    def _is_ours(self, seen: Seen) -> bool:
        holder = LockHolder.parse(seen.content)
        return holder is not None and holder.token == self.mine.token

    def _renew(self) -> bool:
        with self.guard:
            if not self.lost:
                self.mine = replace(self.mine, renewed=self.mine.renewed + 1)
                self.lost = not self._write(self.left)
            return not self.lost

    def _keep(self) -> None:
        while not self.lost and not self.ended.wait(RENEW_SECONDS):
            with contextlib.suppress(UserError):  # an object store that is away for a moment is no reason to end
                self._renew()
        if self.lost and not self.ended.is_set():
            os.kill(os.getpid(), signal.SIGINT)


class Watch:
    """What one who wants a lease has seen of it."""

    def __init__(self) -> None:
        self.seen: Seen | None = None
        self.since: float | None = None
        """When the lease was first seen as it is, on our clock; None: it was not looked at."""
        self.is_live = False
        self.holder: LockHolder | None = None

    def is_void(self, seen: Seen | None, began: float) -> bool:
        """Whether nobody holds the lease, as a look that began then saw it."""
        is_first, changed = self.since is None, seen != self.seen
        if self.since is None or changed:
            self.since, self.seen = _now(), seen
        if seen is None or seen.content == FREE:
            self.is_live = False
            return True
        self.holder = LockHolder.parse(seen.content)
        alive = self.holder.is_alive() if self.holder else None
        self.is_live = bool(alive) or (changed and not is_first)
        return alive is False or began - self.since > LEASE_SECONDS


def _now() -> float:
    """Seconds on a clock that nobody sets; those in which the machine sleeps count."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
