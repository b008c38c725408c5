from typing import Any

import pyarrow as pa
import pytest

from flat_dist.config.errors import UserError
from flat_dist.evaluation.accuracy import after_attack, predicts_one_class

SWAP = pa.struct([("index", pa.int32()), ("original", pa.string()), ("substitute", pa.string())])
SCHEMA = pa.schema(
    [
        ("example_id", pa.string()),
        ("status", pa.dictionary(pa.int8(), pa.string())),
        ("num_queries", pa.int32()),
        ("original_text", pa.string()),
        ("swaps", pa.list_(SWAP)),
        ("original_scores", pa.list_(pa.float32())),
    ]
)


def row(
    status: str,
    num_queries: int | None = 1,
    text: str = "a fine film .",
    words: tuple[int, ...] = (),
    probability: float = 0.75,
) -> Any:
    swaps = [{"index": index, "original": "old", "substitute": "new"} for index in words]
    return {
        "example_id": "x", "status": status, "num_queries": num_queries, "original_text": text, "swaps": swaps,
        "original_scores": None if status == "error" else [1 - probability, probability],
    }  # fmt: skip


ROWS = [
    row("successful", 30, "a fine film , really !", (1,)),  # 1 of 4 words
    row("successful", 50, "good - very good", (0, 2)),  # 2 of 3 words
    row("failed", 100, words=(0,)),
    row("failed", 20, probability=1.0),
    row("failed", 50),
    row("timeout", 9999),
    row("skipped", probability=0.0),
    row("skipped", probability=1 - 2**-20),
    row("error", None),
]


def test_by_hand() -> None:
    summary = after_attack(pa.Table.from_pylist(ROWS, SCHEMA))
    assert summary.counts == {"successful": 2, "failed": 3, "skipped": 2, "timeout": 1, "error": 1}
    assert summary.n == 8
    assert summary.standard_accuracy == 6 / 8
    assert summary.after_attack_accuracy == 4 / 8
    assert summary.attack_success_rate == 2 / 6
    assert summary.mean_queries == (30 + 50 + 100 + 20 + 50) / 5
    assert summary.words_changed == pytest.approx((1 / 4 + 2 / 3) / 2)
    assert summary.saturated == 2 / 8
    assert summary.failed_unchanged == 2 / 3


def test_shards_and_plain_strings_give_the_same() -> None:
    expected = after_attack(pa.Table.from_pylist(ROWS, SCHEMA))
    plain = SCHEMA.set(1, pa.field("status", pa.string()))
    assert after_attack(pa.Table.from_pylist(ROWS, plain)) == expected
    # Reversed rows, so that each shard has a dictionary of its own.
    shards = [pa.Table.from_pylist(ROWS[start : start + 2][::-1], SCHEMA) for start in range(0, len(ROWS), 2)]
    assert after_attack(pa.concat_tables(shards)) == expected


def test_undefined_numbers_are_none() -> None:
    summary = after_attack(pa.Table.from_pylist([row("skipped")], SCHEMA))
    assert (summary.standard_accuracy, summary.after_attack_accuracy) == (0, 0)
    assert (summary.attack_success_rate, summary.mean_queries, summary.words_changed) == (None, None, None)


@pytest.mark.parametrize("rows", [[], [row("error"), row("error")]])
def test_without_scored_examples_there_is_an_error(rows: list[Any]) -> None:
    with pytest.raises(UserError, match=f"{len(rows)} rows"):
        after_attack(pa.Table.from_pylist(rows, SCHEMA))


def test_an_unknown_status_is_an_error() -> None:
    with pytest.raises(UserError, match=r"'sucessful'.*did you mean 'successful'"):
        after_attack(pa.Table.from_pylist([row("sucessful")], SCHEMA))


@pytest.mark.parametrize(
    ("predicted", "labels", "expected"),
    [
        ([1] * 12, [0, 1] * 6, True),
        ([1] * 11 + [0], [0, 1] * 6, False),
        ([1] * 12, [1] * 12, False),  # all texts are of the class that is predicted
        ([1] * 9, [0, 1, 1] * 3, False),  # too few to say
        ([1] * 11 + [None], [0, 1] * 6, True),  # the last one could not be attacked
    ],
)
def test_a_model_that_predicts_one_class(predicted: list[int | None], labels: list[int], expected: bool) -> None:
    scores = [None if one is None else [0.9 - 0.8 * one, 0.1 + 0.8 * one] for one in predicted]
    assert predicts_one_class(pa.table({"original_scores": scores, "label": labels})) == expected
