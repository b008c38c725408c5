"""MLflow's SQLite database: it is created or upgraded in one step, and never deleted.

MLflow creates a database by about 70 migrations, in several transactions. If they are interrupted, no command can use
the file. So this module creates or upgrades a database in a temporary folder beside its path, and then moves it there.
"""

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from flat_dist.config.errors import UserError, first_line
from flat_dist.tracking import database_file, quiet
from flat_dist.tracking.address import uri_of

ABSENT, CURRENT, OLDER, DAMAGED = "absent", "current", "older", "damaged"

OWN_TABLES = frozenset(("experiments", "runs", "alembic_version"))
"""Tables that identify an MLflow database: even a partly created one has one of them."""


def prepare(path: Path, log_line: Callable[[str], None]) -> None:
    """Create a database for the installed MLflow, upgrade it, or replace a damaged one.

    A damaged file, and the file from before an upgrade, is kept under another name.

    Args:
        path: file of the database.
        log_line: prints a line.

    Raises:
        UserError: it cannot be read or written, is locked, belongs to a newer MLflow or another program, or holds runs
            and cannot be upgraded.
    """
    with _translate_errors(path):
        path = path.resolve()
        if state_of(path) == CURRENT:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with database_file.exclusive(path):
            state = state_of(path)  # again: another process may have created it during the wait
            if state != CURRENT:
                with database_file.scratch_file(path) as new:
                    _replace(path, state, new, log_line)


def check_is_database(path: Path) -> None:
    """Check a file that the user named: a file of another kind must not be moved away.

    Raises:
        UserError: it is not an SQLite database, or cannot be read.
    """
    with _translate_errors(path):
        if path.exists() and path.stat().st_size and not database_file.is_database(path):
            raise UserError(f"{path} is not an SQLite database: name another file with --tracking.uri, or move it")


def state_of(path: Path) -> str:
    """State of a database: absent, current, older or damaged. Changes nothing.

    Raises:
        UserError: it cannot be read or written, is locked, or belongs to a newer MLflow or another program.
    """
    quiet.configure()
    with _translate_errors(path):
        if not path.exists():
            return ABSENT
        try:
            with database_file.opened(path) as database:
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
    database.execute("BEGIN IMMEDIATE")  # fails if the database is locked
    database.execute(f"PRAGMA user_version = {number}")  # fails if it is read-only, or the disk is full
    database.rollback()
    versions = (
        database.execute("SELECT version_num FROM alembic_version").fetchall() if "alembic_version" in tables else []
    )
    return _compare_versions(path, [version for (version,) in versions])


def _compare_versions(path: Path, versions: Sequence[str]) -> str:
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
        database_file.delete_journals(path)
    else:
        backup = database_file.backup_name(path, "damaged")
        database_file.move_journals(path, backup)
        path.rename(backup)
        log_line(
            f"MLflow's database {path} was damaged or incomplete: it is kept as {backup.name}, and a new one is used"
        )
    with contextlib.suppress(FileExistsError):  # `mlflow ui`, which takes no lock, may have created it first
        database_file.link(new, path)


def _upgrade(path: Path, new: Path, log_line: Callable[[str], None]) -> bool:
    """Replace a database by an upgraded copy. Returns False if it cannot be upgraded, but holds no runs."""
    with database_file.opened(path) as database:
        database.execute("BEGIN IMMEDIATE")  # no other program can write until it is replaced
        if not _upgrade_copy(path, database, new):
            for leftover in new.parent.iterdir():
                leftover.unlink()
            return False
        backup = database_file.backup_name(path, "before-upgrade")
        database_file.link(path, backup)
        database_file.move_journals(path, backup)
        new.replace(path)
    log_line(f"MLflow's database {path} is upgraded to the installed MLflow; the old file is kept as {backup.name}")
    return True


def _upgrade_copy(path: Path, database: sqlite3.Connection, new: Path) -> bool:
    """Copy a database to `new` and upgrade the copy. Returns False if that fails, but the database holds no runs.

    Raises:
        UserError: it holds runs, and cannot be upgraded.
    """
    import sqlalchemy

    try:
        with database_file.opened(path) as reader, contextlib.closing(sqlite3.connect(new)) as copy:
            reader.backup(copy)
        _migrate(new)
    except (sqlalchemy.exc.SQLAlchemyError, ValueError, KeyError) as error:
        if _is_disk_full(error):
            raise
        if _count_runs(database):
            raise UserError(
                f"{path} holds runs, and the installed MLflow cannot upgrade it ({first_line(error)}): move it "
                f"away, or name another file with --tracking.uri; for details: mlflow db upgrade {uri_of(path)}"
            ) from error
        return False
    return True


def _count_runs(database: sqlite3.Connection) -> int:
    try:
        return int(database.execute("SELECT COUNT(*) FROM runs").fetchone()[0])
    except sqlite3.OperationalError:  # the table does not exist yet
        return 0


def _migrate(path: Path) -> None:
    from mlflow.db import upgrade

    assert upgrade.callback is not None
    upgrade.callback(uri_of(path))
    with path.open("rb+") as file:
        os.fsync(file.fileno())


@contextlib.contextmanager
def _translate_errors(path: Path) -> Iterator[None]:
    """Turn an error of the database or the disk into a UserError that names the file and says what to do."""
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (OSError, sqlite3.Error, SQLAlchemyError) as error:
        advice = "end the program that locks it" if "locked" in str(error) else "free disk space, or give access"
        raise UserError(
            f"MLflow's database {path} cannot be used ({first_line(error)}): {advice}, name another with "
            "--tracking.uri, or run with --tracking.no-enabled"
        ) from error


def _is_disk_full(error: BaseException) -> bool:
    return "disk is full" in str(error) or "No space left" in str(error) or "disk I/O error" in str(error)
