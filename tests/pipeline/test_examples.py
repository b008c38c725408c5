"""The examples of models that a user already has."""

import json
import re
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import pipeline

from flat_dist.data.datasets import Dataset
from tests.own_models import save_bert
from tests.pipeline.conftest import Done
from tests.pipeline.test_api import write_csv

pytestmark = pytest.mark.ray

ROOT = Path(__file__).parents[2]


Run = Callable[..., str]


@pytest.fixture
def run(run_here: Callable[..., Done]) -> Run:
    """Runs an example as a program; returns what it printed."""

    def run(example: str, *arguments: str) -> str:
        path = str(ROOT / "examples" / example)
        done = run_here(lambda: runpy.run_path(path, run_name="__main__"), path, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def test_a_model_behind_http_is_attacked(run: Run, sentences: Dataset, tmp_path: Path) -> None:
    files = write_csv(sentences, tmp_path)
    out = run("http_model.py", *files, "--sample", "12", "--storage", str(tmp_path / "runs"))
    found = re.search(r"accuracy ([\d.]+)%, after PWWS ([\d.]+)% of (\d+) texts", out)
    assert found, out
    accuracy, after, count = found.groups()
    assert 0 <= float(after) < float(accuracy) <= 100 and count == "12"
    assert "\n  -> " in out  # a text and what the attack made of it


def test_a_classifier_is_attacked_made_robust_and_used_without_flat_dist(
    run: Run, sentences: Dataset, tmp_path: Path
) -> None:
    files = write_csv(sentences, tmp_path)
    words = [text for split in (sentences.train, sentences.test) for text in split["text"].to_pylist()[:200]]
    folder = save_bert(tmp_path / "my_classifier", words, sentences.label_names)
    options = ["--epochs", "1", "--sample", "6", "--storage", str(tmp_path / "runs"), "--to", str(tmp_path / "out")]
    out = run("huggingface_classifier.py", str(folder), *files, *options)
    assert "adv: transformers; flat: folder, because it has a word mask" in out
    (results,) = (tmp_path / "runs").glob("custom-classifier-*/results.json")
    rows = {row["training"]: row for row in json.loads(results.read_text())}
    assert set(rows) == {"base", "adv", "flat"}
    before = float(re.search(r"accuracy ([\d.]+)%", out)[1])  # type: ignore[index]
    assert rows["base"]["n"] == 6
    (_,) = (tmp_path / "runs" / "stages").glob("init-*/checkpoint.json")
    assert not list((tmp_path / "runs" / "stages").glob("train-base-*"))  # base is the user's model: nobody trained it
    own, robust = (
        pipeline("text-classification", model=str(one), device="cpu") for one in (folder, tmp_path / "out/adv")
    )
    test = sentences.test.slice(0, 40).to_pylist()
    names = [own(row["text"], truncation=True)[0]["label"] for row in test]
    right = [name == sentences.label_names[row["label"]] for name, row in zip(names, test, strict=True)]
    assert rows["base"]["accuracy"] == pytest.approx(sum(right) / 40)
    assert 0 <= before <= 100
    scores = [[model(row["text"], truncation=True)[0]["score"] for row in test] for model in (own, robust)]
    assert scores[0] != scores[1]
