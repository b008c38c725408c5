"""What a disk and a folder hold after a kill, a power cut, or a plot: all of a file, or what was there before."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flat_dist.config.errors import UserError
from flat_dist.storage import durable
from flat_dist.storage.file_validation import DamagedFileError
from flat_dist.storage.folder import Folder

LEFTOVER = f".{'0' * 32}.tmp"


def test_write_syncs_content_then_renames_then_syncs_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[tuple[str, str]] = []
    sync, replace = os.fsync, Path.replace

    def seen_sync(descriptor: int) -> None:
        name = Path(f"/proc/self/fd/{descriptor}").readlink().name
        order.append(("sync", "temporary" if durable.LEFTOVER.fullmatch(name) else name))
        sync(descriptor)

    def seen_replace(path: Path, target: Path) -> Path:
        order.append(("rename", target.name))
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", seen_sync)
    monkeypatch.setattr(Path, "replace", seen_replace)
    Folder(tmp_path / "new").write("a", b"1")
    new = [("sync", tmp_path.name)]  # the folder's own name
    assert order == [*new, ("sync", "temporary"), ("rename", "a"), ("sync", "new")]


def test_files_of_a_killed_writer_are_ignored_and_later_removed(tmp_path: Path) -> None:
    Folder(tmp_path).write("a", b"old")
    code = "import os, sys, time; os.fsync = lambda file: (print(flush=True), time.sleep(60));"
    code += "from flat_dist.storage import durable; from pathlib import Path;"
    code += f"durable.write(Path({str(tmp_path / 'a')!r}), b'n')"
    writer = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    writer.stdout.readline()
    writer.send_signal(signal.SIGKILL)
    writer.communicate()
    (left,) = (path for path in tmp_path.iterdir() if path.name != "a")
    folder = Folder(tmp_path)
    assert (folder.names(), folder.read("a")) == (["a"], b"old")
    durable.clear(tmp_path, durable.LEFTOVER_SECONDS)
    assert left.exists()  # somebody may be at it
    long_ago = time.time() - durable.LEFTOVER_SECONDS - 1
    os.utime(left, (long_ago, long_ago))
    durable._cleared.discard(tmp_path)
    folder.write("b", b"")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_clear_removes_leftovers_at_once(tmp_path: Path) -> None:
    (tmp_path / LEFTOVER).touch()
    (tmp_path / ".other").touch()
    Folder(tmp_path).clear_leftovers()
    Folder(tmp_path / "missing").clear_leftovers()
    assert [path.name for path in tmp_path.iterdir()] == [".other"]


@pytest.mark.parametrize("plant", ["symbolic link", "file"])
def test_a_planted_temporary_file_is_not_written_to(
    plant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim, folder = tmp_path / "victim", tmp_path / "folder"
    victim.write_text("precious")
    folder.mkdir()
    monkeypatch.setattr(durable.secrets, "token_hex", lambda size: "0" * 2 * size)  # as if it could be guessed
    if plant == "file":
        (folder / LEFTOVER).hardlink_to(victim)
    else:
        (folder / LEFTOVER).symlink_to(victim)
    with pytest.raises(UserError, match="cannot be written"):
        Folder(folder).write("a", b"1")
    assert victim.read_text() == "precious"
    assert not (folder / "a").exists()


def test_nothing_is_written_through_links(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    folder = Folder(tmp_path / "folder")
    for name in ("hard", "soft"):
        folder.write(name, b"")
        (tmp_path / "folder" / name).unlink()
    (tmp_path / "folder" / "hard").hardlink_to(victim)
    (tmp_path / "folder" / "soft").symlink_to(victim)
    for name in ("hard", "soft"):
        folder.write(name, b"new")
        assert folder.read(name) == b"new"
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("umask, modes", [(0o077, (0o600, 0o700)), (0o027, (0o640, 0o750)), (0o002, (0o664, 0o775))])
def test_permissions_follow_the_umask(umask: int, modes: tuple[int, int], tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        Folder(tmp_path / "a" / "b").write("c", b"1")
    finally:
        os.umask(before)
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("a/b/c", "a/b", "a")] == [
        modes[0],
        modes[1],
        modes[1],
    ]


def test_the_digest_changes_with_the_content(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"one")
    first, times = durable.sha256(path), (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    path.write_bytes(b"two")
    os.utime(path, ns=times)  # of the same size and time
    assert (first, durable.sha256(path)) == (
        "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed",  # sha256sum's
        "3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3",
    )


@pytest.mark.parametrize("name", ["../outside", "..", ".", "", "inner/../../outside", "/etc/passwd", "a\0b", "inner/a"])
def test_a_file_name_cannot_leave_its_folder(name: str, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("precious")
    folder = Folder(tmp_path / "folder")
    (folder / "inner").write("a", b"1")
    actions = [
        lambda: folder.read(name),
        lambda: list(folder.read_many([name])),
        lambda: folder.write(name, b"2"),
        lambda: folder.delete(name),
        lambda: folder.exists(name),
        lambda: folder.remove(name),
        lambda: folder.sha256(name),
        lambda: folder.read_json(name),
        lambda: folder.place(name),
    ]
    for action in actions:
        with pytest.raises(DamagedFileError, match=r"cannot be a file in .*: delete that folder, or name another$"):
            action()
    assert outside.read_text() == "precious"
    assert (folder / "inner").read("a") == b"1"
