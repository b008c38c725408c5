"""Durable, atomic writes of local files: a file is visible only when all of it is on the disk.

A file is created exclusively under a random name, synced, and renamed; then its folder is synced. After a crash of the
process or a power failure, every visible file is complete, and if a file exists, so does each file that was written
before it. Nothing is written through hard links or symbolic links that another user created.
"""

import contextlib
import errno
import functools
import hashlib
import os
import re
import secrets
import tempfile
import time
from pathlib import Path

LEFTOVER = re.compile(r"\.[0-9a-f]{32}\.tmp")
"""Temporary names. Such a file is not data: its writer is still writing, or was killed."""

LEFTOVER_SECONDS = 3600.0
"""Age after which a temporary file belongs to a killed process."""

NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EBADF)
"""Errors of file systems that cannot sync a folder; some network file systems always sync."""

_cleared: set[Path] = set()


def write(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Write or replace a file atomically; its folder must exist.

    Args:
        path: of the file.
        data: its content.
        mode: permissions, reduced by the umask.

    Raises:
        OSError: it cannot be written; an old file stays unchanged.
    """
    if path.parent not in _cleared:
        _cleared.add(path.parent)
        clear(path.parent, LEFTOVER_SECONDS)
    temporary = path.with_name(f".{secrets.token_hex(16)}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def make_folder(path: Path, mode: int = 0o777) -> None:
    """Create a folder and its parents, if they do not exist.

    Raises:
        OSError: one of them cannot be created.
    """
    if path.is_dir():
        return
    make_folder(path.parent, mode)
    path.mkdir(mode, exist_ok=True)
    _sync(path.parent)


def sha256(path: Path) -> str:
    """Hexadecimal digest of a file; a process reads an unchanged file only once.

    Raises:
        OSError: it cannot be read.
    """
    status = path.stat()
    return _sha256(path, (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))


def refuses_files(folder: Path) -> str:
    """Reason why no file can be created in a folder, to follow its name; empty if one can. Leaves no file there."""
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        return "is not writable"
    try:
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return f"accepts no files ({error.strerror})"


@functools.lru_cache(maxsize=2**12)
def _sha256(path: Path, stamp: tuple[int, ...]) -> str:
    """The digest; `stamp` changes whenever the file is written."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def clear(folder: Path, seconds: float) -> None:
    """Remove unfinished files of killed processes that are at least so many seconds old."""
    for path in folder.iterdir():
        if LEFTOVER.fullmatch(path.name):
            with contextlib.suppress(OSError):  # just renamed, or another user's
                if time.time() - path.lstat().st_mtime >= seconds:
                    path.unlink()


def _sync(folder: Path) -> None:
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in NO_SYNC:
            raise
