"""Models on adversarial texts from elsewhere: counts by hand."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from flat_dist.data.shards import Record, to_table, write_manifest, write_shard
from flat_dist.evaluation.adversarial_sets import SetResult, set_results
from flat_dist.evaluation.result import AttackedModel
from flat_dist.models.artifact import ModelArtifact
from flat_dist.report.sets_table import set_comparisons, sets_summary, sets_table
from flat_dist.storage.folder import Folder
from flat_dist.storage.stage import Artifact

TEXTS = [("a b", "a c"), ("d e", "d f"), ("g h", "g i"), ("j k", "j k"), ("l m", "l n")]
"""The fourth pair has no change."""
BEFORE = {"base": (1, 1, 0, 1, 1), "flat": (1, 1, 1, 1, 0)}
AFTER = {"base": (0, 1, 1, 1, 0), "flat": (1, 1, 0, 1, 0)}
"""Whether a model is right."""


def asked(folder: Path, name: str, originals: bool = True) -> AttackedModel:
    def scores(right: Sequence[int]) -> list[list[float]]:
        return [[0.2, 0.8] if one else [0.8, 0.2] for one in right]

    records = [
        Record(f"pair-{n}", 1, original if originals else None, adversarial, "failed", num_queries=None)  # type: ignore[arg-type]
        for n, (original, adversarial) in enumerate(TEXTS)
    ]
    before = scores(BEFORE[name]) if originals else [None] * len(TEXTS)
    place = Folder(folder / f"{name}-{originals}")
    rows = to_table(records, before, scores(AFTER[name]), 0, {})
    write_manifest(place, [write_shard(place, 0, rows)], {}, {})
    return AttackedModel(ModelArtifact(place, "0" * 16, model_name=name, round=2), "log", Artifact(place, "0" * 16))


def results(folder: Path, originals: bool = True) -> list[SetResult]:
    return set_results("log", "pairs", [asked(folder, name, originals) for name in BEFORE], seed=3)


def test_numbers_are_over_changed_texts(tmp_path: Path) -> None:
    base, flat = results(tmp_path)
    assert (base.n, base.unchanged, base.round) == (4, 1, 2)
    assert (base.accuracy, base.accuracy_adversarial) == (3 / 4, 2 / 4)
    assert base.flipped == 2 / 3  # of the first, the second and the last: the first and the last
    assert (flat.accuracy, flat.accuracy_adversarial, flat.flipped) == (3 / 4, 2 / 4, 1 / 3)
    assert base.adversarial_interval is not None and flat.flipped_interval is not None
    assert base.adversarial_interval.low <= 2 / 4 <= base.adversarial_interval.high
    compared = flat.comparisons["base"]
    assert (compared.difference, compared.only_this, compared.only_other, compared.p_value) == (0.0, 1, 1, 1.0)


def test_without_originals_there_is_one_accuracy(tmp_path: Path) -> None:
    base, flat = results(tmp_path, originals=False)
    assert (base.n, base.unchanged) == (5, 0)
    assert base.accuracy is base.flipped is base.accuracy_interval is base.flipped_interval is None
    assert (base.accuracy_adversarial, flat.accuracy_adversarial) == (3 / 5, 3 / 5)


def test_metrics_name_the_set(tmp_path: Path) -> None:
    metrics = results(tmp_path)[0].metrics()
    assert metrics["adversarial/log/accuracy_adversarial"] == 1 / 2
    assert metrics["adversarial/log/flipped"] == pytest.approx(2 / 3)
    assert {"adversarial/log/adversarial_low", "adversarial/log/adversarial_high"} <= metrics.keys()


def test_a_set_without_a_change_has_no_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.test_adversarial_sets.TEXTS", [("a b", "a b")] * 5)
    base, _ = results(tmp_path)
    assert (base.n, base.unchanged) == (0, 5)
    assert base.accuracy is base.accuracy_adversarial is base.flipped is None and base.comparisons == {}


def test_the_tables_show_each_model_on_each_set(tmp_path: Path) -> None:
    found = results(tmp_path)
    table = sets_table(found, intervals=False)
    assert [list(row) for row in table.rows] == [
        ["log", "base", "75.0", "50.0", "66.7", "4", "1"],
        ["log", "flat", "75.0", "50.0", "33.3", "4", "1"],
    ]
    assert [row[:4] for row in set_comparisons(found).rows] == [("log", "flat", "base", "0.0")]
    (printed,) = sets_summary(found)
    assert len(printed.table.rows) == 2 and sets_summary([]) == []
