"""Consistency on common pairs, own pairs and all texts, against a calculation pair by pair."""

from statistics import fmean
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import kendalltau

from flat_dist.data import shards
from flat_dist.data.shards import Record, Swap
from flat_dist.evaluation.attributions import SCHEMA, summarise
from flat_dist.evaluation.model_consistency import compare_models, tau_interval
from tests.pages import pair

MODELS = {
    "base": {"a": "successful", "b": "successful", "c": "failed", "d": "skipped*", "e": "successful", "f": "failed*"},
    "flat": {"a": "failed", "b": "successful", "c": "successful", "d": "successful", "e": "failed*", "f": "error"},
}
"""The outcome for each text; a star means that no word changed."""

COMMON = ["a", "b", "c"]


def attacked(outcomes: dict[str, str]) -> pa.Table:
    records = [
        Record(
            name,
            1,
            "x",
            "x",
            outcome.rstrip("*"),
            () if outcome[-1] == "*" or outcome == "error" else (Swap(0, "x", "y"),),
        )
        for name, outcome in outcomes.items()
    ]
    scores = [[0.5, 0.5]] * len(records)
    return shards.to_table(records, scores, scores, 0, {})


def explained(seed: int, outcomes: dict[str, str], words: int = 12) -> pa.Table:
    """Attributions drawn at random for the texts that have them: of six words at least, in which two are others."""
    rows = []
    for number, (name, outcome) in enumerate(outcomes.items()):
        text = [f"w{position}" for position in range(words + number)]
        rows.append(pair(name, text, ["x", "y", *text[2:]], np.random.default_rng([seed, number]), status=outcome))
    return pa.Table.from_pylist(rows, SCHEMA)


def own_outcomes(model: str) -> dict[str, str]:
    return {name: of for name, of in MODELS[model].items() if of[-1] != "*" and of != "error"}


TABLES = {model: explained(seed, own_outcomes(model)) for seed, model in enumerate(MODELS)}
ROWS = {model: attacked(outcomes) for model, outcomes in MODELS.items()}
FOUND = dict(zip(MODELS, compare_models(list(ROWS.values()), list(TABLES.values()), "changed", seed=1), strict=True))


def taus(row: dict[str, Any]) -> list[float]:
    """Kendall's tau of each class by scipy, over words at the same position."""
    both = zip(row["original_attributions"], row["perturbed_attributions"], strict=True)
    return [kendalltau(before, after).statistic for before, after in both]


def top_5(row: dict[str, Any]) -> float:
    """Share of common words among the five first, mean over classes, by sets."""
    both = zip(row["original_attributions"], row["perturbed_attributions"], strict=True)
    return fmean(len(_first(before) & _first(after)) / 5 for before, after in both)


def _first(values: list[float]) -> set[int]:
    return set(sorted(range(len(values)), key=lambda word: -values[word])[:5])


def rows_of(model: str, names: Any) -> list[dict[str, Any]]:
    return [row for row in TABLES[model].to_pylist() if row["pair_id"] in names]


@pytest.mark.parametrize("model", MODELS)
def test_common_and_own_pairs_match_a_calculation_pair_by_pair(model: str) -> None:
    found = FOUND[model]
    for consistency, names in ((found.common, COMMON), (found.own, own_outcomes(model))):
        rows = rows_of(model, names)
        assert consistency.pairs == len(rows) == len(names)
        assert consistency.kendall_tau == pytest.approx(fmean(tau for row in rows for tau in taus(row)))
        assert consistency.top == pytest.approx(fmean(map(top_5, rows)))
    assert (found.common_pairs, found.own_pairs) == (3, len(own_outcomes(model)))


@pytest.mark.parametrize("model", MODELS)
def test_each_outcome_matches_a_calculation_pair_by_pair(model: str) -> None:
    found, outcomes = FOUND[model], own_outcomes(model)
    for by_outcome, names in ((found.common_by_outcome, COMMON), (found.own_by_outcome, list(outcomes))):
        assert set(by_outcome) == {outcomes[name] for name in names}
        for outcome, consistency in by_outcome.items():
            rows = rows_of(model, [name for name in names if outcomes[name] == outcome])
            assert consistency.pairs == len(rows) > 0
            assert consistency.kendall_tau == pytest.approx(fmean(tau for row in rows for tau in taus(row)))
            assert consistency.top == pytest.approx(fmean(map(top_5, rows)))


def test_unchanged_texts_are_counted_apart_and_errors_are_no_texts() -> None:
    base, flat = FOUND.values()
    assert (base.texts, base.unchanged) == (6, {"failed": 1, "skipped": 1})
    assert (flat.texts, flat.unchanged) == (5, {"failed": 1})


def test_a_text_skipped_for_one_model_and_changed_for_another_is_an_own_pair_of_the_other() -> None:
    base, flat = FOUND.values()
    assert "d" not in own_outcomes("base") and "d" in own_outcomes("flat")
    assert base.own.pairs == 4 and flat.own.pairs == 4
    assert base.common.pairs == flat.common.pairs == 3


@pytest.mark.parametrize("model", MODELS)
def test_over_all_texts_unchanged_ones_count_one(model: str) -> None:
    found, rows = FOUND[model].all_texts, rows_of(model, own_outcomes(model))
    assert found is not None
    unchanged = sum(outcome[-1] == "*" for outcome in MODELS[model].values())
    assert found.kendall_tau == pytest.approx(fmean([fmean(taus(row)) for row in rows] + [1.0] * unchanged))
    assert found.top == pytest.approx(fmean([top_5(row) for row in rows] + [1.0] * unchanged))
    assert found.unchanged == unchanged / (len(rows) + unchanged)


