"""What a user writes for a folder, and what it means."""

import os
import pwd
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flat_dist.config.errors import UserError
from flat_dist.storage.location import Location, carries_credentials, parse

HOME = pwd.getpwuid(os.getuid()).pw_dir


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, and the home folder in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("NOWHERE", raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ("runs", "runs"),
        ("./runs/", "runs"),
        ("a//b", "a/b"),
        ("a?b#c%20d [e] <f> 'g' \"h\" =i", "a?b#c%20d [e] <f> 'g' \"h\" =i"),
        ("runs:2026", "runs:2026"),
        ("user@host", "user@host"),
        ("token=x?password=y", "token=x?password=y"),
        ("x/../runs", "runs"),
        ("~/runs", "home/runs"),
        ("~", "home"),
        ("./~", "~"),
        ("$HOME/runs", "home/runs"),
        ("${HOME}/runs", "home/runs"),
        ("a$HOME", "a$HOME"),
        ("$-x", "$-x"),
        ("file://runs", "runs"),
        ("file://data/runs", "data/runs"),
        ("file:runs", "runs"),
        ("file://~/runs", "home/runs"),
        ("FILE:data/a%20b%25%3F", "data/a b%?"),
        ("ordner-äöü/文件", "ordner-äöü/文件"),
        ("b" * 250 + "/" + "c" * 250, "b" * 250 + "/" + "c" * 250),
    ],
)
def test_relative_paths(written: str, path: str, here: Path) -> None:
    found = parse(written)
    assert found.path == str(here / path)
    assert found.is_local
    assert parse(found.uri) == found


@pytest.mark.parametrize("written", ["file:///abs/a%20b", "file:/abs/a%20b", "File://localhost/abs/a%20b", "/abs/a b"])
def test_absolute_paths(written: str) -> None:
    found = parse(written)
    assert found.path == "/abs/a b"
    assert found.uri in ("/abs/a b", "file:///abs/a%20b")
    assert parse(found.uri) == found


def test_a_path_object_is_a_literal_path(here: Path) -> None:
    for name in ("s3:", "~", "$HOME", "C:\\x", "file:x"):
        assert parse(Path(name)).path == parse(str(here / name)).path == str(here / name)


def test_another_users_home() -> None:
    assert parse(f"~{pwd.getpwuid(os.getuid()).pw_name}/runs").path == f"{HOME}/runs"


@pytest.mark.parametrize(
    ("written", "scheme", "bucket", "path", "uri"),
    [
        ("s3://bucket", "s3", "bucket", "", None),
        ("S3://bucket/runs/", "s3", "bucket", "runs", "s3://bucket/runs"),
        ("gs://bucket/a//b", "gs", "bucket", "a/b", "gs://bucket/a/b"),
        ("gs://anonymous@bucket/a", "gs", "anonymous@bucket", "a", None),
        ("s3://bucket/lr=0.1/user@host", "s3", "bucket", "lr=0.1/user@host", None),
        ("s3://bucket/a b%25%3F", "s3", "bucket", "a b%?", "s3://bucket/a%20b%25%3F"),
        ("s3://b.c-d/e?endpoint_override=minio:9000&scheme=http", "s3", "b.c-d", "e", None),
    ],
)
def test_folders_in_a_bucket(written: str, scheme: str, bucket: str, path: str, uri: str | None) -> None:
    found = parse(written)
    assert (found.scheme, found.bucket, found.path, found.is_local) == (scheme, bucket, path, False)
    assert found.uri == (uri or written)
    assert parse(found.uri) == found


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("", "names no folder"),
        (" ", "names no folder"),
        ("a\0b", "control characters"),
        ("a\nb", "control characters"),
        ("/a\x1bb", "control characters"),
        ("file:///a%00b", "control characters"),
        ("s3://bucket/a%0Ab", "control characters"),
        ("a\udcffb", "not UTF-8"),
        ("file:///a%ff", "codes are not UTF-8"),
        ("file:", "names no folder"),
        ("file://", "names no folder"),
        ("file:///a?b", "%3F"),
        ("file:///a#b", "%23"),
        ("~nobody-of-this-name/runs", "does not exist"),
        ("$NOWHERE/runs", "NOWHERE is not set"),
        ("s3:", "names no bucket"),
        ("s3:/bucket", "write s3://bucket"),
        ("s3:bucket", "write s3://bucket"),
        ("s3://", "names no bucket"),
        ("s3:///runs", "names no bucket"),
        ("gs:////bucket", "names no bucket"),
        ("s3://bucket/a#b", "%23"),
        ("s3://bucket/../x", "cannot be called"),
        ("s3://bucket/./x", "cannot be called"),
        ("s3://minio:9000/runs", "endpoint_override"),
        ("s3://[b]/runs", "is not a valid bucket name"),
        ("s3://b?endpoint_override", "write it as name=value"),
        ("hdfs://host/x", "hdfs:// is unknown"),
        ("az://host/x", "az:// is unknown"),
        ("abfs://host/x", "abfs:// is unknown"),
        ("http://host/x", "http:// is unknown"),
        ("https:/host", "https:// is unknown"),
        ("nowhere://x", "nowhere:// is unknown"),
        ("C:\\runs", "Windows path"),
        ("d:/runs", "Windows path"),
        ("\\\\host\\runs", "Windows path"),
        ("a" * 260, "too long"),
        ("ä" * 130, "too long"),
        ("a/" * 2500, "too long"),
        ("s3://bucket/" + "a" * 1025, "too long"),
    ],
)
def test_invalid_locations_are_refused(written: str, said: str) -> None:
    with pytest.raises(UserError) as error:
        parse(written)
    assert said in str(error.value)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 400


