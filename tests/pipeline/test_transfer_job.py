"""The transfer matrix of two checkpoints, by the job: against predictions in this process, and resumed."""

import json
from pathlib import Path

import pytest

from flat_dist.data.datasets import Dataset
from flat_dist.data.shards import read_shards
from flat_dist.models import checkpoint as checkpoints
from flat_dist.storage.folder import Folder
from tests.conftest import train_victim
from tests.pipeline.conftest import Command, printed

pytestmark = pytest.mark.ray


def test_the_matrix_is_made_of_the_attacks_that_exist(
    flat_dist: Command, victim: Folder, sentences: Dataset, tmp_path: Path
) -> None:
    checkpoints.save(train_victim(sentences, name="lstm", hidden_size=16), Folder(tmp_path / "lstm"))
    options = "--attacks pwws --scores probabilities --sample 40 --explain --data.name rotten_tomatoes_sample --json"
    call = ["evaluate", "--checkpoint", f"cnn={victim.uri}", f"lstm={tmp_path / 'lstm'}"]
    call += [*options.split(), "--storage", str(tmp_path / "runs"), "--run-name", "mine"]
    first = printed(flat_dist(*call, "--annotate", "9"))
    matrix = {(one["model"], one["made_against"]): one for one in first["transfer"]}
    assert json.loads((tmp_path / "runs" / "mine" / "transfer.json").read_text()) == first["transfer"]

    models = {"cnn": checkpoints.load(victim), "lstm": checkpoints.load(Folder(tmp_path / "lstm"))}
    cards = {name: json.loads((tmp_path / "runs/mine/cards" / f"{name}-pwws.json").read_text()) for name in models}
    rows = {
        name: read_shards(
            Folder(tmp_path / "runs" / "stages" / card["after_attack_accuracy"]["attack"]["shards"])
        ).to_pylist()
        for name, card in cards.items()
    }
    right = {
        name: [model.probabilities([row["original_text"]]).argmax().item() == row["label"] for row in rows["cnn"]]
        for name, model in models.items()
    }
    common = [all(both) for both in zip(*right.values(), strict=True)]
    for (asked, source), found in matrix.items():
        after = [
            models[asked].probabilities([row["perturbed_text"]]).argmax().item() == row["label"] for row in rows[source]
        ]
        kept = [before and now for before, now in zip(right[asked], after, strict=True)]
        assert found["accuracy"] == pytest.approx(sum(kept) / 40)
        fooled = [not now for now, all_right in zip(after, common, strict=True) if all_right]
        assert found["common"] == len(fooled) > 0
        assert found["common_success_rate"] == pytest.approx(sum(fooled) / len(fooled))
    for result in first["results"]:
        validity = result["validity"]["successful"]
        assert validity["n"] > 0 and 0 < validity["similarity"] < 1
    assert "made against" in (tmp_path / "runs" / "mine" / "report" / "index.html").read_text()

    written = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/stages/*/*")}
    for name in ("transfer-pwws", "validity-pwws"):
        assert any(name in str(path) for path in written)
    sheet = (tmp_path / "runs/mine/annotation/sheet-9.csv").read_text()
    (tmp_path / "filled.csv").write_text(sheet.replace(",,,\n", ",yes,no,no\n"))
    last = printed(flat_dist(*call, "--annotated", str(tmp_path / "filled.csv")))
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/stages/*/*")} == written
    judged = last.pop("annotation")
    assert last == first
    assert (judged["all"]["pairs"], judged["all"]["same_label"], judged["all"]["fluent"]) == (9, 1.0, 0.0)
    assert "Judged by people" in (tmp_path / "runs" / "mine" / "report" / "index.html").read_text()
