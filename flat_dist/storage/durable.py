"""Files of this machine that are whole, and on the disk, before anybody can see them.

A file is written under a name that nobody can guess, opened exclusively, synced, and renamed; then its folder is
synced. So after a crash of the process or a power cut, whoever sees a file sees all of it, and of two files that were
written one after another the first is there if the second is. Nothing is written through a hard link, or through a
symbolic link that somebody planted.
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
"""Names under which files are written. What has such a name is no data: its writer is at it, or was killed."""

LEFTOVER_SECONDS = 3600.0
"""Since it was last written to, after which such a file is a killed process's."""

NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EBADF)
"""What file systems say that cannot sync a folder; some network file systems do it without being asked."""

_cleared: set[Path] = set()


def write(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Write a file whole, in place of what was there; its folder must be there.

    Args:
        path: of the file.
        data: its content.
        mode: permissions, of which the umask takes away.

    Raises:
        OSError: it cannot be written; what was there before is there still.
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
    """Make a folder and those around it, where they are not there.

    Raises:
        OSError: one of them cannot be made.
    """
    if path.is_dir():
        return
    make_folder(path.parent, mode)
    path.mkdir(mode, exist_ok=True)
    _sync(path.parent)


def sha256(path: Path) -> str:
    """Hexadecimal digest of a file's content; a process reads a file that does not change once.

    Raises:
        OSError: it cannot be read.
    """
    status = path.stat()
    return _sha256(path, (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))


def refuses_files(folder: Path) -> str:
    """Why no file can be made in a folder, in words that follow its name; empty if one can. Nothing is left there."""
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        return "may not be written"
    try:
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return f"takes no files ({error.strerror})"


@functools.lru_cache(maxsize=2**12)
def _sha256(path: Path, stamp: tuple[int, ...]) -> str:
    """The digest; `stamp` changes with the content, because whoever writes to a file changes the time of its change."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def clear(folder: Path, seconds: float) -> None:
    """Remove what killed processes left half written, if nothing was written to it for so many seconds."""
    for path in folder.iterdir():
        if LEFTOVER.fullmatch(path.name):
            with contextlib.suppress(OSError):  # its writer has just renamed it, or it is somebody else's
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
