"""Models compared on the same texts: which outcomes of attacks count as what."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from flat_dist.data.shards import Record, to_table, write_manifest, write_shard
from flat_dist.evaluation.classes import Predictions
from flat_dist.evaluation.comparison import measure, with_comparisons
from flat_dist.evaluation.distributed import results
from flat_dist.evaluation.result import AttackedModel
from flat_dist.models.artifact import ModelArtifact
from flat_dist.report.page import Page
from flat_dist.report.summary_table import markdown
from flat_dist.report.tables import build_tables
from flat_dist.storage.folder import Folder
from flat_dist.storage.stage import Artifact

BASE = ("failed", "successful", "successful", "skipped", "timeout", "error", "successful")
FLAT = ("failed", "failed", "failed", "failed", "skipped", "failed", "skipped")
"""After the attack base is right on texts 0 and 4, flat on 0, 1, 2, 3 and 5."""


def attacked(folder: Path, name: str, statuses: tuple[str, ...], reverse: bool = False) -> AttackedModel:
    shards, identity = Folder(folder / name), {"recipe": "textfooler"}
    numbers = range(len(statuses))
    records = [
        Record(str(number), 1, "a fine film", "a fine film", statuses[number], (), 3)
        for number in (reversed(numbers) if reverse else numbers)
    ]
    scores = [[0.4, 0.6]] * len(records)
    write_manifest(shards, [write_shard(shards, 0, to_table(records, scores, scores, 0, identity))], identity, {})
    model = ModelArtifact(Folder(folder / f"model-{name}"), name, {}, name, 0)
    return AttackedModel(model, "textfooler", Artifact(shards, name))


def test_each_model_is_compared_with_those_before_it(tmp_path: Path) -> None:
    both = [attacked(tmp_path, "base", BASE), attacked(tmp_path, "flat", FLAT, reverse=True)]
    base, flat = with_comparisons(results(both, {}, None), both, {}, seed=1)
    assert base.comparisons == {} and base.after_attack_interval is not None
    assert base.after_attack_interval.low <= base.after_attack_accuracy == 2 / 6 <= base.after_attack_interval.high
    found = flat.comparisons["base"]
    assert (found.only_this, found.only_other, found.n) == (3, 1, 6)  # without text 5, which base has an error for
    assert found.difference == pytest.approx(2 / 6)
    assert found.p_value == pytest.approx(2 * (1 + 4) / 2**4)
    assert found.interval.low <= found.difference <= found.interval.high
    clean = flat.accuracy_comparisons["base"]  # before the attack: base is wrong on 3, flat on 4 and 6
    assert (clean.only_this, clean.only_other, clean.n) == (1, 2, 6)


def test_no_attack_that_fails_is_no_certainty(tmp_path: Path) -> None:
    base = attacked(tmp_path, "base", ("successful",) * 6)
    (found,) = with_comparisons(results([base], {}, None), [base], {}, seed=1)
    assert found.after_attack_accuracy == 0 and found.after_attack_interval is not None
    assert found.after_attack_interval.high == pytest.approx(1.96**2 / (6 + 1.96**2), abs=1e-5)  # Wilson, by hand
    assert " 0.0 (to 39.0) " in markdown([found])


def test_clean_accuracy_is_compared_on_the_whole_split(tmp_path: Path) -> None:
    both = [attacked(tmp_path, "base", BASE), attacked(tmp_path, "flat", FLAT)]
    right = {"base": np.arange(40) < 30, "flat": (np.arange(40) < 24) | (np.arange(40) >= 38)}
    correct = {each.model.folder.uri: right[each.model_name] for each in both}
    labels = np.arange(40) % 2
    predicted = {uri: Predictions(labels, np.where(right_N, labels, 1 - labels)) for uri, right_N in correct.items()}
    base, flat = with_comparisons(results(both, predicted, None), both, correct, seed=1)
    assert (base.accuracy, flat.accuracy) == (30 / 40, 26 / 40)
    clean = flat.accuracy_comparisons["base"]
    assert (clean.only_this, clean.only_other, clean.n) == (2, 6, 40)
    assert clean.difference == pytest.approx(-0.1)


def test_a_model_without_a_measured_text_is_left_out() -> None:
    nothing = np.full(3, np.nan)
    intervals, comparisons = measure({"a": np.array([1.0, 0.0, 1.0]), "b": nothing}, seed=0)
    assert intervals.keys() == comparisons.keys() == {"a"}
    assert measure({"b": nothing}, seed=0) == ({}, {})


def test_models_without_a_common_text_are_not_compared() -> None:
    nan = np.nan
    intervals, comparisons = measure({"a": np.array([1.0, nan]), "b": np.array([nan, 0.0])}, seed=0)
    assert intervals.keys() == {"a", "b"} and comparisons == {"a": {}, "b": {}}


def test_the_report_has_a_row_for_each_pair_of_models(tmp_path: Path) -> None:
    both = [attacked(tmp_path, "base", BASE), attacked(tmp_path, "flat", FLAT)]
    compared = with_comparisons(results(both, {}, None), both, {}, seed=1)
    page = Page("", {}, dataset="mine", model="cnn", label_names=("a", "b"), split="test", texts=7, results=compared)
    table = build_tables(page)["comparisons"]
    assert not isinstance(table, list)
    clean, robust = table.rows
    assert clean[:3] == ("none", "flat", "base") and robust[:3] == ("textfooler", "flat", "base")
    assert robust[3] == "33.3" and robust[5:] == ("0.62", "3", "1", "6")


def test_a_model_that_predicts_one_class_is_not_compared_after_the_attack(tmp_path: Path) -> None:
    both = [attacked(tmp_path, "base", BASE), attacked(tmp_path, "flat", FLAT)]
    found = results(both, {}, None)
    base, flat = with_comparisons([replace(found[0], after_attack_accuracy=None), found[1]], both, {}, seed=1)
    assert base.after_attack_interval is None and flat.after_attack_interval is not None
    assert flat.comparisons == {} and flat.accuracy_comparisons.keys() == {"base"}
