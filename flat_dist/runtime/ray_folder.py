"""A private folder for the local Ray of a job, with a path that is short enough for sockets.

Ray opens its session folder, with its sockets, to all users of the machine, and whoever connects to a socket can run
code. Here the session is inside a folder that only this user can enter. A driver holds a lock in its folder while it
runs, so the next driver knows which folders are unused and removes them.
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
"""A running driver holds a lock on this file."""
MAX_SOCKET_PATH = 107
"""Longest path of a socket on Linux, in bytes."""
PATH_BELOW = len(f"/{PREFIX}abcdefgh/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store")
"""Longest path of a Ray socket below the parent of our folder, in bytes."""
MIN_FREE = 64 * 2**20
"""Free bytes that logs need."""
FALLBACKS = (Path("/tmp"), Path("/var/tmp"))
"""Parent folders to try after Ray's own choice."""
REMOVE_SECONDS = 3.0
"""How long ended Ray processes may still write files."""

_keep_logs = False


def keep_logs() -> None:
    """Keep this job's folder, with Ray's logs, until the next job starts."""
    global _keep_logs
    _keep_logs = True


@contextmanager
def private_folder() -> Iterator[Path]:
    """A new folder that only this user can enter, for temporary files of Ray and its workers (RAY_TMPDIR).

    Folders of killed drivers are removed first. The new folder is removed at the end, unless the block fails or
    `keep_logs` is called.

    Raises:
        UserError: no parent folder is usable.
    """
    global _keep_logs
    _keep_logs = False
    folder, lock = _create()
    before = os.environ.get("RAY_TMPDIR")
    os.environ["RAY_TMPDIR"] = str(folder)
    try:
        yield folder
    except Exception as error:
        _keep_logs |= not isinstance(error, UserError)
        raise
    finally:
        if before is None:
            del os.environ["RAY_TMPDIR"]
        else:
            os.environ["RAY_TMPDIR"] = before
        if _keep_logs:
            print(f"Ray's logs are in {folder}/ray/session_latest/logs until the next job starts", file=sys.stderr)
        else:
            _remove(folder)
        os.close(lock)


def _create() -> tuple[Path, int]:
    """A new folder and its lock; folders of killed drivers are removed first."""
    parent = _parent([Path(preferred_parent()), *FALLBACKS])
    for old in parent.glob(f"{PREFIX}*"):
        _remove_if_unused(old)
    try:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        return folder, _lock(folder)
    except OSError as error:  # such as a full or read-only file system
        raise UserError(
            f"{parent} cannot hold Ray's files ({error.strerror}): set RAY_TMPDIR to another folder"
        ) from error


def preferred_parent() -> str:
    """Ray's own choice for its temporary files."""
    return os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"


def _parent(places: Sequence[Path]) -> Path:
    """The first usable parent folder."""
    problem_of = {place: _problem(place.absolute()) for place in dict.fromkeys(places)}
    for place, why in problem_of.items():
        if why:
            continue
        if place != places[0]:
            print(f"Ray's files go to {place}, because {places[0]} {problem_of[places[0]]}", file=sys.stderr)
        return place.absolute()
    problems = "; ".join(f"{place} {why}" for place, why in problem_of.items())
    raise UserError(f"no folder is usable for Ray's temporary files: {problems}; set RAY_TMPDIR to another folder")


def _problem(place: Path) -> str:
    """Reason why a folder is not usable, to follow its name; empty if it is usable."""
    longest = MAX_SOCKET_PATH - PATH_BELOW
    try:
        mode = place.stat().st_mode
        if not stat.S_ISDIR(mode):
            return "is not a folder"
        if len(os.fsencode(place)) > longest:
            return f"is a path of more than {longest} bytes, too long for Ray's sockets"
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            return "lets every user rename what is in it (no sticky bit)"
        if not os.access(place, os.W_OK | os.X_OK):
            return "is not writable"
        if shutil.disk_usage(place).free < MIN_FREE:
            return f"has less than {MIN_FREE >> 20} MiB free"
    except OSError as error:
        return f"cannot be used ({error.strerror})"
    return ""


def _lock(folder: Path) -> int:
    """Create the lock file and hold the lock before the file gets its name."""
    new = folder / f"{LOCK}.new"
    lock = os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    with suppress(OSError):  # without locks, the folder is never removed by others
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        new.rename(folder / LOCK)
    return lock


def _remove_if_unused(folder: Path) -> None:
    """Remove this user's folder if its driver has ended."""
    with suppress(OSError):
        problem_of = folder.lstat()
        if not stat.S_ISDIR(problem_of.st_mode) or problem_of.st_uid != os.geteuid():
            return
        lock = os.open(folder / LOCK, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(lock)


def _remove(folder: Path) -> None:
    until = time.monotonic() + REMOVE_SECONDS
    while True:
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists() or time.monotonic() > until:
            return
        time.sleep(0.1)
