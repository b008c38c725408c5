"""The main job's command line: the plan, and one clear sentence for every kind of bad input."""

import json
import sys
from pathlib import Path

import pytest

from flat_dist.commands.main import main

GOOD = "text,label\na good film,1\na bad film,0\n"


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["flat-dist", "train", *arguments])
    main()


def files(folder: Path, **contents: str) -> list[str]:
    arguments = []
    for split in ("train", "dev", "test"):
        path = folder / f"{split}.csv"
        path.write_text(contents.get(split, GOOD), encoding="utf-8")
        arguments += [f"--data.{split}", str(path)]
    return arguments


def test_the_plan_as_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, assets: object
) -> None:
    run(monkeypatch, "--dry-run", "--json", "--preset", "customer_reviews", "--training.rounds", "1", *files(tmp_path))
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert printed["config"]["training"]["rounds"] == 1
    assert printed["plan"][-7:-1] == [
        "train base on clean data, 6 epochs",
        "attack base on 2 test texts with textfooler, which see probabilities; then the texts that are still right, "
        "with margin",
        "round 1: attack base on 2 training texts with textfooler",
        "round 1: train adv and flat, 6 epochs",
        "round 1: attack base, adv and flat on 2 test texts with textfooler and pwws, which see probabilities; then "
        "the texts that are still right, with margin",
        "explain pairs with IG and LIME",
    ]
    assert not list(tmp_path.glob("runs"))


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ("--training.kinds base", ["train base on", "attack base on 2 test texts with textfooler and pwws", "explain"]),
        (
            "--training.rounds 2 --training.kinds base,continued,flat --training.adversaries random",
            [
                "train base on",
                "attack base on",
                "round 1: train continued and flat, 6 epochs, flat with random substitutes",
                "round 1: attack continued and flat on 2 test texts with textfooler, which",
                "round 2: train continued and flat, 6 epochs, flat with random substitutes",
                "round 2: attack base, continued and flat on 2 test texts with textfooler and pwws, which",
                "explain",
            ],
        ),
        (
            "--training.rounds 1 --training.init scratch --training.kinds adv,flat",
            [
                "train base and flat on",
                "attack base and flat on",
                "round 1: attack base and flat on",
                "round 1: train adv and flat",
                "round 1: attack adv and flat on",
                "explain",
            ],
        ),
    ],
)
def test_the_plan_names_the_models_that_each_step_trains_and_attacks(
    options: str,
    steps: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    assets: object,
) -> None:
    preset = ("--preset", "customer_reviews")
    run(monkeypatch, "--dry-run", "--json", *preset, *options.split(), *files(tmp_path))
    planned = json.loads(capsys.readouterr().out.splitlines()[-1])["plan"][-len(steps) - 1 : -1]
    assert all(line.startswith(start) for line, start in zip(planned, steps, strict=True))


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ({"train": "text,label\na good film,1\na bad film,zero\n"}, "train.csv:3"),
        ({"train": "words,label\na good film,1\n"}, "no column 'text'"),
        ({"test": "text,label\n"}, "test.csv"),
        ({"train": "text,label\na good film,1\nanother,1\n"}, "class"),
        ({"dev": "text,label\n  ,1\na bad film,0\n"}, "dev.csv:2"),
        ({"dev": "text,label\n***,1\na bad film,0\n"}, "dev.csv:2"),
        ({"dev": "text,label\ngood,2\na bad film,0\n"}, "dev.csv:2"),
    ],
)
def test_bad_rows_are_named(
    contents: dict[str, str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    arguments = files(tmp_path, **contents)
    check_refused(monkeypatch, capsys, message, "--storage", str(tmp_path / "runs"), *arguments)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data.train", "nowhere.csv", "--data.dev", "x.csv", "--data.test", "y.csv"], "nowhere.csv"),
        (["--data.folder", "nowhere"], "nowhere"),
        (["--data.train", "only.csv"], "--data.dev"),
        (["--data.name", "sst3"], "did you mean 'sst2'"),
        (["--preset", "sst3"], "did you mean 'sst2'"),
        (["--model.name", "rnn"], "unknown value of --model.name 'rnn'"),
        (["--attack.name", "textfoler"], "did you mean 'textfooler'"),
        (["--objective.beta", "-0.1"], "--objective.beta is -0.1, but must be at least 0"),
        (["--attack.synonyms", "nowhere.json"], "nowhere.json"),
        (["--model.vectors", "nowhere.txt"], "nowhere.txt"),
        (["--storage", "nowhere://x"], "nowhere://x"),
    ],
)
def test_bad_options_are_refused_before_any_work(
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    if "--storage" not in arguments:
        arguments = [*arguments, "--storage", str(tmp_path / "runs")]
    check_refused(monkeypatch, capsys, message, *arguments)
    assert not (tmp_path / "runs").exists()


def test_a_run_folder_of_another_config_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = tmp_path / "runs" / "mine"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"seed": 2}')
    arguments = ["--storage", str(tmp_path / "runs"), "--run-name", "mine", *files(tmp_path)]
    check_refused(monkeypatch, capsys, "was made with another config", *arguments)


def check_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], message: str, *arguments: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, *arguments)
    assert ended.value.code == 2
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 1
    assert errors[0].startswith("error: ")
    assert message in errors[0]


@pytest.mark.parametrize("name", ["d[v2]", "d[/v2]", "[red] :smile:", "it's #1? 100% <b>|"])
def test_paths_are_shown_as_they_are(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / name).mkdir(parents=True)
    files(tmp_path / name)
    run(monkeypatch, "--dry-run", "--data.folder", str(tmp_path / name), "--storage", str(tmp_path / name / "runs"))
    shown = capsys.readouterr().out
    assert f"load {tmp_path / name}/train.csv, " in shown
    assert json.loads(shown[: shown.index("\nhardware: ")])["data"]["folder"] == str(tmp_path / name)