@pytest.mark.parametrize(
    "uri",
    [
        "s3://me:hush@bucket/x",
        "s3://hush@bucket/x",
        "s3:/me:hush@bucket/x",
        "s3:me:hush@bucket/x",
        "S3://me:hush@bucket",
        "s3://me:hu/sh@bucket/x",
        "s3://me:hu#sh@bucket/x",
        "s3://me:hush@[bucket/x",
        "s3://bucket/x?secret_key=hush&access_key=me",
        "s3://bucket/x?Access_Key=hush",
        "s3://bucket/x?session%5Ftoken=hush",
        "s3://bucket/x?a=b;PASSWORD=hush",
        "s3://bucket/x?client_secret=hush",
        "s3://bucket/x#token=hush",
        "gs://bucket/x?sig=hush",
        "gs://bucket/x?SAS=hush",
        "gs://bucket/x?X-Goog-Signature=hush",
        "https://host/x?X-Amz-Credential=hush",
        "abfs://container@host/x?sv=1&sig=hush",
        "http://user:hush@host",
        "http://hush@host",
        "postgresql+psycopg2://user:hush@host/base",
        "mysql://host/base?user=me&password=hush",
        "mssql+pyodbc://host/base?Pwd=hush",
        "file:///a?token=hush",
    ],
)
def test_credentials_are_refused_and_not_printed(uri: str) -> None:
    assert carries_credentials(uri)
    with pytest.raises(UserError, match=r"carries credentials.*AWS_SECRET_ACCESS_KEY") as error:
        parse(uri)
    for part in ("hush", "me:", "hu/", "@"):
        assert part not in str(error.value)


@pytest.mark.parametrize(
    "uri",
    [
        "runs",
        "a:b@c",
        "/runs?token=x",
        "s3://bucket/user@home:x",
        "s3://bucket/x?endpoint_override=minio:9000&scheme=http&region=us-east-1",
        "s3://bucket/token=1",
        "gs://anonymous@bucket/x",
        "http://127.0.0.1:5000",
        "http://[::1]:5000/@x",
        "postgresql://user@host:5432/base",
        "sqlite:////data/mlflow.db",
        "databricks",
        "databricks://profile",
    ],
)
def test_uris_without_credentials(uri: str) -> None:
    assert not carries_credentials(uri)


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="/"), min_size=1, max_size=50))
def test_an_inner_folder_keeps_its_name(name: str) -> None:
    for outer in (Location("", "", "/"), Location("file", "", "/a"), Location("s3", "b", ""), Location("gs", "b", "c")):
        if name in (".", ".."):
            with pytest.raises(UserError):
                outer.inner(name)
            continue
        inner = outer.inner(name)
        assert inner.path.rpartition("/")[2] == name
        assert parse(inner.uri) == inner


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/../b", "a//b", "/etc", "a/", "a\0", "b" * 256])
def test_an_inner_folder_cannot_leave_its_parent(name: str) -> None:
    with pytest.raises(UserError):
        Location("", "", "/runs").inner(name)


def test_a_missing_current_folder_is_a_user_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(UserError, match="give an absolute path"):
        parse("runs")
