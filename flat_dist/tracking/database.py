"""MLflow's SQLite database: created in one step, upgraded in one step, and never deleted.

MLflow creates a database by about 70 migrations, which are not one transaction: an interrupt leaves a file that no
command can use. So a database is created, or upgraded, in a folder of its own beside its place, and then moved there.

    python -m flat_dist.tracking.database runs/mlflow.db

does so for `mlflow ui`, and prints the address to give it.
"""

import contextlib
import os
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import filelock

from flat_dist import cli
from flat_dist.config.errors import UserError
from flat_dist.tracking import quiet
from flat_dist.tracking.address import uri_of

WAIT_SECONDS = 120.0
"""For another process that creates the same database, which takes one to 30 seconds."""
BUSY_SECONDS = 10.0
"""For another program that writes to the database at the moment."""

ABSENT, CURRENT, OLDER, DAMAGED = "absent", "current", "older", "damaged"

HEADER = b"SQLite format 3\0"
"""How every database begins that is not empty."""

JOURNALS = ("-journal", "-wal", "-shm")
"""Files that SQLite would apply to whatever database has the name: they are moved with theirs."""

OWN_TABLES = frozenset(("experiments", "runs", "alembic_version"))
"""Tables of which even a database that MLflow only began to create has one."""


def prepare(path: Path, log_line: Callable[[str], None]) -> None:
    """Have a database that the installed MLflow can use: create it, upgrade it, or replace a damaged one.

    A damaged file, and the one from before an upgrade, is kept under another name.

    Args:
        path: its file.
        say: says a line.

    Raises:
        UserError: it cannot be read or written, is locked, belongs to a newer MLflow or another program, or holds runs
            and cannot be upgraded.
    """
    with _explained(path):
        path = path.resolve()
        if look(path) == CURRENT:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(path):
            state = look(path)  # again: another process may have created it while this one waited
            if state != CURRENT:
                with _workshop(path) as new:
                    _replace(path, state, new, log_line)


def check_kind(path: Path) -> None:
    """Raise UserError if a file that the user named is of another kind: it is not ours to move away.

    Raises:
        UserError: it is, or cannot be read.
    """
    with _explained(path):
        if path.exists() and path.stat().st_size and not _begins_as_database(path):
            raise UserError(f"{path} is no SQLite database: name another file with --tracking.uri, or move it away")


def _begins_as_database(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(HEADER)) == HEADER


def look(path: Path) -> str:
    """What is at a path: nothing, or a database that is current, older, or damaged; changes nothing.

    Raises:
        UserError: it cannot be read or written, is locked, or belongs to a newer MLflow or another program.
    """
    quiet.settle()
    with _explained(path):
        if not path.exists():
            return ABSENT
        try:
            with _opened(path) as database:
                return _state(path, database)
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
                return DAMAGED
            raise


def _state(path: Path, database: sqlite3.Connection) -> str:
    tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables or database.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
        return DAMAGED
    if not tables & OWN_TABLES:
        raise UserError(f"{path} is a database of another program: name another file with --tracking.uri")
    (number,) = database.execute("PRAGMA user_version").fetchone()
    database.execute("BEGIN IMMEDIATE")  # which a locked database refuses
    database.execute(f"PRAGMA user_version = {number}")  # which a read-only one does, and a folder without room
    database.rollback()
    versions = (
        database.execute("SELECT version_num FROM alembic_version").fetchall() if "alembic_version" in tables else []
    )
    return _compare(path, [version for (version,) in versions])


def _compare(path: Path, versions: Sequence[str]) -> str:
    from alembic.script import ScriptDirectory
    from mlflow.store.db.utils import _get_alembic_config

    migrations = ScriptDirectory.from_config(_get_alembic_config(db_url=""))
    if versions == migrations.get_heads():
        return CURRENT
    if set(versions) - {migration.revision for migration in migrations.walk_revisions()}:
        raise UserError(
            f"{path} belongs to a newer MLflow, or to another program: install that MLflow, or name another file with "
            "--tracking.uri"
        )
    return OLDER


