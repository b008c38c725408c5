"""The attack job and the measurements, as a user starts them, small."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flat_dist.attack.engine.profile import COMPONENTS
from flat_dist.storage.folder import Folder
from tests.pipeline.conftest import Command, printed

pytestmark = pytest.mark.ray

FILM_REVIEWS = ("--data.name", "rotten_tomatoes_sample")
"""What the victim was trained on."""

JOBS = Path(__file__).parents[2] / "jobs"


def test_the_attack_job_says_where_the_time_went_and_finds_its_shards_again(
    flat_dist: Command, victim: Folder, tmp_path: Path
) -> None:
    arguments = ["attack", "--checkpoint", victim.uri, *FILM_REVIEWS, "--examples", "30", "--storage", str(tmp_path)]
    done = flat_dist(*arguments, "--attack.profile", "--json")
    first = printed(done)
    manifest = json.loads((Path(first["shards"]) / "manifest.json").read_text())
    timings = manifest["timings"]
    assert set(timings["profile"]) == {*COMPONENTS, "rest"}
    assert all(timings["profile"][name] > 0 for name in COMPONENTS)
    assert timings["worker_seconds"] == pytest.approx(sum(timings["profile"].values()), abs=0.01)
    assert all(f"{name} " in done.stderr for name in COMPONENTS)
    assert sum(first["counts"].values()) == 30
    assert printed(flat_dist(*arguments, "--attack.profile", "--json")) == first


@pytest.mark.slow
def test_an_attack_that_the_engine_does_not_know_is_run_by_textattack_and_found_again(
    flat_dist: Command, victim: Folder, tmp_path: Path
) -> None:
    arguments = ["attack", "--checkpoint", victim.uri, *FILM_REVIEWS, "--examples", "6", "--storage", str(tmp_path)]
    arguments += ["--attack.name", "deepwordbug", "--attack.max-queries", "60", "--json"]
    done = flat_dist(*arguments)
    first = printed(done)
    assert done.stderr.count("deepwordbug is run by TextAttack itself, text by text, because") == 1
    manifest = json.loads((Path(first["shards"]) / "manifest.json").read_text())
    assert manifest["identity"]["runner"] == "textattack"
    assert manifest["identity"]["limits"] == {"queries": 60, "seconds": 0.0}
    assert manifest["identity"]["resources"].keys() == {"stopwords"}
    assert sum(first["counts"].values()) == 6 and not first["counts"].get("error")
    assert printed(flat_dist(*arguments)) == first


BROKEN = """
from textattack.attack_recipes import DeepWordBugGao2018

def build(model_wrapper):
    # The trial before the run has a model of a few words; the workers have the real one.
    if len(model_wrapper.checkpoint.encoder.vocabulary) > 10:
        raise MemoryError("the model is too large")
    return DeepWordBugGao2018.build(model_wrapper)
"""


@pytest.mark.slow
def test_a_failing_attack_keeps_the_others_results_and_the_sheets_for_people(
    private_token: None, victim: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken.py").write_text(BROKEN)
    monkeypatch.chdir(tmp_path)
    arguments = ["--checkpoint", f"one={victim.uri}", "--attacks", "pwws", "broken:build", *FILM_REVIEWS, "--json"]
    arguments += ["--scores", "probabilities", "--sample", "40", "--explain", "--storage", str(tmp_path / "runs")]

    def evaluate(*options: str) -> tuple[Any, str]:
        command = [sys.executable, str(JOBS / "evaluate.py"), *arguments, "--run-name", "mine", *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 3, done.stderr
        return json.loads(done.stdout.splitlines()[-1]), done.stderr

    first, said = evaluate("--annotate", "30")
    assert [result["attack"] for result in first["results"]] == ["pwws"]
    assert [failure["attack"] for failure in first["failures"]] == ["broken:build"]
    assert "the model is too large" in first["failures"][0]["cause"]
    assert "1 of the attacks have no result" in said
    folder = tmp_path / "runs" / "mine" / "annotation"
    (sheet,) = (path for path in folder.iterdir() if path.name.startswith("sheet"))
    rows = sheet.read_text().splitlines()
    assert len(rows) > 3
    pairs = len(rows) - 1
    # The first person says yes to all; the second says no to the first pair.
    for name, answers in (("a", ["yes"] * pairs), ("b", ["no", *["yes"] * (pairs - 1)])):
        filled = [row.removesuffix(",,,") + f",{answer}" * 3 for row, answer in zip(rows[1:], answers, strict=True)]
        (tmp_path / f"{name}.csv").write_text("\n".join([rows[0], *filled]) + "\n")
    last, _ = evaluate("--annotated", str(tmp_path / "a.csv"), str(tmp_path / "b.csv"))
    judged = last.pop("annotation")
    assert last == first
    assert (judged["people"], judged["all"]["pairs"]) == (2, pairs)
    assert judged["all"]["same_label"] == pytest.approx(1 - 1 / (2 * pairs))
    assert judged["both"] == {"same_label": pairs, "fluent": 2 * pairs}
    page = (tmp_path / "runs" / "mine" / "report" / "index.html").read_text()
    assert "Judged by people" in page and "broken:build" in page


def test_the_attack_job_wants_the_checkpoints_classes(flat_dist: Command, victim: Folder, tmp_path: Path) -> None:
    for split in ("train", "dev", "test"):
        (tmp_path / f"{split}.csv").write_text("text,label\na film,0\nbad,1\ngood,2\n")
    arguments = ["--checkpoint", victim.uri, "--data.folder", str(tmp_path), "--storage", str(tmp_path)]
    done = flat_dist("attack", *arguments)
    assert done.returncode == 2
    assert "has the classes negative, positive" in done.stderr


def test_bench_compares_the_engine_with_stock_textattack(flat_dist: Command, victim: Folder) -> None:
    arguments = ["attack", "--recipe", "textfooler", "--checkpoint", victim.uri, "--examples", "12", "--json"]
    measured = printed(flat_dist("bench", *arguments, *FILM_REVIEWS))
    expected = "recipe model examples stock_examples_per_s examples_per_s speedup different victim_floor_s total_s"
    assert set(expected.split()) <= set(measured)
    assert (measured["recipe"], measured["model"], measured["examples"]) == ("textfooler", "cnn", 12)
    assert measured["different"] == 0


def test_bench_watches_a_workers_memory(flat_dist: Command, victim: Folder) -> None:
    arguments = ["memory", "--recipe", "pwws", "--checkpoint", victim.uri, "--examples", "30", "--json"]
    measured = printed(flat_dist("bench", *arguments, "--attack.unit-size", "8", *FILM_REVIEWS))
    assert measured["examples"] == 30
    assert measured["peak_mib"] >= measured["resident_mib"]["8"] > 100


def test_bench_scales_the_pool_with_workers_that_attack_and_that_do_nothing(
    private_token: None, victim: Folder
) -> None:
    arguments = ["scale", "--checkpoint", victim.uri, *FILM_REVIEWS, "--examples", "64", "--json"]
    command = [sys.executable, str(JOBS / "bench.py"), *arguments, "--planned", "10000", "--in-flight", "1", "10"]
    measured = printed(subprocess.run(command, capture_output=True, text=True, check=False))
    one, two = (measured["examples_per_s"][workers] for workers in ("1", "2"))
    assert measured["efficiency"] == pytest.approx(two / (2 * one), abs=1e-2)
    assert [driver["units_in_flight"] for driver in measured["driver"]] == [1, 10]
    assert all(driver["examples"] == 10000 and driver["examples_per_core_s"] > 0 for driver in measured["driver"])
