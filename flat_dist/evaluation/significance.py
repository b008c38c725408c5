"""How sure a difference between models is: exact McNemar test, and bootstrap intervals over seeds and texts; the
interval of a share that is 0 or 1 is Wilson's.

Shapes: K quantities (the outcomes of a model, or differences of two models), S seeds of training, N texts, R resamples.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

LEVEL = 0.95
"""Probability that an interval covers."""

RESAMPLES = 2_000
"""Number of bootstrap resamples."""

CELLS = 4_000_000
"""Maximum number of weights of texts in memory at the same time."""


@dataclass(frozen=True)
class Interval:
    """An interval of `LEVEL`, in the unit of its quantity."""

    low: float
    high: float

    @property
    def half_width(self) -> float:
        """Half of its width."""
        return (self.high - self.low) / 2


@dataclass(frozen=True)
class Comparison:
    """One model against another on the same texts. Shares are in [0, 1]."""

    difference: float
    """Accuracy of this model minus that of the other one."""
    interval: Interval
    """Bootstrap interval of the difference."""
    p_value: float
    """Of the exact McNemar test, two-sided."""
    only_this: int
    """Texts that only this model classifies correctly."""
    only_other: int
    """Texts that only the other model classifies correctly."""
    n: int
    """Texts that both were measured on."""


def mcnemar(only_this: int, only_other: int) -> float:
    """Two-sided p of the exact McNemar test (McNemar 1947): each discordant text favours each model alike.

    1 if there is no discordant text.
    """
    discordant = only_this + only_other
    return float(binomtest(only_this, discordant).pvalue) if discordant else 1.0


def wilson(successes: int, n: int) -> Interval:
    """Score interval of a share of n texts (Wilson 1927). It has a width also where none or all of them succeed."""
    found = binomtest(successes, n).proportion_ci(LEVEL, method="wilson")
    return Interval(float(found.low), float(found.high))


def interval_of_share(outcomes_SN: np.ndarray, bootstrapped: Interval) -> Interval:
    """The interval of a share: the bootstrap's, or Wilson's where all outcomes are equal, because then all resamples
    are equal, too.

    Args:
        outcomes_SN: 0 or 1; NaN where a text was not measured. At least one is.
        bootstrapped: the bootstrap's interval.
    """
    measured_SN = ~np.isnan(outcomes_SN)
    values = np.unique(outcomes_SN[measured_SN])
    if len(values) > 1:
        return bootstrapped
    texts = int(measured_SN.any(axis=0).sum())  # more seeds are no more texts
    return wilson(texts * int(values[0]), texts)


def compare(this_N: np.ndarray, other_N: np.ndarray, interval: Interval) -> Comparison:
    """Compare two models on the texts that both were measured on.

    Args:
        this_N, other_N: 1 where the model is right, 0 where it is wrong, NaN where it was not measured.
        interval: of the difference.

    Raises:
        ValueError: there is no such text.
    """
    difference_N = (this_N - other_N)[~np.isnan(this_N - other_N)]
    if not len(difference_N):
        raise ValueError("the models were measured on no common text")
    only_this, only_other = int((difference_N > 0).sum()), int((difference_N < 0).sum())
    return Comparison(
        difference=float(difference_N.mean()),
        interval=interval,
        p_value=mcnemar(only_this, only_other),
        only_this=only_this,
        only_other=only_other,
        n=len(difference_N),
    )


def bootstrap(values_KSN: np.ndarray, seed: int) -> list[Interval]:
    """Percentile interval of each quantity's mean over texts, then over seeds (Efron and Tibshirani 1993).

    Texts are drawn with replacement, and so are seeds if there are several. All seeds and all quantities of a resample
    have the same texts, because the models are measured on the same texts. With few seeds their variance is
    underestimated: a mean over S seeds has (S - 1) / S of it.

    Args:
        values_KSN: NaN where a text was not measured. A mean is over the measured ones.
        seed: of the resamples.
    """
    means_RK = resample(values_KSN, seed)
    low_K, high_K = np.nanquantile(means_RK, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return [Interval(float(low), float(high)) for low, high in zip(low_K, high_K, strict=True)]


def resample(values_KSN: np.ndarray, seed: int, resamples: int = RESAMPLES) -> np.ndarray:
    """Means (R, K) of resamples, as `bootstrap` says; NaN if a resample has no measured text of a quantity."""
    generator = np.random.default_rng(seed)
    quantities, seeds, texts = values_KSN.shape
    measured_KSN = ~np.isnan(values_KSN)
    flat = np.where(measured_KSN, values_KSN, 0.0).reshape(-1, texts).T, measured_KSN.reshape(-1, texts).T.astype(float)
    drawn_RS = np.sort(generator.integers(seeds, size=(resamples, seeds)), axis=1)
    means = []
    size = max(1, CELLS // texts)
    for start in range(0, resamples, size):
        drawn_rS = drawn_RS[start : start + size]
        weights_rN = _weights(len(drawn_rS), texts, generator)
        sums, counts = ((weights_rN @ part).reshape(-1, quantities, seeds) for part in flat)
        of_seeds_rKS = np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
        means.append(np.take_along_axis(of_seeds_rKS, drawn_rS[:, None, :], axis=2).mean(axis=2))
    return np.concatenate(means)


def _weights(resamples: int, texts: int, generator: np.random.Generator) -> np.ndarray:
    """How often each resample has each text (R, N)."""
    drawn = generator.integers(texts, size=(resamples, texts)) + texts * np.arange(resamples)[:, None]
    return np.bincount(drawn.ravel(), minlength=resamples * texts).reshape(resamples, texts).astype(float)
