"""MLflow's database file: interrupted, shared, damaged, old, new, foreign, locked, or on a full disk."""

import contextlib
import resource
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.store.db import utils as stores

from flat_dist.commands import prepare
from flat_dist.config.errors import UserError
from flat_dist.tracking import database, database_file
from flat_dist.tracking.address import uri_of

LATEST = stores._get_latest_schema_revision()

PROCESSES = """
import os, signal, sys
from pathlib import Path
import sqlalchemy
from flat_dist.commands import prepare
from flat_dist.tracking import database, quiet
quiet.configure()
import mlflow.db
path, moments = Path(sys.argv[1]), [int(argument) for argument in sys.argv[2:]]
statements = 0

def count(*arguments):
    global statements
    statements += 1
    if statements == moment:
        os.kill(os.getpid(), signal.SIGKILL)

def start():
    if not (child := os.fork()):
        database.prepare(path, print)
        os._exit(0)
    return child

sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", count)
for moment in moments:
    print(os.WTERMSIG(os.waitpid(start(), 0)[1]), path.exists())
moment = 0
children = [start(), start()]
print([os.waitpid(child, 0)[1] for child in children], path.exists())
"""
"""Processes that are killed before a statement of the migrations, and then two that do the same at once."""


def version(path: Path) -> list[str]:
    with contextlib.closing(sqlite3.connect(path)) as opened:
        return [row[0] for row in opened.execute("SELECT version_num FROM alembic_version")]


