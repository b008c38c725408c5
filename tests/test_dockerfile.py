"""The Dockerfile: its files exist, and its commands run, and are those of `make install`. No image is built here."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def instructions() -> list[tuple[str, str]]:
    """Each instruction and its text, without comments, with continued lines put together."""
    lines = "\n".join(line for line in TEXT.splitlines() if not line.startswith("#")).replace("\\\n", " ")
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in lines.splitlines() if line)]


def commands() -> list[str]:
    return [rest for name, rest in instructions() if name == "RUN"]


PIP = "~/venv/bin/python -I -m pip install --no-build-isolation"


def test_it_consists_of_known_instructions() -> None:
    names = [name for name, _ in instructions()]
    assert set(names) <= {"FROM", "RUN", "USER", "ENV", "WORKDIR", "ARG", "COPY", "CMD"}
    assert names[0] == "FROM" and names.count("FROM") == 1 and names[-1] == "CMD"


def test_its_python_is_that_of_the_cluster_and_of_make_install() -> None:
    version = re.fullmatch(r"python:(3\.11\.\d+)-slim-bookworm", instructions()[0][1])
    assert version is not None
    assert f"--python {version[1]} " in (ROOT / "cluster.yaml").read_text()


def test_what_it_copies_is_there_and_is_sent_to_the_builder() -> None:
    sent = [line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"]
    copied = [word for name, rest in instructions() if name == "COPY" for word in rest.split()[:-1]]
    assert {"flat_dist", "pyproject.toml", "requirements.lock"} <= set(copied)
    for name in copied:
        assert (ROOT / name).exists()
        assert any(Path(name).match(pattern) for pattern in sent)


def test_it_installs_what_make_install_installs_but_no_test_tools() -> None:
    recipe = (ROOT / "Makefile").read_text().replace("\\\n", " ").replace("$(INSTALL)", PIP)
    recipe = recipe.replace("$(CPU_LOCK)", "requirements-cpu.lock").replace(" --requirement requirements-dev.lock", "")
    made = [" ".join(line.split()) for line in recipe.splitlines() if line.startswith(f"\t{PIP}")]
    assert len(made) == 4
    ours = [" ".join(line.split()) for line in commands() if line.startswith(PIP)]
    assert ours == [*made[:3], made[3].replace("--editable .", ".")]


def test_the_commands_as_root_install_no_python_package() -> None:
    before = TEXT.split("\nUSER ")[0]
    assert "pip" not in before and "useradd --create-home --uid 1000" in before


STUB = """#!/bin/sh
case "$*" in
  "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && cp "$0" "$3/bin/flat-dist";;
esac
echo "$(basename "$0") $*" >> "$HOME/calls"
case "$*" in *requirements-cpu.lock*) exit 1;; esac
"""


def execute(folder: Path, python: Path) -> None:
    """Do what the Dockerfile says, as far as it needs no root, with HOME in the folder and a `python` of ours.

    Raises:
        CalledProcessError: one of its commands fails.
    """
    home, context, bin_folder = folder / "home", folder / "home" / "flat_dist", folder / "bin"
    context.mkdir(parents=True)
    bin_folder.mkdir()
    (bin_folder / "python").symlink_to(python)
    apart = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "FLAT_DIST", "VIRTUAL"))
    }
    environment = apart | {"HOME": str(home), "PATH": f"{bin_folder}:/usr/bin:/bin"}
    as_user = False
    for name, rest in instructions():
        as_user = as_user or name == "USER"
        if name == "COPY":
            *sources, target = rest.split()
            for source in sources:
                to = context / (source if target == "./" else target)
                (shutil.copytree if (ROOT / source).is_dir() else shutil.copy)(ROOT / source, to)
        elif name == "RUN" and as_user:
            subprocess.run(["/bin/sh", "-c", rest], cwd=context, env=environment, check=True)


def test_its_commands_are_valid_and_go_on_without_a_build_of_torch_for_cpus(tmp_path: Path) -> None:
    (tmp_path / "stub").write_text(STUB)
    (tmp_path / "stub").chmod(0o755)
    execute(tmp_path, tmp_path / "stub")
    calls = (tmp_path / "home" / "calls").read_text().splitlines()
    assert calls[0].split()[:3] == ["python", "-m", "venv"]
    installs = [shlex.split(call) for call in calls if "pip install" in call]
    assert [words[-1] for words in installs] == [
        "requirements-tools.lock", "requirements-cpu.lock", "requirements-cuda.lock", "."
    ]  # fmt: skip
    assert calls[-1] == "flat-dist prepare"
    assert (tmp_path / "home" / "flat_dist" / "flat_dist" / "commands" / "main.py").is_file()


@pytest.mark.slow  # it downloads and installs everything, in ten minutes
def test_its_commands_make_an_environment_that_works(tmp_path: Path) -> None:
    execute(tmp_path, Path(sys.base_prefix) / "bin" / "python3.11")
    program = tmp_path / "home" / "venv" / "bin" / "flat-dist"
    done = subprocess.run([program, "resources", "list"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and "offline resources: " in done.stdout, done.stderr
