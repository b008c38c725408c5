"""Adversarial texts from elsewhere, by the job: three layouts, two checkpoints, with explanations."""

import json
from pathlib import Path

import pytest

from flat_dist.data.datasets import Dataset
from flat_dist.data.preprocessing import clean
from flat_dist.models import checkpoint as checkpoints
from flat_dist.storage.folder import Folder
from tests.pipeline.conftest import Command, printed

pytestmark = pytest.mark.ray


def test_sets_of_several_layouts_are_measured_side_by_side(
    flat_dist: Command, victim: Folder, sentences: Dataset, tmp_path: Path
) -> None:
    rows = sentences.test.slice(0, 30).to_pylist()
    twins = [f"movie {row['text'].partition(' ')[2]}" for row in rows]
    rules = "-" * 45
    log = "".join(
        f"{rules} Result {n} {rules}\n[[{row['label']} (90%)]] --> [[{1 - row['label']} (60%)]]"
        f"\n\n{row['text']}\n\n{twin}\n"
        for n, (row, twin) in enumerate(zip(rows, twins, strict=True), start=1)
    )
    (tmp_path / "log.txt").write_text(log)
    advglue = {
        "sst2": [{"idx": 0, "label": row["label"], "sentence": twin} for row, twin in zip(rows, twins, strict=True)]
    }
    (tmp_path / "dev.json").write_text(json.dumps(advglue))
    call = ["evaluate", "--checkpoint", f"one={victim.uri}", f"two={victim.uri}", "--adversarial"]
    call += [str(tmp_path / "log.txt"), str(tmp_path / "dev.json"), "--explain", "ig", "--ig-steps", "5", "--json"]
    shown = printed(flat_dist(*call, "--storage", str(tmp_path / "runs"), "--run-name", "mine"))
    found = {(one["adversarial_set"], one["model"]): one for one in shown["adversarial"]}
    assert json.loads((tmp_path / "runs/mine/adversarial.json").read_text()) == shown["adversarial"]
    assert list(found) == [("log", "one"), ("log", "two"), ("dev", "one"), ("dev", "two")]

    model = checkpoints.load(victim)
    before, after = (
        [
            model.probabilities([clean(text)]).argmax().item() == row["label"]
            for text, row in zip(texts, rows, strict=True)
        ]
        for texts in ([row["text"] for row in rows], twins)
    )
    log_result = found["log", "two"]
    assert log_result["accuracy"] == pytest.approx(sum(before) / 30)
    assert log_result["accuracy_adversarial"] == pytest.approx(sum(after) / 30)
    flips = [not right for was, right in zip(before, after, strict=True) if was]
    assert log_result["flipped"] == pytest.approx(sum(flips) / len(flips))
    assert 0 < log_result["kendall_tau"]["ig"] <= 1
    assert log_result["comparisons"]["one"]["difference"] == 0.0
    dev = found["dev", "one"]
    assert dev["accuracy"] is None and dev["kendall_tau"] == {}
    assert dev["accuracy_adversarial"] == log_result["accuracy_adversarial"]
    assert {row["attack"] for row in shown["results"]} == {"log"}
    page = (tmp_path / "runs/mine/report/index.html").read_text()
    assert "Adversarial texts from elsewhere" in page and "TextAttack&#39;s text log" in page
