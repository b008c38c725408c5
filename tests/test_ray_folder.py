"""Where a Ray that a job starts keeps its files: private, short enough, and removed; no Ray is started."""

import errno
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest

from flat_dist.config.errors import UserError
from flat_dist.runtime import ray_folder

USAGE = namedtuple("USAGE", ("total", "used", "free"))


@pytest.fixture
def parent(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A short folder that Ray is to use, beside which there is none."""
    folder = Path(tempfile.mkdtemp(prefix="t", dir="/tmp"))
    monkeypatch.setenv("RAY_TMPDIR", str(folder))
    monkeypatch.setattr(ray_folder, "FALLBACKS", ())
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def test_only_the_user_can_enter_whatever_the_umask(parent: Path) -> None:
    before = os.umask(0)
    try:
        with ray_folder.private_folder() as folder:
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
            assert folder.parent == parent
            assert os.environ["RAY_TMPDIR"] == str(folder)
    finally:
        os.umask(before)
    assert not folder.exists()
    assert os.environ["RAY_TMPDIR"] == str(parent)


def test_rays_longest_socket_path_fits(parent: Path) -> None:
    inside = parent / ("x" * (ray_folder.MAX_SOCKET_PATH - ray_folder.PATH_BELOW - len(str(parent)) - 1))
    inside.mkdir()
    os.environ["RAY_TMPDIR"] = str(inside)
    with ray_folder.private_folder() as folder:
        sockets = folder / "ray" / "session_2026-11-28_21-05-53_318371_4194303" / "sockets"  # as Ray names them
        sockets.mkdir(parents=True)
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(str(sockets / "plasma_store"))
        with socket.socket(socket.AF_UNIX) as longer, pytest.raises(OSError, match="too long"):
            longer.bind(str(sockets / "plasma_store_"))


@pytest.fixture(params=["long", "missing", "file", "read-only", "full", "everybody"])
def unfit(request: pytest.FixtureRequest, parent: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, str]:
    """A place that does not serve, and what is said of it."""
    place = parent / (request.param * (20 if request.param == "long" else 1))
    if request.param == "file":
        place.touch()
    elif request.param != "missing":
        place.mkdir()
    if request.param == "read-only":  # root may write anywhere
        monkeypatch.setattr(ray_folder.os, "access", lambda path, how: Path(path) != place)
    if request.param == "full":
        monkeypatch.setattr(
            ray_folder.shutil, "disk_usage", lambda path: USAGE(2**40, 2**40, 0 if path == place else 2**30)
        )
    if request.param == "everybody":
        place.chmod(0o777)
    monkeypatch.setenv("RAY_TMPDIR", str(place))
    said = {
        "long": "too long for Ray's sockets",
        "missing": "No such file",
        "file": "not a folder",
        "read-only": "is not writable",
        "full": "less than 64 MiB free",
        "everybody": "sticky",
    }
    return place, said[request.param]


def test_an_unusable_parent_is_replaced_with_a_message(
    unfit: tuple[Path, str], parent: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ray_folder, "FALLBACKS", (parent,))
    with ray_folder.private_folder() as folder:
        assert folder.parent == parent
    (line,) = capsys.readouterr().err.splitlines()
    assert str(unfit[0]) in line and unfit[1] in line and str(parent) in line


def test_without_a_usable_parent_the_error_names_each(unfit: tuple[Path, str]) -> None:
    with pytest.raises(UserError, match="set RAY_TMPDIR") as caught, ray_folder.private_folder():
        pass
    assert str(unfit[0]) in str(caught.value) and unfit[1] in str(caught.value)


DIE = """
import os, signal
from flat_dist.runtime import ray_folder
with ray_folder.private_folder() as folder:
    (folder / "ray").mkdir()
    print(folder, flush=True)
    {then}
"""


def run(then: str) -> Path:
    """The folder of a process that does something with it."""
    done = subprocess.run([sys.executable, "-c", DIE.format(then=then)], capture_output=True, text=True)
    return Path(done.stdout.strip())


def test_only_folders_of_killed_drivers_are_removed(parent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dead = run("os.kill(os.getpid(), signal.SIGKILL)")
    assert dead.is_dir()
    with ray_folder.private_folder() as alive:
        (parent / "flat-data").mkdir()
        (parent / "flat-link").symlink_to(dead)
        (parent / "flat-locked").mkdir()
        (parent / "flat-locked" / ray_folder.LOCK).symlink_to(dead / ray_folder.LOCK)
        left = {path.name for path in parent.iterdir()}
        monkeypatch.setenv("RAY_TMPDIR", str(parent))
        with ray_folder.private_folder():
            assert {path.name for path in parent.iterdir()} >= left - {dead.name}
            assert not dead.exists()
            assert (alive / ray_folder.LOCK).exists()


def test_a_failed_jobs_folder_is_kept_until_the_next_job(parent: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError), ray_folder.private_folder() as failed:
        raise RuntimeError
    assert failed.is_dir() and str(failed) in capsys.readouterr().err
    with pytest.raises(KeyboardInterrupt), ray_folder.private_folder() as interrupted:
        assert not failed.exists()
        raise KeyboardInterrupt
    assert not interrupted.exists()
    with ray_folder.private_folder() as kept:
        ray_folder.keep_logs()
    assert kept.is_dir()
    with ray_folder.private_folder():
        assert not kept.exists()
    assert list(parent.iterdir()) == []


def test_another_users_folder_is_not_removed(parent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dead = run("os.kill(os.getpid(), signal.SIGKILL)")
    monkeypatch.setattr(os, "geteuid", lambda: dead.stat().st_uid + 1)
    with ray_folder.private_folder():
        assert dead.exists()


def test_a_parent_that_fails_at_creation_is_a_user_error(parent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**where: object) -> str:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(ray_folder.tempfile, "mkdtemp", full)
    with (
        pytest.raises(UserError, match=rf"{parent} cannot hold.*quota exceeded.*RAY_TMPDIR"),
        ray_folder.private_folder(),
    ):
        pass
