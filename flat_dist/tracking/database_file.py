"""The files of an SQLite database: opened, locked, copied and moved."""

import contextlib
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import filelock

from flat_dist.config.errors import UserError

LOCK_SECONDS = 120.0
"""Longest wait for another process that creates the same database, which takes one to 30 seconds."""
BUSY_SECONDS = 10.0
"""Longest wait for another program that writes to the database."""

HEADER = b"SQLite format 3\0"
"""First bytes of every database that is not empty."""

JOURNALS = ("-journal", "-wal", "-shm")
"""Endings of the files that SQLite applies to the database with the same name. They must move together with it."""


def is_database(path: Path) -> bool:
    """Whether a file starts as an SQLite database does."""
    with path.open("rb") as file:
        return file.read(len(HEADER)) == HEADER


@contextlib.contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection to a database that exists."""
    database = sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=BUSY_SECONDS, isolation_level=None)
    try:
        yield database
    finally:
        database.close()


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Let one process at a time create or replace a database.

    Raises:
        UserError: another process takes longer than `LOCK_SECONDS`.
    """
    try:
        with filelock.FileLock(path.parent / f".{path.name}.lock", timeout=LOCK_SECONDS):
            yield
    except filelock.Timeout as error:
        raise UserError(f"another process has been creating {path} for {LOCK_SECONDS:.0f} s: end it") from error


@contextlib.contextmanager
def scratch_file(path: Path) -> Iterator[Path]:
    """A path for a new database on the same disk. Files that a killed process left are removed."""
    for leftover in path.parent.glob(f".{path.name}.new-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.new-", dir=path.parent))
    try:
        yield folder / "mlflow.db"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def move_journals(path: Path, backup: Path) -> None:
    """Rename the journals of a database. Do this first: SQLite applies them to the next database of that name."""
    for suffix in JOURNALS:
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(backup.with_name(backup.name + suffix))


def delete_journals(path: Path) -> None:
    """Delete the journals of a database that does not exist any more."""
    for suffix in JOURNALS:
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def backup_name(path: Path, why: str) -> Path:
    """A free name beside a database, with the reason and the time."""
    stem = f"{path.name}.{why}-{time.strftime('%Y%m%d-%H%M%S')}"
    names = (stem if not number else f"{stem}-{number}" for number in range(1000))
    return next(free for name in names if not (free := path.with_name(name)).exists())


def link(source: Path, target: Path) -> None:
    """Give a file a second name.

    Raises:
        FileExistsError: the name is taken.
    """
    try:
        target.hardlink_to(source)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if target.exists():
            raise FileExistsError(target) from None
        shutil.copyfile(source, partial := source.with_name(f"{source.name}.copy"))
        partial.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
