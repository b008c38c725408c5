"""The matrix of transfer, by hand: six texts, two models, and what each makes of the texts against the other."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from flat_dist.data.shards import Record, Swap, to_table, write_manifest, write_shard
from flat_dist.evaluation.result import AttackedModel
from flat_dist.evaluation.transfer import Transfer, transfers
from flat_dist.models.artifact import ModelArtifact
from flat_dist.report.transfer_tables import transfer_summary, transfer_tables
from flat_dist.storage.folder import Folder
from flat_dist.storage.stage import Artifact

LABELS = (0, 1, 0, 1, 0, 1)
BASE = ("successful", "successful", "failed", "skipped", "successful", "error")
FLAT = ("failed", "successful", "failed", "failed", "skipped", "successful")
"""Outcomes of the direct attacks."""
BASE_ASKED = (0, 1, 0, 0, 0, 0)
"""What base predicts for the texts made against flat: wrong only on the fourth, which it had wrong before, too, and on
the last."""
FLAT_ASKED = (1, 1, 0, 1, 1, None)
"""What flat predicts for the texts made against base: wrong on the first, and on the fifth, which it had wrong
before. The last has no such text."""
SUCCESS = [0.4, 0.6]


def attacked(folder: Path, name: str, statuses: Sequence[str], queries: int) -> AttackedModel:
    records = [
        Record(f"test-{n}", label, "a b", "a c", status, (Swap(1, "b", "c"),), queries)
        for n, (label, status) in enumerate(zip(LABELS, statuses, strict=True))
    ]
    scores = [
        None if status == "error" else SUCCESS[:: 1 if label else -1]
        for label, status in zip(LABELS, statuses, strict=True)
    ]
    return write(folder, name, records, scores)


def write(
    folder: Path, name: str, records: Sequence[Record], scores: Sequence[Sequence[float] | None]
) -> AttackedModel:
    place = Folder(folder / name)
    write_manifest(place, [write_shard(place, 0, to_table(records, scores, scores, 0, {}))], {}, {})
    model = ModelArtifact(place, "0" * 16, model_name=name)
    return AttackedModel(model, "pwws", Artifact(place, "0" * 16))


def by_id(predicted: Sequence[int | None]) -> dict[str, int]:
    return {f"test-{n}": one for n, one in enumerate(predicted) if one is not None}


@pytest.fixture
def matrix(tmp_path: Path) -> dict[tuple[str, str], Transfer]:
    models = [attacked(tmp_path, "base", BASE, 10), attacked(tmp_path, "flat", FLAT, 20)]
    predictions = {("base", "flat"): by_id(BASE_ASKED), ("flat", "base"): by_id(FLAT_ASKED)}
    return {(one.model, one.made_against): one for one in transfers(models, predictions, seed=3)}


def test_direct_attacks_are_the_diagonal(matrix: dict[tuple[str, str], Transfer]) -> None:
    base, flat = matrix["base", "base"], matrix["flat", "flat"]
    assert base.direct and flat.direct
    assert (base.n, base.accuracy) == (5, 1 / 5)
    assert (flat.n, flat.accuracy) == (6, 3 / 6)
    assert (base.success_rate, flat.success_rate) == (3 / 4, 2 / 5)
    # Both are right before the change on the first three texts; the attack on base broke two of them.
    assert (base.common, base.common_success_rate, base.succeeded, base.transferred) == (3, 2 / 3, 2, 1.0)
    assert (flat.common, flat.common_success_rate, flat.succeeded, flat.transferred) == (3, 1 / 3, 1, 1.0)


def test_texts_made_against_another_model_are_counted_with_ones_own_predictions(
    matrix: dict[tuple[str, str], Transfer],
) -> None:
    flat = matrix["flat", "base"]
    assert not flat.direct
    assert (flat.n, flat.accuracy) == (5, 3 / 5)  # right on the second, third, fourth; the fifth was wrong before
    assert flat.success_rate == 1 / 4
    assert (flat.common, flat.common_success_rate) == (3, 1 / 3)
    assert (flat.succeeded, flat.transferred) == (2, 1 / 2)  # of the first two, which fooled base
    base = matrix["base", "flat"]
    assert (base.n, base.accuracy) == (5, 4 / 5)  # base was not measured on the last text
    assert (base.success_rate, base.common_success_rate, base.transferred) == (0.0, 0.0, 0.0)


def test_queries_are_those_of_the_model_that_was_attacked(matrix: dict[tuple[str, str], Transfer]) -> None:
    assert matrix["flat", "base"].mean_queries == matrix["base", "base"].mean_queries == 10
    assert matrix["base", "flat"].mean_queries == 20


def test_models_are_compared_on_the_same_changed_texts(matrix: dict[tuple[str, str], Transfer]) -> None:
    compared = matrix["flat", "base"].comparisons["base"]  # base is right after its own attack only on the third
    assert (compared.n, compared.only_this, compared.only_other) == (5, 2, 0)
    assert compared.difference == pytest.approx(2 / 5)
    assert compared.p_value == pytest.approx(0.5)  # 2 x (1/2)^2
    interval = matrix["flat", "base"].accuracy_interval
    assert interval is not None and interval.low <= 3 / 5 <= interval.high


def test_metrics_name_who_was_attacked(matrix: dict[tuple[str, str], Transfer]) -> None:
    metrics = matrix["flat", "base"].metrics("test")
    assert metrics["test/pwws/made_against/base/accuracy"] == 3 / 5
    assert metrics["test/pwws/made_against/base/transferred"] == 1 / 2


def test_the_report_shows_rows_of_asked_models(matrix: dict[tuple[str, str], Transfer]) -> None:
    tables = transfer_tables(list(matrix.values()))
    assert [list(row)[:3] for row in tables["transfer"].rows] == [
        ["pwws", "base", f"20.0 ± {half(matrix['base', 'base'])}"],
        ["pwws", "flat", f"50.0 ± {half(matrix['flat', 'flat'])}"],
    ]
    base, flat = tables["transfer"].rows
    assert base[3] == flat[4] == "direct"
    assert tables["transfer_numbers"].rows[2][:4] == ("pwws", "flat", "base", "60.0")
    (printed,) = transfer_summary(list(matrix.values()))
    assert len(printed.table.rows) == 2
    assert transfer_summary([]) == []


def half(one: Transfer) -> str:
    assert one.accuracy_interval is not None
    return f"{100 * one.accuracy_interval.half_width:.1f}"


def test_a_model_that_predicts_one_class_has_no_shares(tmp_path: Path) -> None:
    same = [Record(f"test-{n}", n % 2, "a b", "a b", "failed" if n % 2 else "skipped") for n in range(12)]
    constant = write(tmp_path, "constant", same, [SUCCESS] * 12)
    right = [Record(f"test-{n}", n % 2, "a b", "a c", "successful", (Swap(1, "b", "c"),)) for n in range(12)]
    good = write(tmp_path, "good", right, [SUCCESS[:: 1 if n % 2 else -1] for n in range(12)])
    predictions = {(name, other): by_id([1] * 12) for name, other in (("good", "constant"), ("constant", "good"))}
    matrix = {(one.model, one.made_against): one for one in transfers([constant, good], predictions, seed=3)}
    assert matrix["constant", "good"].accuracy is matrix["constant", "constant"].success_rate is None
    assert matrix["constant", "good"].transferred is None
    assert matrix["good", "good"].accuracy == 0.0
    assert matrix["good", "constant"].accuracy == 1 / 2  # the texts are unchanged, and it is said to predict 1
