"""What a command imports before it works: `--help` and `--dry-run` need none of the large libraries."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from flat_dist.commands.main import VERBS
from tests.test_options import command_of

ROOT = Path(__file__).parent.parent

LARGE = {
    "captum",
    "datasets",
    "lime",
    "matplotlib",
    "mlflow",
    "nltk",
    "optuna",
    "pandas",
    "ray",
    "scipy",
    "sklearn",
    "textattack",
    "torch",
    "transformers",
}
"""Libraries that take from a tenth of a second to seconds to import."""

SITE = """
import atexit, os, sys

def write():
    with open(os.environ["IMPORTED"], "w") as file:
        file.write("\\n".join(sys.modules))

atexit.register(write)
"""
"""A `sitecustomize` that writes the names of all modules that a process has imported, when it ends."""

COMMANDS = sorted(
    path.relative_to(ROOT).as_posix() for folder in ("jobs", "tuning") for path in ROOT.glob(f"{folder}/*.py")
)


def run(command: list[str], folder: Path) -> tuple[str, set[str]]:
    """Output of a command that succeeds, and the top-level modules that it has imported."""
    (folder / "sitecustomize.py").write_text(SITE)
    paths = [str(folder), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "IMPORTED": str(folder / "imported"),
    }
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, env=environment, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    imported = {name.partition(".")[0] for name in (folder / "imported").read_text().split()}
    assert "flat_dist" in imported
    return done.stdout, imported


@pytest.mark.parametrize("command", COMMANDS)
def test_help_imports_no_large_library(command: str, tmp_path: Path) -> None:
    out, imported = run([command, "--help"], tmp_path)
    assert "  flat-dist " in out or command in out
    assert imported & LARGE == set()


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_of_each_verb_imports_no_large_library(verb: str, tmp_path: Path) -> None:
    out, imported = run(["-m", "flat_dist", *filter(None, [verb]), "--help"], tmp_path)
    assert f"flat-dist {verb}" in out
    assert imported & LARGE == set()


def test_the_help_of_each_measurement_imports_no_large_library(tmp_path: Path) -> None:
    for verb in command_of("bench").VERBS:
        out, imported = run(["-m", "flat_dist", "bench", verb, "--help"], tmp_path)
        assert f"flat-dist bench {verb}" in out
        assert imported & LARGE == set(), verb


def test_the_package_imports_no_large_library(tmp_path: Path) -> None:
    _, imported = run(["-c", "import flat_dist"], tmp_path)
    assert imported & {*LARGE, "numpy", "pyarrow"} == set()


@pytest.mark.parametrize("command", ["jobs/flat_round.py", "tuning/sweep.py"])
def test_a_dry_run_on_csv_files_imports_no_large_library(command: str, tmp_path: Path) -> None:
    given = []
    for split in ("train", "dev", "test"):
        rows = [f"a {word} film number {number},{word}" for number in range(10) for word in ("good", "bad")]
        (tmp_path / f"{split}.csv").write_text("\n".join(["text,label", *(f"{split} {row}" for row in rows)]))
        given += [f"--data.{split}", str(tmp_path / f"{split}.csv")]
    out, imported = run([command, *given, "--hardware", "cpu", "--dry-run", "--json"], tmp_path)
    assert json.loads(out.splitlines()[-1])
    assert imported & LARGE <= {"pandas"}  # pyarrow imports it, if it is there, to convert a list
