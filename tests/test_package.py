"""A built wheel holds all that the package reads at run time, and its licence."""

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    copy = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "flat_dist", copy / "flat_dist", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    options = ["--no-build-isolation", "--no-deps", "--no-index", "--quiet", "--wheel-dir", str(copy / "out")]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(copy)], check=True, timeout=120)
    (path,) = (copy / "out").glob("*.whl")
    return zipfile.ZipFile(path)


def test_every_file_of_the_package_is_in_the_wheel(wheel: zipfile.ZipFile) -> None:
    files = {path for path in ROOT.glob("flat_dist/**/*") if path.is_file() and "__pycache__" not in path.parts}
    assert len({path.suffix for path in files}) >= 5  # code, presets, tables, templates, packages.txt
    assert {path.relative_to(ROOT).as_posix() for path in files} == {
        name for name in wheel.namelist() if name.startswith("flat_dist/")
    }
    assert "flat_dist/py.typed" in wheel.namelist()


def test_its_metadata_name_version_and_licence(wheel: zipfile.ZipFile) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    folder = f"flat_dist-{project['version']}.dist-info"
    metadata = wheel.read(f"{folder}/METADATA").decode()
    assert f"\nVersion: {project['version']}\n" in metadata
    assert "\nLicense-Expression: Apache-2.0\n" in metadata
    assert wheel.read(f"{folder}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
