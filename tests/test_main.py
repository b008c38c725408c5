"""`flat-dist`: its help, and what it says to a command that does not exist."""

import sys
import tomllib
from pathlib import Path

import pytest

import flat_dist
from flat_dist.commands.main import VERBS, main

ROOT = Path(__file__).parents[1]


def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, output, and errors."""
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/flat-dist", *arguments])
    code = 0
    try:
        main()
    except SystemExit as ended:
        code = int(ended.code or 0)
    return code, *capsys.readouterr()


def test_help_has_one_line_for_each_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for asked in ("--help", "-h"):
        code, out, said = call(monkeypatch, capsys, asked)
        assert (code, said) == (0, "")
        for verb in VERBS:
            assert sum(line.startswith(f"  {verb} ") for line in out.splitlines()) == 1
        assert all(len(line) <= 120 for line in out.splitlines())
    modules = {path.stem for path in (ROOT / "flat_dist" / "commands").glob("*.py")} - {"__init__", "main"}
    assert modules == set(VERBS)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["evalute"], "unknown command 'evalute': choose one of attack, bench, evaluate, export, predict, prepare, "),
        (["evalute"], "did you mean 'evaluate'?"),
        (["TRAIN"], "unknown command 'TRAIN'"),
        (["--checkpoint", "x"], "unknown command '--checkpoint'"),
        ([], "name a command: train, attack, evaluate, tune, reproduce, predict, export, report, resources, bench"),
        ([""], "name a command: "),
        (["attack"], "--checkpoint is missing: it is required"),
        (["resources", "lst"], "did you mean 'list'?"),
        (["bench"], "name a benchmark: attack"),
    ],
)
def test_a_mistake_is_one_sentence(
    given: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, said = call(monkeypatch, capsys, *given)
    assert (code, out) == (2, "")
    assert said.startswith("error: ") and said.count("\n") == 1 and message in said


def test_the_version_is_that_of_the_package(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, capsys, "--version") == (0, f"flat-dist {flat_dist.__version__}\n", "")


def test_the_help_of_a_command_names_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(monkeypatch, capsys, "predict", "--help")
    assert code == 0 and out.startswith("usage: flat-dist predict ")


def test_pip_installs_it_as_a_program() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"flat-dist": f"{main.__module__}:{main.__name__}"}
