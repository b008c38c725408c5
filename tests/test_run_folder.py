"""Names of runs and of models: what is one folder inside the storage works as it is, and nothing else does."""

import json
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest

from flat_dist.config.errors import UserError
from flat_dist.config.schema import Config
from flat_dist.evaluation.result import Result
from flat_dist.pipeline import run_folder
from flat_dist.pipeline.results import print_table
from flat_dist.report.summary_table import markdown
from flat_dist.storage.folder import Folder
from flat_dist.sweep import results

NAMES = (
    "plain",
    "bob's run",
    'say "yes"',
    "[b]bold[b]",
    "[red]",
    "<b>&amp;",
    "why?",
    "run #7",
    "100% %20",
    ":smile: :warning:",
    "a|b",
    "größe-模型-नमस्ते",
    "-dash",
    "~",
    "$HOME",
    "{0} {name} %s",
    "a..b",
    "null",
    "x" * 200,
)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_works_as_it_is(name: str, tmp_path: Path) -> None:
    run_folder.check_name(name)
    run_folder.open_folder(Folder(tmp_path) / name, {"seed": 1})
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert json.loads((tmp_path / name / "config.json").read_text()) == {"seed": 1}
    assert (Folder(f"file://{quote(str(tmp_path))}") / name).read_json("config.json") == {"seed": 1}


@pytest.mark.parametrize(
    "name",
    ["", " ", ".", "..", "../x", "a/b", "/", "a\\b", ".a", " a", "a ", "a\0b", "a\nb", "\x7f", "\udc80", "é" * 101],
)
def test_what_is_no_name_is_refused(name: str) -> None:
    for reserved in ((), run_folder.RESERVED):
        with pytest.raises(UserError) as error:
            run_folder.check_name(name, "--x", reserved)
        assert str(error.value).startswith("--x is ") and "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["stages", "STAGES", "ray_train", "mlartifacts", "mlflow.db", "mlflow.db-journal"])
def test_what_all_runs_share_is_no_run(name: str) -> None:
    with pytest.raises(UserError, match="the storage uses that name itself"):
        run_folder.check_name(name)
    run_folder.check_name(name, "the name of a model", reserved=())


def test_the_folder_of_an_older_version_belongs_to_the_same_command(tmp_path: Path) -> None:
    """An older version took `attack.concurrent` for a part of the result, but not micro-batch and device."""
    config = Config(storage=str(tmp_path), run_name="mine")
    settings = run_folder.identity(config, "fingerprint")
    assert "concurrent" not in settings["attack"]
    older = json.loads(json.dumps(settings))
    older["attack"]["concurrent"] = 0
    del older["training"]["micro_batch"], older["training"]["device"]
    settings["training"]["device"] = "cpu"  # with hardware resolved
    run, sweep = Folder(tmp_path) / "mine", Folder(tmp_path) / "sweep"
    run.write_json("config.json", older)
    sweep.write_json("config.json", {"search": {"samples": 2}, "config": older})
    run_folder.check(config, settings)
    run_folder.open_folder(run, settings)
    run_folder.check_folder(sweep, {"search": {"samples": 2}, "config": settings})
    other = replace(config, training=replace(config.training, micro_batch=16))
    with pytest.raises(UserError, match=r"mine was made with another config \(training.micro_batch was 0, now 16\)"):
        run_folder.check(other, run_folder.identity(other, "fingerprint"))
    run.write_json("config.json", older | {"attack": older["attack"] | {"unheard": 1}})
    with pytest.raises(UserError, match=r"\(attack.unheard was 1, now None\)"):
        run_folder.check(config, settings)


# ---- what users name things is no markup


def result(name: str) -> Result:
    return Result(name, 1, "pwws", None, 0.5, 0.25, None, None, None, 4)


MARKED = ("[/v2]", "[b]x[/b]", "[red]", ":smile:", "<b>", "a|b", "[link=x]y[/link]", "\\[b]")


@pytest.mark.parametrize("name", MARKED)
def test_tables_show_names_as_they_are(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Folder(tmp_path / name.replace("/", "-"))
    print_table([result(name)], folder, f"on {name}")
    title, *_, row, where, _ = (line for line in capsys.readouterr().out.splitlines() if line.strip())
    assert title.strip() == f"on {name}" and name in row.split("  ") + row.split() and folder.uri in where
    cells = markdown([result(name)]).splitlines()[-1].replace("\\|", "").count("|")
    assert cells == markdown([result("plain")]).splitlines()[-1].count("|")


@pytest.mark.parametrize("name", MARKED[:5])
def test_a_sweeps_table_too(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trial = results.Trial({"objective.beta": 1.0, "objective.gamma": 1.0}, "diverged", name)
    folder = Folder(tmp_path / name.replace("/", "-"))
    results.show(folder, results.SweepOutcome(result("base"), [trial], None, []), as_json=True)
    *shown, as_json = capsys.readouterr().out.splitlines()
    assert any(name in line for line in shown[1:])
    assert shown[0].strip() == folder.name
    assert json.loads(as_json)["base"]["training"] == "base"