def _replace(path: Path, state: str, new: Path, log_line: Callable[[str], None]) -> None:
    if state == OLDER and _upgrade(path, new, log_line):
        return
    _migrate(new)
    if state == ABSENT:
        for suffix in JOURNALS:  # of a database that somebody removed
            path.with_name(path.name + suffix).unlink(missing_ok=True)
    else:
        kept = _free_name(path, "damaged")
        _move_journals(path, kept)
        path.rename(kept)
        log_line(f"MLflow's database {path} was damaged or half made: it is kept as {kept.name}, and a new one is used")
    with contextlib.suppress(FileExistsError):  # a program that takes no lock, such as `mlflow ui`, was faster
        _link(new, path)


def _upgrade(path: Path, new: Path, log_line: Callable[[str], None]) -> bool:
    """Put an upgraded copy in the place of a database; False: it cannot be upgraded, and holds no runs."""
    import sqlalchemy

    with _opened(path) as old, _opened(path) as reader:
        old.execute("BEGIN IMMEDIATE")  # nobody else writes to it until it is replaced
        try:
            with contextlib.closing(sqlite3.connect(new)) as copy:
                reader.backup(copy)
            _migrate(new)
        except (sqlalchemy.exc.SQLAlchemyError, ValueError, KeyError) as error:
            if _is_full(error):
                raise
            if _runs(old):
                raise UserError(
                    f"{path} holds runs, and the installed MLflow cannot upgrade it ({_first_line(error)}): move it "
                    f"away, or name another file with --tracking.uri; to see more: mlflow db upgrade {uri_of(path)}"
                ) from error
            for leftover in new.parent.iterdir():
                leftover.unlink()
            return False
        kept = _free_name(path, "before-upgrade")
        _link(path, kept)
        _move_journals(path, kept)
        new.replace(path)
    log_line(f"MLflow's database {path} is upgraded to the installed MLflow; the old one is kept as {kept.name}")
    return True


def _runs(database: sqlite3.Connection) -> int:
    try:
        return int(database.execute("SELECT COUNT(*) FROM runs").fetchone()[0])
    except sqlite3.OperationalError:  # the table was not made yet
        return 0


def _migrate(path: Path) -> None:
    from mlflow.db import upgrade

    assert upgrade.callback is not None
    upgrade.callback(uri_of(path))
    with path.open("rb+") as file:
        os.fsync(file.fileno())


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    database = sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=BUSY_SECONDS, isolation_level=None)
    try:
        yield database
    finally:
        database.close()


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    try:
        with filelock.FileLock(path.parent / f".{path.name}.lock", timeout=WAIT_SECONDS):
            yield
    except filelock.Timeout as error:
        raise UserError(f"another process has been creating {path} for {WAIT_SECONDS:.0f} s: end it") from error


@contextlib.contextmanager
def _workshop(path: Path) -> Iterator[Path]:
    """Where to make a new database, on the same disk; what a killed process left there is removed."""
    for leftover in path.parent.glob(f".{path.name}.new-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.new-", dir=path.parent))
    try:
        yield folder / "mlflow.db"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _move_journals(path: Path, kept: Path) -> None:
    """Done before the database itself goes: SQLite would apply them to the next database of its name."""
    for suffix in JOURNALS:
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(kept.with_name(kept.name + suffix))


def _free_name(path: Path, why: str) -> Path:
    stem = f"{path.name}.{why}-{time.strftime('%Y%m%d-%H%M%S')}"
    names = (stem if not number else f"{stem}-{number}" for number in range(1000))
    return next(free for name in names if not (free := path.with_name(name)).exists())


def _link(source: Path, target: Path) -> None:
    """Give a file a second name, which must be free."""
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


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Say of an error of the database or the disk where it was, and what to do."""
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (OSError, sqlite3.Error, SQLAlchemyError) as error:
        advice = "end the program that holds it" if "locked" in str(error) else "make room, or give access"
        raise UserError(
            f"MLflow's database {path} cannot be used ({_first_line(error)}): {advice}, name another with "
            "--tracking.uri, or run with --tracking.no-enabled"
        ) from error


def _is_full(error: BaseException) -> bool:
    return "disk is full" in str(error) or "No space left" in str(error) or "disk I/O error" in str(error)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _job(arguments: Sequence[str]) -> None:
    if len(arguments) != 1:
        raise UserError("usage: python -m flat_dist.tracking.database FILE")
    path = Path(arguments[0]).absolute()
    prepare(path, lambda line: print(line, file=sys.stderr))
    print(uri_of(path))


if __name__ == "__main__":
    cli.main(_job)
