"""Which pairs are explained: first the same for all models."""

import pyarrow as pa
import pytest

from flat_dist.data import shards
from flat_dist.data.shards import Record, Swap
from flat_dist.evaluation.pair_choice import choose_pairs, chosen_and_changed, common_ids


def attacked(**outcomes: str) -> pa.Table:
    """Rows by id and outcome; a star means that no word changed."""
    records = [
        Record(name, 1, "x", "y", outcome.rstrip("*"), () if outcome[-1] == "*" else (Swap(0, "x", "y"),))
        for name, outcome in outcomes.items()
    ]
    scores = [[0.5, 0.5]] * len(records)
    return shards.to_table(records, scores, scores, 0, {})


BASE = attacked(a="successful", b="failed", c="skipped*", d="failed*", e="successful", f="successful", g="error*")
FLAT = attacked(f="failed", e="successful", d="failed", c="failed", b="successful", a="skipped*", g="successful")


def ids(tables: list[pa.Table]) -> list[list[str]]:
    return [table["example_id"].to_pylist() for table in tables]


def test_without_a_limit_each_model_has_all_its_pairs_in_their_order() -> None:
    assert ids(choose_pairs([BASE, FLAT], "changed", 0, 1)) == [["a", "b", "e", "f"], ["f", "e", "d", "c", "b", "g"]]
    assert ids(choose_pairs([BASE, FLAT], "successful", 0, 1)) == [["a", "e", "f"], ["e", "b", "g"]]
    assert ids(choose_pairs([BASE, FLAT], "all", 0, 1)) == [[*"abcdef"], [*"fedcbag"]]


def test_common_pairs_changed_for_every_model() -> None:
    assert common_ids([BASE, FLAT], "changed") == common_ids([BASE, FLAT], "all") == ["b", "e", "f"]
    assert common_ids([BASE, FLAT], "successful") == ["e"]
    assert common_ids([BASE], "changed") == chosen_and_changed(BASE, "changed") == ["a", "b", "e", "f"]


@pytest.mark.parametrize("which", ["changed", "all"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_common_pairs_are_drawn_first_and_alike(which: str, count: int) -> None:
    for seed in range(10):
        base, flat = ids(choose_pairs([BASE, FLAT], which, count, seed))
        assert set(base) == set(flat) <= {"b", "e", "f"}
        assert len(base) == count
    assert len({tuple(sorted(ids(choose_pairs([BASE, FLAT], which, 2, seed))[0])) for seed in range(20)}) == 3


def test_the_rest_are_drawn_among_the_models_other_pairs() -> None:
    drawn = [set(ids(choose_pairs([BASE, FLAT], "changed", 4, seed))[1]) for seed in range(20)]
    assert all({"b", "e", "f"} < of_seed and len(of_seed) == 4 for of_seed in drawn)
    assert {name for of_seed in drawn for name in of_seed} == {*"bcdefg"}


def test_the_draw_depends_on_the_ids_alone() -> None:
    turned = FLAT.take(list(reversed(range(FLAT.num_rows))))
    first, second = (set(ids(choose_pairs([BASE, rows], "changed", 5, 3))[1]) for rows in (FLAT, turned))
    assert first == second
