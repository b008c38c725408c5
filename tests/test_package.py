"""A source archive and the wheel built from it hold all that the package reads, and work where no checkout is."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from flat_dist import __version__

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source archive."""
    copy = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "flat_dist", copy / "flat_dist", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    code = "from setuptools import build_meta; build_meta.build_sdist('out')"
    subprocess.run([sys.executable, "-c", code], cwd=copy, check=True, timeout=120, stdout=subprocess.DEVNULL)
    (path,) = (copy / "out").glob("*.tar.gz")
    return path


@pytest.fixture(scope="module")
def wheel_path(archive: Path) -> Path:
    options = ["--no-build-isolation", "--no-deps", "--no-index", "--quiet", "--wheel-dir", str(archive.parent)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(archive)], check=True, timeout=120)
    (path,) = archive.parent.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def wheel(wheel_path: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(wheel_path)


@pytest.fixture(scope="module")
def elsewhere(wheel_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with the wheel, and the packages of this one, without its flat_dist."""
    folder = tmp_path_factory.mktemp("elsewhere") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, timeout=120)
    python = folder / "bin" / "python"
    options = ["--no-deps", "--no-index", "--quiet", "--disable-pip-version-check"]
    install = [sys.executable, "-m", "pip", "--python", python, "install", *options, wheel_path]
    subprocess.run(install, check=True, timeout=120)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "packages_of_the_tests.pth").write_text(sysconfig.get_path("purelib"))
    return folder / "bin"


def run(program: Path, *arguments: str, cwd: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run([program, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_file_of_the_package_is_in_the_wheel(wheel: zipfile.ZipFile) -> None:
    files = {path for path in ROOT.glob("flat_dist/**/*") if path.is_file() and "__pycache__" not in path.parts}
    assert len({path.suffix for path in files}) >= 5  # code, presets, tables, templates, packages.txt
    assert {path.relative_to(ROOT).as_posix() for path in files} == {
        name for name in wheel.namelist() if name.startswith("flat_dist/")
    }
    assert "flat_dist/py.typed" in wheel.namelist()


def test_its_metadata_name_version_and_licence(wheel: zipfile.ZipFile) -> None:
    folder = f"flat_dist-{__version__}.dist-info"
    metadata = wheel.read(f"{folder}/METADATA").decode()
    assert f"\nVersion: {__version__}\n" in metadata
    assert "\nLicense-Expression: Apache-2.0\n" in metadata
    assert wheel.read(f"{folder}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
    assert wheel.read(f"{folder}/entry_points.txt").decode().split() == [
        "[console_scripts]", "flat-dist", "=", "flat_dist.commands.main:main",
    ]  # fmt: skip


def test_the_source_archive_holds_what_the_wheel_is_built_from(archive: Path) -> None:
    assert archive.name == f"flat_dist-{__version__}.tar.gz"
    with tarfile.open(archive) as opened:
        names = {Path(name).relative_to(archive.name.removesuffix(".tar.gz")) for name in opened.getnames()}
    assert {Path("pyproject.toml"), Path("README.md"), Path("LICENSE"), Path("flat_dist/commands/main.py")} <= names


def test_the_version_is_in_one_place() -> None:
    assert f'"{__version__}"' in (ROOT / "flat_dist" / "__init__.py").read_text()
    assert '\nversion = "' not in (ROOT / "pyproject.toml").read_text()


def test_the_installed_program_works_far_from_a_checkout(elsewhere: Path, tmp_path: Path) -> None:
    where = run(elsewhere / "python", "-c", "import flat_dist; print(flat_dist.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(elsewhere.parent)
    assert run(elsewhere / "flat-dist", "--version", cwd=tmp_path) == f"flat-dist {__version__}\n"
    for split in ("train", "dev", "test"):
        rows = [f"a {word} film number {number},{word}" for number in range(10) for word in ("good", "bad")]
        (tmp_path / f"{split}.csv").write_text("\n".join(["text,label", *rows]))
    files = [word for split in ("train", "dev", "test") for word in (f"--data.{split}", f"{split}.csv")]
    plan = run(elsewhere / "flat-dist", "train", "--hardware", "cpu", "--dry-run", *files, cwd=tmp_path)
    assert "1. " in plan and "train base on clean data" in plan
