"""McNemar's test and the bootstrap, against values by hand, exact distributions and enumeration."""

import itertools
from collections import Counter

import numpy as np
import pytest
from scipy.stats import binom

from flat_dist.evaluation import significance
from flat_dist.evaluation.significance import Interval, bootstrap, compare, interval_of_share, mcnemar, resample

NAN = np.nan


@pytest.mark.parametrize(
    ("only_this", "only_other", "p"),
    [
        (8, 2, 2 * (1 + 10 + 45) / 2**10),  # two tails of at most two successes of ten
        (0, 5, 2 / 2**5),
        (3, 3, 1.0),
        (0, 0, 1.0),
    ],
)
def test_mcnemar_is_a_sign_test_on_the_discordant_texts(only_this: int, only_other: int, p: float) -> None:
    assert mcnemar(only_this, only_other) == pytest.approx(p)
    assert mcnemar(only_other, only_this) == pytest.approx(p)


def test_a_comparison_counts_the_texts_that_both_models_have() -> None:
    this = np.array([1, 1, 1, 0, 0, NAN, 1])
    other = np.array([0, 0, 1, 1, 0, 1, NAN])
    found = compare(this, other, Interval(-0.2, 0.6))
    assert (found.only_this, found.only_other, found.n) == (2, 1, 5)
    assert found.difference == pytest.approx(1 / 5)
    assert found.p_value == 1.0  # three discordant texts, two to one
    with pytest.raises(ValueError, match="no common text"):
        compare(np.array([1, NAN]), np.array([NAN, 0]), found.interval)


def test_the_interval_of_an_accuracy_is_that_of_a_binomial_distribution() -> None:
    texts, right = 400, 90
    outcomes = (np.arange(texts) < right).astype(float)
    (found,) = bootstrap(outcomes[None, None], seed=3)
    low, high = binom.ppf([0.025, 0.975], texts, right / texts) / texts
    spread = np.sqrt(0.225 * 0.775 / texts)
    assert found.low == pytest.approx(low, abs=0.3 * spread)
    assert found.high == pytest.approx(high, abs=0.3 * spread)
    assert found.half_width == (found.high - found.low) / 2
    assert bootstrap(outcomes[None, None], seed=3) == [found] != bootstrap(outcomes[None, None], seed=4)


@pytest.mark.parametrize(
    ("outcomes_SN", "low", "high"),
    [
        ([[0, 0, 0, 0]], 0, 1.96**2 / (4 + 1.96**2)),
        ([[1, 1, 1, 1, NAN]], 4 / (4 + 1.96**2), 1),
        ([[0, NAN, 0], [0, 0, NAN]], 0, 1.96**2 / (3 + 1.96**2)),  # three texts, however many seeds
    ],
)
def test_a_share_without_spread_has_wilsons_interval(outcomes_SN: list[list[float]], low: float, high: float) -> None:
    """By hand: the interval has each p with (p - k/n)^2 <= z^2 p (1 - p) / n, so for k = 0 p up to z^2 / (n + z^2)."""
    found = interval_of_share(np.array(outcomes_SN), Interval(0.0, 0.0))
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-5)


def test_a_share_with_spread_has_the_bootstraps_interval() -> None:
    assert interval_of_share(np.array([[0.0, 1.0, 0.0]]), Interval(0.0, 0.67)) == Interval(0.0, 0.67)


def test_models_are_resampled_on_the_same_texts() -> None:
    outcomes = (np.random.default_rng(0).random((2, 300)) < 0.4).astype(float)
    values = np.stack([*outcomes, outcomes[0] - outcomes[1]])[:, None]
    one, other, difference = resample(values, seed=1).T
    assert np.allclose(one - other, difference)


@pytest.mark.parametrize(
    "values_SN",
    [
        np.array([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]]),
        np.array([[1.0, NAN, 0.0], [0.0, 1.0, NAN]]),
    ],
)
def test_seeds_and_texts_are_drawn_apart(values_SN: np.ndarray) -> None:
    """Every draw of seeds and texts, each as likely as the others, gives the distribution of the means."""
    seeds, texts = values_SN.shape
    expected: Counter[float] = Counter()
    for drawn_S, drawn_N in itertools.product(
        itertools.product(range(seeds), repeat=seeds), itertools.product(range(texts), repeat=texts)
    ):
        cells = [[values_SN[seed, text] for text in drawn_N] for seed in drawn_S]
        known = [[cell for cell in row if not np.isnan(cell)] for row in cells]
        mean = np.mean([np.mean(row) for row in known]) if all(known) else NAN
        expected[round(float(mean), 6) if mean == mean else -1.0] += 1
    total, resamples = sum(expected.values()), 20_000
    means = resample(values_SN[None], 0, resamples)[:, 0]
    found = Counter(np.where(np.isnan(means), -1.0, np.round(means, 6)).tolist())
    assert found.keys() == expected.keys()
    for mean, count in expected.items():
        assert found[mean] / resamples == pytest.approx(count / total, abs=0.02)


def test_few_weights_in_memory_give_the_same_kind_of_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = (np.arange(50) < 20).astype(float)[None, None]
    monkeypatch.setattr(significance, "CELLS", 64)
    means = resample(outcomes, 0, 500)
    assert means.shape == (500, 1)
    assert means.mean() == pytest.approx(0.4, abs=0.02)


def test_a_quantity_with_no_spread_has_an_interval_of_one_point() -> None:
    assert bootstrap(np.ones((1, 1, 5)), 0) == [Interval(1.0, 1.0)]
