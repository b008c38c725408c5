"""Folders on this machine and on an object store, which is a real S3 server on loopback."""

import hashlib
import logging
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flat_dist.config.errors import UserError
from flat_dist.storage import bucket
from flat_dist.storage.files import PARALLEL_READS
from flat_dist.storage.folder import Folder
from tests import object_store


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with object_store.bucket() as uri:
        yield uri


@pytest.fixture(params=["local", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    """An empty folder."""
    return Folder(tmp_path) if request.param == "local" else Folder(request.getfixturevalue("s3")) / tmp_path.name


def test_files_are_written_and_read_back(folder: Folder) -> None:
    inner = folder / "inner"
    assert inner.names() == []
    assert inner.write("a.bin", b"one") == hashlib.sha256(b"one").hexdigest()
    inner.write("a.bin", b"two")
    inner.write("empty", b"")
    inner.write_json("b.json", {"é": [1, 2.5, None]})
    assert (inner.read("a.bin"), inner.read("empty")) == (b"two", b"")
    assert inner.read_json("b.json") == {"é": [1, 2.5, None]}
    assert inner.names() == ["a.bin", "b.json", "empty"]
    assert inner.exists("a.bin")
    assert not inner.exists("c")
    assert not folder.exists("inner")
    assert inner.name == "inner"
    assert Folder(inner.uri).read("a.bin") == b"two"
    assert Folder(inner.uri).uri == inner.uri


def test_many_files_are_read_in_order(folder: Folder) -> None:
    names = [f"{number:03d}" for number in range(3 * PARALLEL_READS + 1)]
    for name in names:
        folder.write(name, name.encode())
    assert list(folder.read_many(names[::-1])) == [name.encode() for name in names[::-1]]
    assert list(folder.read_many([])) == []
    read = folder.read_many([*names, "missing"])
    assert next(read) == b"000"
    with pytest.raises(FileNotFoundError):
        list(read)


def test_deleting_missing_files_and_folders_does_nothing(folder: Folder) -> None:
    folder.write("a", b"")
    (folder / "inner").write("b", b"")
    folder.delete("a")
    folder.delete("a")
    folder.remove("inner")
    folder.remove("inner")
    assert folder.names() == []
    assert not (folder / "inner").exists("b")
    with pytest.raises(FileNotFoundError):
        folder.read("a")


def test_a_folder_as_a_directory(folder: Folder) -> None:
    folder.write("a", b"1")
    (folder / "inner").write("b", b"2")
    with folder.as_directory() as directory:
        assert (directory / "a").read_bytes() == b"1"
        assert (directory / "inner" / "b").read_bytes() == b"2"


def test_no_temporary_files_remain_and_hidden_files_are_not_listed(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.write("a", b"1")
    (tmp_path / ".hidden").touch()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".hidden", "a"]
    assert folder.names() == ["a"]
    assert folder.local == tmp_path


def test_a_small_file_is_one_request(s3: str) -> None:
    folder, seen = Folder(s3) / "requests", []
    handler = logging.Handler()
    handler.emit = lambda record: seen.append(record.getMessage().split('"')[1])  # type: ignore[method-assign]
    logger = logging.getLogger("werkzeug")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        folder.write("a", b"1" * 100_000)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.ERROR)
    assert seen == ["PUT /storage/here/requests/a HTTP/1.1"]


def test_a_failed_write_leaves_only_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Folder(tmp_path)
    folder.write("a", b"old")

    def fail(descriptor: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(UserError, match=r"cannot be written .disk full.: make room.*the same command then continues"):
        folder.write("a", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert folder.read("a") == b"old"


def test_a_missing_bucket_is_a_user_error(s3: str) -> None:
    folder = Folder(s3.replace("storage", "nobody", 1))
    with pytest.raises(UserError, match=r"s3://nobody/here\S* cannot be written .*name another --storage"):
        folder.write("a", b"1")


def test_the_same_folder_by_uri(tmp_path: Path) -> None:
    folder = Folder(f"file://{tmp_path}/a%20b")
    folder.write("a", b"1")
    assert Folder(tmp_path / "a b").read("a") == b"1"
    assert Folder((folder / "c d").uri).local == tmp_path / "a b" / "c d"


def test_folders_of_a_uri_with_parameters(s3: str) -> None:
    place, _, query = s3.partition("?")
    inner = Folder(s3) / "stages" / "train-flat-1"
    assert inner.uri == f"{place}/stages/train-flat-1?{query}"
    assert (inner.name, inner.local) == ("train-flat-1", None)
    assert Folder(f"{place}/?{query}").uri == s3
    found = inner.remote
    assert found is not None
    assert found[1] == "storage/here/stages/train-flat-1"


@pytest.mark.parametrize("uri", ["s3://bucket/x?region=a&foo=1", "gs://bucket/x?foo=1"])
def test_an_unknown_parameter_is_a_user_error(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket, "_check_reachable", lambda parameters: None)
    with pytest.raises(
        UserError, match=r"cannot use '(s3|gs)://bucket' as a folder: Unexpected query parameter.*'foo'$"
    ):
        Folder(uri)


@pytest.fixture(params=["refuses", "never answers"])
def away(request: pytest.FixtureRequest) -> Iterator[str]:
    """A server that does not answer."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        host, port = server.getsockname()
        if request.param == "refuses":
            server.close()
        yield f"endpoint_override={host}:{port}&scheme=http"


def test_unreachable_google_storage_is_a_user_error(away: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket, "CONNECT_SECONDS", 0.2)
    with pytest.raises(
        UserError, match=r"127.0.0.1:\d+, the server of gs://, cannot be reached \(.*: check the network"
    ):
        Folder(f"gs://bucket/x?{away}")


def test_an_unreachable_s3_server_is_a_user_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    folder = Folder(f"s3://bucket/x?endpoint_override=127.0.0.1:{port}&scheme=http&region=a")
    with pytest.raises(UserError, match=r"s3://bucket/x\S* cannot be read"):
        folder.check()


def test_check_accepts_a_new_folder_and_does_not_create_it(tmp_path: Path) -> None:
    Folder(tmp_path / "a" / "b").check()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to("target")
    Folder(tmp_path / "link" / "c").check()


def _file(place: Path) -> Path:
    (place / "file").touch()
    return place / "file"


def _through_a_file(place: Path) -> Path:
    return _file(place) / "runs"


def _dangling(place: Path) -> Path:
    (place / "link").symlink_to(place / "nothing")
    return place / "link"


def _circle(place: Path) -> Path:
    (place / "circle").symlink_to("circle")
    return place / "circle" / "runs"


def _through_a_dangling(place: Path) -> Path:
    return _dangling(place) / "runs"


@pytest.mark.parametrize("make", [_file, _through_a_file, _dangling, _through_a_dangling, _circle])
def test_check_refuses_a_folder_that_cannot_be_created(make: Callable[[Path], Path], tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"--storage \S+ cannot be used: \S+ is (not a folder|a link that leads to no folder); name"
    ):
        Folder(make(tmp_path)).check()


def test_check_refuses_another_users_folder() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as theirs:  # pytest's own folder is closed to others
        Path(theirs).chmod(0o755 if os.getuid() == 0 else 0o555)
        child = os.fork()
        if child == 0:
            try:
                if os.getuid() == 0:
                    os.setuid(65534)
                Folder(f"{theirs}/runs").check("--place")
            except UserError as error:
                os._exit(7 if str(error).endswith(f"{theirs} is not writable; name another --place") else 1)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_check_refuses_a_path_too_long_for_a_run() -> None:
    with pytest.raises(UserError, match="is too long: no path may have over 4095 bytes"):
        Folder("/" + "/".join(["a" * 199] * 20)).check()


@pytest.mark.parametrize("name", ["a?b#c%20d", "a b", "[b] <c>", "'\"", "a=b&c", "%", "a\\b", "ä" * 100, "~", "$HOME"])
def test_unusual_names_are_not_changed(name: str, folder: Folder) -> None:
    inner = folder / name
    inner.write("a", b"1")
    assert (inner.name, inner.names()) == (name, ["a"])
    assert Folder(inner.uri).uri == inner.uri
    assert Folder(inner.uri).read("a") == b"1"
    if inner.local:
        assert (inner.local / "a").read_bytes() == b"1"
