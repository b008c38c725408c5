"""The folder of a Ray that a job starts for itself: private to the user, of a path that is short enough, and swept.

Ray opens its session's folder to all users of the machine, sockets included, over which whoever connects can run code.
Here it lies in a folder that nobody else may enter. A driver holds a lock in it for as long as it lives, so that the
next one knows which folders nobody needs any more.
"""

import fcntl
import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from flat_dist.config.errors import UserError

PREFIX = "flat-"
LOCK = "driver"
"""A driver that lives holds a lock on this file."""
LONGEST = 107
"""Bytes of the path of a socket, which Linux allows."""
BELOW = len(f"/{PREFIX}abcdefgh/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store")
"""Bytes of the longest path that Ray makes of a socket, below the folder that ours is in."""
LEAST_FREE = 64 * 2**20
"""Bytes that logs take, and that must be free."""
ALWAYS = (Path("/tmp"), Path("/var/tmp"))
"""Where to look when Ray's own choice does not serve."""
GONE_SECONDS = 3.0
"""How long processes that Ray ended may go on writing."""

_kept = False


def keep() -> None:
    """Keep this job's folder until the next one starts, for Ray's logs in it."""
    global _kept
    _kept = True


@contextmanager
def private() -> Iterator[Path]:
    """A new folder that nobody else may enter, where this Ray and its workers keep what is temporary (RAY_TMPDIR).

    Folders that drivers left which were killed are removed first. This one is removed at the end, unless the block
    fails or `keep` is called.

    Raises:
        UserError: there is no place for it.
    """
    global _kept
    _kept = False
    parent = _parent([Path(wanted()), *ALWAYS])
    for old in parent.glob(f"{PREFIX}*"):
        _sweep(old)
    try:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        lock = _lock(folder)
    except OSError as error:  # as of a file system that lets nobody write, whatever it says
        raise UserError(
            f"{parent} cannot hold Ray's files ({error.strerror}): set RAY_TMPDIR to another folder"
        ) from error
    before = os.environ.get("RAY_TMPDIR")
    os.environ["RAY_TMPDIR"] = str(folder)
    try:
        yield folder
    except Exception as error:
        _kept |= not isinstance(error, UserError)
        raise
    finally:
        if before is None:
            del os.environ["RAY_TMPDIR"]
        else:
            os.environ["RAY_TMPDIR"] = before
        if _kept:
            print(f"Ray's logs are in {folder}/ray/session_latest/logs until the next job starts", file=sys.stderr)
        else:
            _remove(folder)
        os.close(lock)


def wanted() -> str:
    """Where Ray would have its temporary files."""
    return os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"


def _parent(places: Sequence[Path]) -> Path:
    """The first place that serves."""
    found = {place: _unfit(place.absolute()) for place in dict.fromkeys(places)}
    for place, why in found.items():
        if why:
            continue
        if place != places[0]:
            print(f"Ray's files go to {place}, because {places[0]} {found[places[0]]}", file=sys.stderr)
        return place.absolute()
    said = "; ".join(f"{place} {why}" for place, why in found.items())
    raise UserError(f"there is no place for Ray's temporary files: {said}; set RAY_TMPDIR to a folder that serves")


def _unfit(place: Path) -> str:
    """Why a folder cannot hold Ray's, in words that follow its name; empty if it can."""
    room = LONGEST - BELOW
    try:
        mode = place.stat().st_mode
        if not stat.S_ISDIR(mode):
            return "is not a folder"
        if len(os.fsencode(place)) > room:
            return f"is a longer path than {room} bytes, below which Ray's sockets do not fit"
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            return "lets every user rename what is in it (no sticky bit)"
        if not os.access(place, os.W_OK | os.X_OK):
            return "may not be written to"
        if shutil.disk_usage(place).free < LEAST_FREE:
            return f"has less than {LEAST_FREE >> 20} MiB free"
    except OSError as error:
        return f"cannot be used ({error.strerror})"
    return ""


def _lock(folder: Path) -> int:
    """Hold the lock; under its name it is never seen without."""
    new = folder / f"{LOCK}.new"
    lock = os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    with suppress(OSError):  # a file system without locks: then the folder is never swept
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        new.rename(folder / LOCK)
    return lock


def _sweep(folder: Path) -> None:
    """Remove a folder of ours whose driver is no more."""
    with suppress(OSError):
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            return
        lock = os.open(folder / LOCK, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(lock)


def _remove(folder: Path) -> None:
    until = time.monotonic() + GONE_SECONDS
    while True:
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists() or time.monotonic() > until:
            return
        time.sleep(0.1)