def test_of_a_sample_each_pair_stands_for_others_of_its_part() -> None:
    kept = ["a", "b", "d"]  # two of three common pairs, and one that only this model has
    table = TABLES["flat"].filter(pa.array([name in kept for name in TABLES["flat"]["pair_id"].to_pylist()]))
    found = compare_models([ROWS["base"], ROWS["flat"]], [TABLES["base"], table], "changed", seed=1)[1]
    a, b, d = (fmean(taus(row)) for row in rows_of("flat", kept))
    assert found.all_texts is not None
    assert found.all_texts.kendall_tau == pytest.approx((1.5 * a + 1.5 * b + d + 1) / 5)
    assert (found.common.pairs, found.common_pairs, found.own.pairs, found.own_pairs) == (2, 3, 3, 4)
    without = compare_models([ROWS["base"], ROWS["flat"]], [TABLES["base"], table.slice(0, 2)], "changed", seed=1)[1]
    assert without.all_texts is None  # nothing stands for "d"


def test_successful_pairs_do_not_stand_for_all_texts() -> None:
    successful = [
        explained(seed, {n: o for n, o in own_outcomes(m).items() if o == "successful"})
        for seed, m in enumerate(MODELS)
    ]
    base, flat = compare_models(list(ROWS.values()), successful, "successful", seed=1)
    assert (base.common_pairs, base.own_pairs, flat.own_pairs) == (1, 3, 3)  # "b"
    assert base.all_texts is flat.all_texts is None
    assert base.texts == 6


def test_of_one_model_common_pairs_are_its_own() -> None:
    (found,) = compare_models([ROWS["base"]], [TABLES["base"]], "changed", seed=1)
    assert found.common == found.own == summarise(TABLES["base"])
    assert found.common_by_outcome == found.own_by_outcome
    assert found.common_pairs == found.own_pairs == 4


def test_explained_texts_that_are_unchanged_are_in_no_mean() -> None:
    rows = [*TABLES["base"].to_pylist(), pair("f", ["x", "y"], ["x", "y"], np.random.default_rng(9), status="failed")]
    (found,) = compare_models([ROWS["base"]], [pa.Table.from_pylist(rows, SCHEMA)], "all", seed=1)
    (expected,) = compare_models([ROWS["base"]], [TABLES["base"]], "changed", seed=1)
    assert found == expected


def test_a_pair_that_one_model_cannot_compare_is_common_to_none() -> None:
    rows = TABLES["flat"].to_pylist()
    rows[0] |= {"kendall_tau": [], "top_k": [], "alignment": []}
    tables = [TABLES["base"], pa.Table.from_pylist(rows, SCHEMA)]
    base, flat = compare_models(list(ROWS.values()), tables, "changed", seed=1)
    assert (base.common.pairs, base.common.unaligned) == (flat.common.pairs, flat.common.unaligned) == (2, 1)
    assert (base.own.pairs, flat.own.pairs, flat.own.unaligned) == (4, 3, 1)
    missing = [TABLES["base"], TABLES["flat"].slice(1)]  # explaining it crashed a worker
    base, flat = compare_models(list(ROWS.values()), missing, "changed", seed=1)
    assert base.common.pairs == flat.common.pairs == 2 and base.common_pairs == 3


def test_without_a_change_all_texts_are_like_themselves() -> None:
    (found,) = compare_models([attacked({"a": "skipped*", "b": "failed*"})], [SCHEMA.empty_table()], "changed", seed=1)
    assert (found.common.kendall_tau, found.own.pairs, found.common_interval) == (None, 0, None)
    assert found.all_texts is not None
    assert (found.all_texts.kendall_tau, found.all_texts.top, found.all_texts.unchanged) == (1.0, 1.0, 1.0)


def test_the_interval_is_a_bootstrap_over_pairs() -> None:
    """With two pairs, a resample has the first twice, both, or the second twice: a quarter, half, a quarter."""
    table = explained(3, {"a": "failed", "b": "failed"})
    low, high = sorted(fmean(taus(row)) for row in table.to_pylist())
    assert tau_interval(table, seed=5) == pytest.approx((low, high))
    assert tau_interval(table.slice(0, 1), seed=5) is None


def test_the_interval_of_many_pairs_is_about_two_standard_errors() -> None:
    table = explained(4, {str(number): "failed" for number in range(150)}, words=6)
    means = np.array([fmean(taus(row)) for row in table.to_pylist()])
    error = means.std() / np.sqrt(len(means))
    found = tau_interval(table, seed=5)
    assert found == pytest.approx((means.mean() - 1.96 * error, means.mean() + 1.96 * error), abs=0.2 * error)
    assert found == tau_interval(table, seed=5) != tau_interval(table, seed=6)


def test_undefined_taus_are_left_out_of_their_class() -> None:
    rows = [row | {"kendall_tau": taus} for row, taus in zip(explained(7, {"a": "failed", "b": "failed"}).to_pylist(),
            ([0.5, None], [0.1, 0.9]), strict=True)]  # fmt: skip
    records = attacked({"a": "failed", "b": "failed", "c": "skipped*"})
    (found,) = compare_models([records], [pa.Table.from_pylist(rows, SCHEMA)], "changed", seed=1)
    assert found.own.kendall_tau == pytest.approx((0.3 + 0.9) / 2)
    assert found.all_texts is not None
    assert found.all_texts.kendall_tau == pytest.approx(((0.5 + 0.1 + 1) / 3 + (0.9 + 1) / 2) / 2)