def change(path: Path, *statements: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as opened, opened:
        for statement in statements:
            opened.execute(statement)


@pytest.fixture
def copied(mlflow_database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """New databases are copies of one: their creation is not under test."""
    migrate = database._migrate
    create = lambda path: migrate(path) if path.exists() else shutil.copyfile(mlflow_database, path)  # noqa: E731
    monkeypatch.setattr(database, "_migrate", create)


def test_a_killed_creation_is_repeated_by_later_processes(tmp_path: Path) -> None:
    path = tmp_path / "a b" / "mlflow.db"
    command = [sys.executable, "-c", PROCESSES, str(path), "40", "300"]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    assert said.stdout.splitlines() == ["9 False", "9 False", "[0, 0] True"], said.stderr
    assert version(path) == [LATEST]
    assert sorted(file.name for file in path.parent.iterdir()) == [".mlflow.db.lock", "mlflow.db"]
    assert MlflowClient(uri_of(path)).create_experiment("x") == "1"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096:8192] = b"\xff" * 4096
    path.write_bytes(content)


def interrupt(path: Path) -> None:
    """As MLflow leaves it when it is killed between two statements of its first migration."""
    path.unlink()
    change(path, "CREATE TABLE experiments (experiment_id INTEGER PRIMARY KEY, name TEXT, artifact_location TEXT)")
    change(path, "CREATE TABLE metrics (key TEXT, value FLOAT, timestamp BIGINT, run_uuid TEXT, step BIGINT)")


@pytest.mark.parametrize(
    "damage",
    [cut, flip, interrupt, lambda path: path.write_bytes(b""), lambda path: path.write_text("no database\n" * 999)],
)
@pytest.mark.usefixtures("copied")
def test_a_damaged_database_is_kept_under_another_name(
    damage: Callable[[Path], object], tmp_path: Path, mlflow_database: Path
) -> None:
    path = tmp_path / "mlflow.db"
    shutil.copyfile(mlflow_database, path)
    damage(path)
    content = path.read_bytes()
    said: list[str] = []
    database.prepare(path, said.append)
    assert version(path) == [LATEST]
    (kept,) = tmp_path.glob("mlflow.db.damaged-*")
    assert kept.read_bytes() == content
    assert len(said) == 1 and kept.name in said[0]
    database.prepare(path, said.append)
    assert len(said) == 1


@pytest.mark.usefixtures("copied")
def test_the_prepare_job_creates_the_database_of_make_ui(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Path(__file__).parents[1]
    assert "flat-dist prepare --mlflow-database runs/mlflow.db" in (root / "Makefile").read_text()
    monkeypatch.chdir(tmp_path)
    prepare.job(["--mlflow-database", "runs/mlflow.db"])
    assert capsys.readouterr().out == f"sqlite:///{tmp_path}/runs/mlflow.db\n"
    assert version(tmp_path / "runs" / "mlflow.db") == [LATEST]


@pytest.mark.usefixtures("copied")
def test_journals_move_with_their_database(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    path.write_text("no database\n" * 999)
    (tmp_path / "mlflow.db-shm").write_bytes(b"journal")
    database.prepare(path, print)
    (kept,) = tmp_path.glob("mlflow.db.damaged-*-shm")
    assert kept.read_bytes() == b"journal"
    assert not (tmp_path / "mlflow.db-shm").exists()
    path.unlink()
    (tmp_path / "mlflow.db-wal").write_bytes(b"of a database that somebody removed")
    database.prepare(path, print)
    assert not (tmp_path / "mlflow.db-wal").exists() and version(path) == [LATEST]


def test_a_database_of_an_older_mlflow_is_upgraded_with_its_runs(tmp_path: Path) -> None:
    import sqlalchemy
    from alembic import command

    path = tmp_path / "mlflow.db"
    engine = sqlalchemy.create_engine(uri_of(path))
    stores.InitialBase.metadata.create_all(engine)
    alembic = stores._get_alembic_config(uri_of(path))
    with engine.begin() as connection:
        alembic.attributes["connection"] = connection
        command.upgrade(alembic, "7ac759974ad8")  # of MLflow 1.0
    engine.dispose()
    change(
        path,
        "INSERT INTO experiments VALUES (1, 'old', '/artifacts', 'active')",
        "INSERT INTO runs (run_uuid, name, status, lifecycle_stage, experiment_id, artifact_uri, source_type,"
        " user_id, start_time)"
        " VALUES ('abc', 'mine', 'FINISHED', 'active', 1, '/artifacts/abc', 'LOCAL', 'me', 1)",
        "INSERT INTO metrics VALUES ('loss', 0.5, 1, 'abc', 3, 0)",
    )
    before, said = path.read_bytes(), list[str]()
    database.prepare(path, said.append)
    client = MlflowClient(uri_of(path))
    (run,) = client.search_runs(["1"])
    assert run.data.metrics == {"loss": 0.5}
    (kept,) = tmp_path.glob("mlflow.db.before-upgrade-*")
    assert kept.read_bytes() == before and kept.name in said[0]


RUN = "INSERT INTO runs (run_uuid, experiment_id) VALUES ('abc', 0)"
OLDER = "UPDATE alembic_version SET version_num = '7ac759974ad8'"
"""With the latest tables, so that its migrations cannot be done."""


@pytest.mark.parametrize(
    ("statements", "sentence"),
    [
        ([RUN, OLDER], r"holds runs, and the installed MLflow cannot upgrade it .*mlflow db upgrade sqlite:///"),
        (["UPDATE alembic_version SET version_num = 'fffffffffff1'"], "newer MLflow"),
        (["CREATE TABLE mine (value)", *(f"DROP TABLE {name}" for name in database.OWN_TABLES)], "another program"),
    ],
)
def test_unusable_databases_are_rejected_and_not_changed(
    statements: list[str], sentence: str, tmp_path: Path, mlflow_database: Path
) -> None:
    path = tmp_path / "mlflow.db"
    shutil.copyfile(mlflow_database, path)
    change(path, "PRAGMA foreign_keys = OFF", *statements)
    if "another" in sentence:
        path.unlink()
        change(path, statements[0])
    before = path.read_bytes()
    with pytest.raises(UserError, match=sentence) as error:
        database.prepare(path, print)
    assert "\n" not in str(error.value)
    assert path.read_bytes() == before
    assert {file.name for file in tmp_path.iterdir()} <= {"mlflow.db", ".mlflow.db.lock"}


def test_a_locked_database_and_a_folder_give_a_one_line_error(
    tmp_path: Path, mlflow_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_file, "BUSY_SECONDS", 0.05)
    path = tmp_path / "mlflow.db"
    shutil.copyfile(mlflow_database, path)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        for lock in ("IMMEDIATE", "EXCLUSIVE"):
            other.execute(f"BEGIN {lock}")
            with pytest.raises(UserError, match=r"locked.*end the program that locks it"):
                database.prepare(path, print)
            other.execute("ROLLBACK")
    database.prepare(path, print)
    (tmp_path / "folder").mkdir()
    for impossible in (tmp_path / "folder", path / "below" / "mlflow.db"):
        with pytest.raises(UserError, match="cannot be used"):
            database.prepare(impossible, print)


@contextlib.contextmanager
def full_disk(limit: int) -> Iterator[None]:
    """Files that this process writes cannot grow beyond a number of bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("limit", [10_000, 300_000])
def test_a_full_disk_gives_a_one_line_error_and_leaves_no_files(limit: int, tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    with full_disk(limit), pytest.raises(UserError, match=r"cannot be used .*free disk space") as error:
        database.prepare(path, print)
    assert "\n" not in str(error.value)
    assert [file.name for file in tmp_path.iterdir()] == [".mlflow.db.lock"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB, which can be made read-only; skips where nothing can be mounted."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(place)], capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_read_only_disk_gives_a_one_line_error(small_disk: Path, mlflow_database: Path) -> None:
    path = small_disk / "mlflow.db"
    shutil.copyfile(mlflow_database, path)
    database.prepare(path, print)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for file in (path, small_disk / "other.db", small_disk / "new" / "mlflow.db"):
        with pytest.raises(UserError, match=r"cannot be used .*give access") as error:
            database.prepare(file, print)
        assert "\n" not in str(error.value)


def test_a_disk_too_full_for_an_upgrade_gives_a_one_line_error(small_disk: Path, mlflow_database: Path) -> None:
    """As when one is to be upgraded: the old one is left as it is."""
    path = small_disk / "mlflow.db"
    shutil.copyfile(mlflow_database, path)
    change(path, OLDER)
    before = path.read_bytes()
    with (small_disk / "filling").open("wb", buffering=0) as filling, contextlib.suppress(OSError):
        while True:
            filling.write(b"x" * 4096)
    with pytest.raises(UserError, match=r"cannot be used .*full"):
        database.prepare(path, print)
    assert path.read_bytes() == before
    assert not list(small_disk.glob(".mlflow.db.new-*"))
