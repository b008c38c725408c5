import hashlib
from pathlib import Path

import pytest

from flat_dist.config import UserError
from flat_dist.data.storage import Folder


def test_files_are_written_whole_and_read_back(tmp_path: Path) -> None:
    folder = Folder(tmp_path) / "inner"
    assert folder.names() == []
    assert folder.write("a.bin", b"one") == hashlib.sha256(b"one").hexdigest()
    folder.write("a.bin", b"two")
    folder.write_json("b.json", {"é": [1, 2.5, None]})
    assert folder.read("a.bin") == b"two"
    assert folder.read_json("b.json") == {"é": [1, 2.5, None]}
    assert folder.names() == ["a.bin", "b.json"]
    assert folder.local == tmp_path / "inner"
    assert folder.name == "inner"
    assert sorted(path.name for path in (tmp_path / "inner").iterdir()) == ["a.bin", "b.json"]


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Folder(tmp_path)
    folder.write("a", b"old")

    def fail(path: str, data: bytes) -> None:
        Path(path).write_bytes(data[:1])
        raise OSError("disk full")

    monkeypatch.setattr(folder, "_put", fail)
    with pytest.raises(UserError, match=r"cannot be written .disk full.: make room.*the same command then continues"):
        folder.write("a", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert folder.read("a") == b"old"


def test_deleting_and_removing_what_is_not_there_does_nothing(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.write("a", b"")
    (folder / "inner").write("b", b"")
    folder.delete("a")
    folder.delete("a")
    folder.remove("inner")
    folder.remove("inner")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileNotFoundError):
        folder.read("a")


def test_the_same_folder_by_uri(tmp_path: Path) -> None:
    Folder(f"file://{tmp_path}").write("a", b"1")
    assert Folder(tmp_path).read("a") == b"1"


def test_an_unknown_scheme_is_refused() -> None:
    with pytest.raises(UserError, match="cannot use 'nowhere://x'"):
        Folder("nowhere://x")
