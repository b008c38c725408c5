"""Numbers of each class: F1, accuracy, and accuracy after an attack."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import f1_score, recall_score

from flat_dist.data.shards import Record, to_table
from flat_dist.evaluation.classes import OfClass, Predictions, by_class, macro_f1, of_attack, unbalanced
from flat_dist.evaluation.result import MAX_LOGGED_CLASSES, Result
from flat_dist.report.class_table import MEAN, class_table
from flat_dist.report.summary_table import markdown, table
from flat_dist.storage.folder import Folder
from tests import pages

LABELS, PREDICTED = np.array([0, 0, 0, 0, 1, 1, 2]), np.array([0, 0, 0, 1, 1, 0, 2])
NAMES = ("bad", "good", "ugly")


def attacked(*outcomes: tuple[int, str], scores: list[list[float] | None] | None = None) -> pa.Table:
    """Rows of an attack, by label and status."""
    records = [Record(f"test-{at}", label, "a film", "a film", status) for at, (label, status) in enumerate(outcomes)]
    given = scores or [[0.5, 0.25, 0.25]] * len(records)
    return to_table(records, given, given, 0, {})


ROWS = attacked((0, "failed"), (0, "timeout"), (0, "successful"), (0, "skipped"), (1, "successful"), (1, "error"))


def test_numbers_by_hand() -> None:
    found = by_class(Predictions(LABELS, PREDICTED), ROWS, NAMES)
    assert list(found.items()) == [
        ("bad", OfClass(n=4, accuracy=3 / 4, f1=3 / 4, attacked=4, after_attack_accuracy=2 / 4)),
        ("good", OfClass(n=2, accuracy=1 / 2, f1=1 / 2, attacked=1, after_attack_accuracy=0.0)),
        ("ugly", OfClass(n=1, accuracy=1.0, f1=1.0, attacked=0, after_attack_accuracy=None)),
    ]
    assert macro_f1(found) == pytest.approx((3 / 4 + 1 / 2 + 1) / 3)
    collapsed = by_class(Predictions(LABELS, np.zeros(7, int)), ROWS, NAMES, reported=False)
    assert [one.after_attack_accuracy for one in collapsed.values()] == [None, None, None]
    assert [one.f1 for one in collapsed.values()] == [2 * 4 / (4 + 7), 0, 0]


@pytest.mark.parametrize("classes", [2, 3, 20])
def test_f1_and_accuracy_are_those_of_scikit_learn(classes: int) -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        labels, predicted = (rng.integers(0, classes, 30) for _ in range(2))  # of 20 classes, some are missing
        found = by_class(Predictions(labels, predicted), ROWS.slice(0, 0), [f"class {n}" for n in range(classes)])
        assert macro_f1(found) == pytest.approx(f1_score(labels, predicted, average="macro", zero_division=0))
        there = sorted(set(labels.tolist()))
        recalls = recall_score(labels, predicted, labels=there, average=None)
        assert [found[f"class {number}"].accuracy for number in there] == pytest.approx(list(recalls))
        assert sum(one.n for one in found.values()) == 30


def test_predictions_of_an_attack_are_those_before_it() -> None:
    rows = attacked((0, "failed"), (1, "skipped"), (1, "error"), scores=[[0.7, 0.3], [0.6, 0.4], None])
    found = of_attack(rows)
    assert (found.labels_N.tolist(), found.predicted_N.tolist()) == ([0, 1], [0, 0])
    assert list(by_class(found, rows)) == ["0", "1"]
    nothing = of_attack(rows.slice(2))
    assert macro_f1(by_class(nothing, rows.slice(2))) is None


def result(counts: dict[str, int]) -> Result:
    own = {name: OfClass(n, 0.5, 0.4, n, 0.25) for name, n in counts.items()}
    return replace(pages.results(("pwws",))[0], interpretations={}, by_class=own, macro_f1=0.4321)


@pytest.mark.parametrize(
    ("counts", "expected"), [((10, 14), False), ((10, 15), True), ((0, 1), False), ((0, 2), True), ((7, 7, 7), False)]
)
def test_macro_f1_is_printed_where_classes_are_unbalanced(counts: tuple[int, ...], expected: bool) -> None:
    own = result({str(number): n for number, n in enumerate(counts)})
    assert unbalanced(own.by_class) == expected
    text = markdown([own])
    assert ("| accuracy % | macro F1 % | after attack % |" in text) == expected
    assert ("| 43.2 |" in text) == expected
    assert ("macro F1: mean F1 of the classes, shown because the largest has at least 1.5 times" in text) == expected
    assert ("macro F1 %" in table([own], "").table.header) == expected
    assert "macro F1" not in markdown([replace(own, by_class={})])


def test_classes_are_tracked_and_kept(tmp_path: Path) -> None:
    own = result({"World": 4, "Sci/Tech": 2, "Sci_Tech": 1, "3": 1})
    metrics = own.class_metrics("test")
    assert metrics["test/macro_f1"] == 0.4321
    assert [name for name in metrics if name.startswith("test/class/")] == [
        "test/class/0 World/accuracy",
        "test/class/1 Sci_Tech/accuracy",
        "test/class/2 Sci_Tech/accuracy",
        "test/class/3/accuracy",
    ]
    assert metrics["test/pwws/class/0 World/after_attack_accuracy"] == 0.25
    many = result({f"class {number}": 3 for number in range(MAX_LOGGED_CLASSES + 5)})
    assert len(many.class_metrics("test")) == 1 + 2 * MAX_LOGGED_CLASSES
    Folder(tmp_path).write_json("results.json", [asdict(own)])
    assert Folder(tmp_path).read_json("results.json", list[Result]) == [own]


def test_the_table_of_classes() -> None:
    found = by_class(Predictions(LABELS, PREDICTED), ROWS, NAMES)
    own = replace(result({}), by_class=found, macro_f1=macro_f1(found))
    rows = class_table([own, result({})], lambda one: one.attack).rows
    assert [row[2:] for row in rows] == [
        ("bad", "4", "75.0", "75.0", "4", "50.0"),
        ("good", "2", "50.0", "50.0", "1", "0.0"),
        ("ugly", "1", "100.0", "100.0", "0", "–"),
        (MEAN, "7", "75.0", "75.0", "5", "25.0"),
    ]
