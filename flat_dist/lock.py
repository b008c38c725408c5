"""One driver at a time: a folder that a run writes to is held by one process.

On a disk the kernel keeps the lock, and frees it when the process ends, however it ends. An object store has no locks:
there a lease is renewed as long as the process lives, and expires unless it is renewed. A lease is written by
conditional writes, so that of two drivers one gets it. Nobody compares two machines' clocks: who waits for a lease sees
on a clock of his own whether it changes.
"""

import contextlib
import json
import os
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import filelock
import psutil

from flat_dist.config import UserError
from flat_dist.data import storage
from flat_dist.data.conditional import File, Seen, open_file
from flat_dist.data.storage import Folder

HOLDER = ".driver.json"
"""Says who holds a folder; on an object store it is the lease."""
LOCK = ".lock"

RENEW_SECONDS = 10.0
LEASE_SECONDS = 90.0
"""For which a lease must stay as it is, while another driver watches it, to be void."""
SURE_SECONDS = 60.0
"""Since it was last renewed, in which a lease is surely ours; after it, nothing is written before it is renewed."""
SAY_SECONDS = 30.0
"""How often one that waits says so."""
LOOK_SECONDS = 1.0

FREE = b'{"free": true}\n'
"""What a driver that ended leaves as its lease: a file that was deleted could be another's by then."""


@contextlib.contextmanager
def held(
    folder: Folder, what: str, wait: Callable[[str], None] | None = None, say: Callable[[str], None] | None = None
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
    say = wait or say or _to_standard_error
    claim = _Lease(folder, say) if folder.local is None else _Lock(folder)
    said = float("-inf")
    while not claim.take():
        if wait is None and claim.is_live:
            raise UserError(f"{what}: {folder.uri} is in use by {claim.holder}: wait until it ends, or end it")
        if time.monotonic() - said > SAY_SECONDS:
            said = time.monotonic()
            say(f"{what}: waiting for {claim.holder}, {claim.why}")
        time.sleep(LOOK_SECONDS)
    try:
        yield
    finally:
        claim.give_up()


def _to_standard_error(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Holder:
    """Who says that a folder is his."""

    host: str
    pid: int
    since: float
    """Seconds since 1970 on the holder's clock: shown, never compared."""
    token: str = ""
    machine: str = ""
    """Of processes of one machine, each of which sees whether the other lives; nothing where that is not known."""
    started: int = 0
    """When the process did, in the kernel's ticks: another process may get its number later."""
    renewed: int = 0
    """How often."""

    @classmethod
    def of_this_process(cls) -> "Holder":
        """This process, with a new token."""
        pid, token = os.getpid(), secrets.token_hex(8)
        return cls(socket.gethostname(), pid, time.time(), token, _machine(), _started(pid) or 0)

    @classmethod
    def parse(cls, content: bytes) -> "Holder | None":
        """Who wrote this; None if that cannot be told, as of a damaged file."""
        with contextlib.suppress(ValueError, TypeError, ArithmeticError, OSError, RecursionError):
            found = json.loads(content)
            holder = cls(**{name: found[name] for name in cls.__dataclass_fields__ if name in found})
            right = all(type(getattr(holder, name)) is kind for name, kind in KINDS.items())
            if right and 0 < holder.pid < 2**31 and holder.host.isprintable():
                time.localtime(holder.since)
                return holder
        return None

    def to_bytes(self) -> bytes:
        """What `parse` reads."""
        return (json.dumps(asdict(self), indent=1) + "\n").encode()

    def __str__(self) -> str:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        return f"process {self.pid} on {self.host[:100]}, since {since}"

    def is_alive(self) -> bool | None:
        """Whether the process runs; None if that cannot be seen from here."""
        if not self.machine or self.machine != _machine():
            return None
        if not psutil.pid_exists(self.pid):
            return False
        started = _started(self.pid)
        return None if started is None or not self.started else started == self.started


KINDS = {"host": str, "pid": int, "since": float, "token": str, "machine": str, "started": int, "renewed": int}


def _machine() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _started(pid: int) -> int | None:
    """When a process started, in ticks since the machine did; 0 if it has ended, None if that cannot be seen."""
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return 0 if state in "ZX" else int(rest[18])
    except (OSError, ValueError, IndexError):
        return None


UNKNOWN = "another driver"


class _Lock:
    """A lock of the kernel's on a file in the folder."""

    is_live = True
    """Whether its holder surely works: the kernel frees the lock of one that does not."""
    why = "which is at the same"

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
        try:
            self.folder.write(HOLDER, Holder.of_this_process().to_bytes())
        except BaseException:
            self.lock.release()
            raise
        return True

    @property
    def holder(self) -> str:
        """Who has the folder, in words."""
        try:
            return str(Holder.parse(self.folder.read(HOLDER)) or UNKNOWN)
        except (FileNotFoundError, UserError):
            return UNKNOWN

    def give_up(self) -> None:
        """Free the folder."""
        self.folder.delete(HOLDER)
        self.lock.release()


class _Lease:
    """A file that says whose the folder is."""

    def __init__(self, folder: Folder, say: Callable[[str], None]):
        self.folder, self.say = folder, say
        self.file: File = open_file(folder, HOLDER, say)
        self.mine = Holder.of_this_process()
        self.watch = _Watch()
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

    def take(self) -> bool:
        """Whether the folder is ours now."""
        began = _now()
        seen = self.file.read()
        if not self.watch.is_void(seen, began) or not self._write(seen):
            return False
        storage.before_writing.append(self.confirm)
        self.thread.start()
        return True

    def give_up(self) -> None:
        """Free the folder.

        Raises:
            UserError: it was not ours any more.
        """
        self.ended.set()
        self.thread.join()
        storage.before_writing.remove(self.confirm)
        try:
            freed = not self.lost and self._replace(self.left, FREE)
        except UserError as error:
            self.say(f"{error}; it expires by itself in {LEASE_SECONDS:.0f} s")
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
            self.watch.holder = Holder.parse(seen.content) if seen else None
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
        if seen is None or seen.content == content:
            return seen
        holder = Holder.parse(seen.content)
        return self.file.write(content, seen) if holder and holder.token == self.mine.token else None

    def _renew(self) -> bool:
        with self.guard:
            if not self.lost:
                self.mine = replace(self.mine, renewed=self.mine.renewed + 1)
                self.lost = not self._write(self.left)
            return not self.lost

    def _keep(self) -> None:
        while not self.ended.wait(RENEW_SECONDS):
            with contextlib.suppress(UserError):  # an object store that is away for a moment is no reason to end
                if not self._renew():
                    os.kill(os.getpid(), signal.SIGINT)
                    return


class _Watch:
    """What one who wants a lease has seen of it."""

    def __init__(self) -> None:
        self.seen: Seen | None = None
        self.since: float | None = None
        """When the lease was first seen as it is, on our clock; None: it was not looked at."""
        self.is_live = False
        self.holder: Holder | None = None

    def is_void(self, seen: Seen | None, began: float) -> bool:
        """Whether nobody holds the lease, as a look that began then saw it."""
        is_first, changed = self.since is None, seen != self.seen
        if self.since is None or changed:
            self.since, self.seen = _now(), seen
        if seen is None or seen.content == FREE:
            self.is_live = False
            return True
        self.holder = Holder.parse(seen.content)
        alive = self.holder.is_alive() if self.holder else None
        self.is_live = bool(alive) or (changed and not is_first)
        return alive is False or began - self.since > LEASE_SECONDS


def _now() -> float:
    """Seconds on a clock that nobody sets; those in which the machine sleeps count."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
