"""`make install` with a stub of Python that writes down its calls: what it installs, and when it refuses."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

STUB = """#!/bin/sh
case "$*" in
  *version_info*) exit 0;;
  *"import ensurepip"*) exit 0;;
  "-m venv .venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python && cp "$0" .venv/bin/flat-dist
    echo "command = $0 -m venv $(pwd -P)/.venv" > .venv/pyvenv.cfg;;
esac
echo "$*" >> calls
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkout, as far as `make install` looks, with a stub of Python."""
    here = tmp_path / "check out"
    (here / "flat_dist" / "resources").mkdir(parents=True)
    for path in [*ROOT.glob("requirements*.lock"), ROOT / "Makefile", ROOT / "pyproject.toml"]:
        shutil.copy(path, here)
    shutil.copy(ROOT / "flat_dist" / "resources" / "packages.txt", here / "flat_dist" / "resources")
    stub(here, STUB)
    return here


def stub(folder: Path, text: str) -> None:
    (folder / "python").write_text(text)
    (folder / "python").chmod(0o755)


def install(folder: Path, target: str = "install") -> subprocess.CompletedProcess:
    command = ["make", target, "PYTHON=./python"]
    apart = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(command, cwd=folder, env=apart, capture_output=True, text=True, timeout=60)


def calls(folder: Path) -> list[str]:
    return (folder / "calls").read_text().splitlines()


def refusal(folder: Path) -> str:
    """The one sentence before make's own line; nothing was installed."""
    result = install(folder)
    assert result.returncode == 2
    assert not (folder / "calls").exists()
    sentence, make = result.stderr.splitlines()
    assert make.startswith("make: ***")
    return sentence


def test_every_package_comes_in_by_its_hash_and_is_built_with_what_came_in_so(folder: Path) -> None:
    assert install(folder).returncode == 0
    installs = [call for call in calls(folder) if "pip install" in call]
    assert all("--no-build-isolation" in call for call in installs)
    by_hash = [call for call in installs if "--require-hashes" in call]
    assert [call for call in installs if call not in by_hash] == [
        "-I -m pip install --no-build-isolation --no-deps --editable ."
    ]
    locks = [word for call in by_hash for word in call.split() if word.endswith(".lock")]
    all_locks = {path.name for path in ROOT.glob("requirements*.lock")}
    assert sorted(locks) == sorted(all_locks - {"requirements-docs.lock"})
    assert locks[:2] == ["requirements-tools.lock", "requirements-cpu.lock"]  # the first installs the rest
    assert calls(folder)[-1] == "prepare"  # of flat-dist


def test_a_second_call_does_nothing_and_another_lock_installs_again(folder: Path) -> None:
    install(folder)
    first = calls(folder)
    assert install(folder).returncode == 0
    assert calls(folder) == first
    later = (folder / ".venv" / ".installed").stat().st_mtime + 10
    os.utime(folder / "requirements.lock", (later, later))
    install(folder)
    assert calls(folder) == first * 2


def test_the_documentation_is_built_with_tools_that_come_in_by_hash_when_they_are_needed(folder: Path) -> None:
    install(folder)
    before = calls(folder)
    assert install(folder, "docs").returncode == 0
    lock, build = calls(folder)[len(before) :]
    assert lock.endswith("--no-deps --require-hashes --requirement requirements-docs.lock")
    assert build.startswith("-m sphinx") and "--fail-on-warning" in build.split()
    assert install(folder, "docs").returncode == 0
    assert calls(folder)[len(before) + 2 :] == [build]


def test_a_call_after_one_that_was_broken_off_goes_on(folder: Path) -> None:
    packages = folder / ".venv" / "lib" / "python3.11" / "site-packages"
    for name in ("whole", "half"):
        (packages / f"{name}-1.0.dist-info").mkdir(parents=True)
        (packages / f"{name}-1.0.dist-info" / "METADATA").touch()
    (packages / "whole-1.0.dist-info" / "INSTALLER").touch()  # which pip writes when all else is there
    assert install(folder).returncode == 0
    assert [path.name for path in packages.iterdir()] == ["whole-1.0.dist-info"]


def test_another_python_is_refused(folder: Path) -> None:
    stub(folder, STUB.replace("exit 0", "exit 1", 1))
    assert "./python is not Python 3.11" in refusal(folder)


def test_a_python_that_makes_no_environments_is_refused(folder: Path) -> None:
    stub(folder, STUB.replace('ensurepip"*) exit 0', 'ensurepip"*) exit 1'))
    assert "python3.11-venv" in refusal(folder)


@pytest.mark.parametrize("left", ["gone", "of another version"])
def test_an_environment_of_another_python_is_named(folder: Path, left: str) -> None:
    python = folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to("/nowhere/python3.11" if left == "gone" else shutil.which("false") or "/bin/false")
    assert ".venv was made with a Python that is missing or is not 3.11: make clean" in refusal(folder)


def test_an_environment_that_moved_is_named(folder: Path) -> None:
    install(folder)
    (folder / "calls").unlink()
    moved = folder.rename(folder.parent / "out")
    assert ".venv was made in another folder" in refusal(moved)
