"""Addresses of MLflow, and the files that SQLite addresses name."""

import sqlite3
from pathlib import Path

import pytest
from mlflow import MlflowClient

from flat_dist.config.errors import UserError
from flat_dist.tracking import address
from flat_dist.tracking.database import prepare

SECRET = [
    "http://me:hush@host:5000",
    "https://hush@host",
    "http://host:5000/?token=hush",
    "http://host/?sig=hush",
    "http://host/?client_secret=hush",
    "http://host/?X-Amz-Signature=hush",
    "http://host/?aws_access_key_id=hush",
    "http://host/#access_token=hush",
    "mysql://me:hush@host/runs",
    "mysql+pymysql://me:pa#hush@host/runs",
    "mysql://me:pa/hush@host/runs",
    "postgresql://host/runs?user=me&password=hush",
    "mssql://?odbc_connect=SERVER%3Dhost%3BPWD%3Dhush",
    "sqlite:////tmp/mlflow.db?key=hush",
    "me:hush@host:5000",
    "foo://me:hush@host",
]


@pytest.mark.parametrize("uri", SECRET)
def test_secrets_are_rejected_and_not_printed(uri: str) -> None:
    with pytest.raises(UserError) as error:
        address.check(uri)
    assert "hush" not in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("uri", "sentence"),
    [
        ("", "not an address that MLflow can log to"),
        ("./mlruns", "not an address that MLflow can log to"),
        ("file:///tmp/mlruns", "not an address that MLflow can log to"),
        ("foo://host", "not an address that MLflow can log to"),
        ("localhost:5000", "not an address that MLflow can log to: give http://HOST:5000"),
        ("uc:http://host", "not an address that MLflow can log to"),
        ("http://", "has no valid host"),
        ("http:///runs", "has no valid host"),
        ("http://[host", "has no valid host"),
        ("http://host:99999", "has no valid host and port"),
        ("http://host:port", "has no valid host and port"),
        ("http://a host", "has no valid host"),
        ("mysql://host/runs", "needs a driver that is not installed .*MySQLdb"),
        ("postgresql://me@host/runs", "needs a driver that is not installed .*psycopg"),
        ("mssql+pyodbc://host/runs", "needs a driver that is not installed .*pyodbc"),
        ("mysql+foo://host/runs", "not a database address"),
        ("mysql://host:port/runs", "not a database address"),
        ("sqlite://", "does not name an SQLite file"),
        ("sqlite:///", "does not name an SQLite file"),
        ("sqlite:///:memory:", "does not name an SQLite file"),
        ("sqlite:runs.db", "does not name an SQLite file"),
        ("sqlite:////tmp/a?b/mlflow.db", "%3F for a question mark"),
        ("sqlite:///file:/tmp/x.db?uri=true", "does not name an SQLite file"),
        ("sqlite+foo:////tmp/mlflow.db", "does not name an SQLite file"),
    ],
)
def test_invalid_addresses_give_a_one_line_error(uri: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence) as error:
        address.check(uri)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("uri", ["http://host:5000", "https://host/a@b", "databricks", "sqlite:///runs/mlflow.db"])
def test_valid_addresses_are_accepted(uri: str) -> None:
    address.check(uri)


@pytest.mark.parametrize(
    "name", ["a b", "a?b", "a#b", "a%b", "a%20b", "a%3Fb", "a'b\"c", "[b]", "é😀", "a\\b", "a;b&c=d", "a\nb"]
)
def test_addresses_of_files_in_folders_with_special_characters(
    name: str, tmp_path: Path, mlflow_database: Path
) -> None:
    """MLflow writes into this file, as sqlite3 sees, and into no other folder."""
    file = tmp_path / name / "mlflow.db"
    file.parent.mkdir()
    file.write_bytes(mlflow_database.read_bytes())
    prepare(file, print)
    uri = address.uri_of(file)
    assert address.file_of(uri) == file
    client = MlflowClient(uri)
    experiment = client.create_experiment("mine", artifact_location=(file.parent / "mlartifacts").as_uri())
    run = client.create_run(experiment)
    client.log_text(run.info.run_id, "hello", "folder/text.txt")
    assert sqlite3.connect(file).execute("SELECT name FROM experiments").fetchall() == [("Default",), ("mine",)]
    assert [path.read_text() for path in (file.parent / "mlartifacts").rglob("text.txt")] == ["hello"]
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_relative_address_starts_at_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert address.file_of("sqlite:///runs/a%3Fb.db") == tmp_path / "runs" / "a?b.db"
    assert address.file_of("http://host:5000") is None
