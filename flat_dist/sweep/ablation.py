"""What each part of FLAT adds: the same model with parts left out, over several seeds.

Shapes: V variants, S seeds, N texts, C classes.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from flat_dist.evaluation.comparison import AFTER, by_example
from flat_dist.evaluation.result import Result
from flat_dist.evaluation.significance import Interval, bootstrap, interval_of_share
from flat_dist.runtime.seeds import derive_seed
from flat_dist.sweep.variants import FLAT

Values = Mapping[str, float]
"""A number of each text or pair, by its id."""


@dataclass(frozen=True)
class SeedResults:
    """What one seed gave."""

    seed: int
    dropped: float
    """Share of words that FLAT's masks drop."""
    results: Sequence[Result]
    """Of all variants under all attacks; `training` is the variant's name."""
    outcomes: Mapping[tuple[str, str], Values]
    """Whether each text is right after an attack, by variant and attack."""
    correct: Mapping[str, Values] = field(default_factory=dict)
    """Whether each text of the split is right without an attack, by variant."""
    taus: Mapping[tuple[str, str, str], Values] = field(default_factory=dict)
    """Kendall's tau of each pair that the attack changed, by variant, attack and method."""


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds of means over texts, with a bootstrap interval over seeds and texts."""

    mean: float
    interval: Interval


@dataclass(frozen=True)
class Row:
    """One variant under one attack: means over seeds. Shares are in [0, 1]; None where a seed has no such number."""

    attack: str
    variant: str
    accuracy: float
    after_attack_accuracy: float | None
    interval: Interval | None
    """Bootstrap interval of the after-attack accuracy, over seeds and texts."""
    flat_minus_this: float | None
    """FLAT's after-attack accuracy minus this one's."""
    difference_interval: Interval | None
    """Bootstrap interval of the difference, over seeds and texts."""
    p_values: Sequence[float]
    """Of the exact McNemar test against FLAT, by seed."""
    kendall_tau: Mapping[str, float | None]
    """On the pairs that the attack changed for all variants, by method."""
    top: Mapping[str, float | None]
    """Top-k intersection on these pairs, by method."""
    accuracy_interval: Interval | None = None
    accuracy_difference: Estimate | None = None
    """FLAT's accuracy minus this one's."""
    tau_difference: Mapping[str, Estimate] = field(default_factory=dict)
    """FLAT's tau minus this one's, on the pairs that the attack changed for both, by method."""


def outcomes(results: Sequence[Result], tables: Sequence[Any]) -> dict[tuple[str, str], Values]:
    """`SeedResults.outcomes` of results, from the rows of their attacks."""
    return {
        (result.training, result.attack): by_example(table, AFTER)
        for result, table in zip(results, tables, strict=True)
        if result.after_attack_accuracy is not None
    }


def pair_taus(explained: pa.Table, ids: Collection[str]) -> Values:
    """Kendall's tau of each pair: the mean over the classes that have one. Pairs without are left out.

    Args:
        explained: columns pair_id and kendall_tau (C), of `flat_dist.evaluation.attributions.SCHEMA`.
        ids: of the pairs to use.
    """
    found = {}
    for row in explained.select(["pair_id", "kendall_tau"]).to_pylist():
        taus_C = np.array(row["kendall_tau"], dtype=np.float64)
        if row["pair_id"] in ids and not np.isnan(taus_C).all():
            found[row["pair_id"]] = float(np.nanmean(taus_C))
    return found


def rows(seeds: Sequence[SeedResults], seed: int) -> list[Row]:
    """The table, over the seeds that are known so far.

    Args:
        seeds: with the same variants and attacks in the same order.
        seed: of the bootstrap.
    """
    found = []
    clean = _estimates([one.correct for one in seeds], seed)
    for attack in dict.fromkeys(result.attack for result in seeds[0].results):
        robust = _estimates(
            [{key[0]: own for key, own in one.outcomes.items() if key[1] == attack} for one in seeds], seed
        )
        methods = dict.fromkeys(key[2] for key in seeds[0].taus if key[1] == attack)
        taus = {
            method: _estimates(
                [{key[0]: own for key, own in one.taus.items() if key[1:] == (attack, method)} for one in seeds],
                seed,
                of_shares=False,
            )
            for method in methods
        }
        for result in seeds[0].results:
            if result.attack == attack:
                found.append(_row(seeds, attack, result.training, clean, robust, taus))
    return found


Estimates = tuple[Mapping[str, Estimate], Mapping[str, Estimate]]
"""By variant: its own value, and FLAT's minus its value."""


def _estimates(seeds: Sequence[Mapping[str, Values]], seed: int, of_shares: bool = True) -> Estimates:
    """Estimates of the variants that have values in every seed; differences are over the texts that both have.

    Args:
        seeds: values by variant and text.
        seed: of the bootstrap.
        of_shares: whether the values are 0 or 1.
    """
    known = [name for name in seeds[0] if all(one.get(name) for one in seeds)]
    texts = list(dict.fromkeys(text for one in seeds for name in known for text in one[name]))
    if not texts:
        return {}, {}
    values_VSN = np.array([[[one[name].get(text, np.nan) for text in texts] for one in seeds] for name in known])
    derived = derive_seed(seed, "bootstrap")
    own = _with_intervals(known, values_VSN, derived)
    if of_shares:
        own = {
            name: replace(one, interval=interval_of_share(values_VSN[known.index(name)], one.interval))
            for name, one in own.items()
        }
    if FLAT not in known:
        return own, {}
    others = [name for name in known if name != FLAT]
    differences_VSN = values_VSN[known.index(FLAT)] - values_VSN[[known.index(name) for name in others]]
    return own, _with_intervals(others, differences_VSN, derived)


def _with_intervals(names: Sequence[str], values_VSN: np.ndarray, seed: int) -> dict[str, Estimate]:
    """The estimates of the variants that have a value in every seed."""
    kept_V = ~np.isnan(values_VSN).all(axis=2).any(axis=1)
    if not kept_V.any():
        return {}
    values_VSN = values_VSN[kept_V]
    means_V = np.nanmean(values_VSN, axis=2).mean(axis=1)
    found = zip(np.array(names)[kept_V].tolist(), means_V.tolist(), bootstrap(values_VSN, seed), strict=True)
    return {name: Estimate(mean, interval) for name, mean, interval in found}


def _row(
    seeds: Sequence[SeedResults],
    attack: str,
    name: str,
    clean: Estimates,
    robust: Estimates,
    taus: Mapping[str, Estimates],
) -> Row:
    own = [result for one in seeds for result in one.results if (result.training, result.attack) == (name, attack)]
    after, difference, accuracy = robust[0].get(name), robust[1].get(name), clean[0].get(name)
    methods = own[0].interpretations
    return Row(
        attack=attack,
        variant=name,
        accuracy=float(np.mean([result.accuracy for result in own])),
        after_attack_accuracy=after.mean if after else None,
        interval=after.interval if after else None,
        flat_minus_this=difference.mean if difference else None,
        difference_interval=difference.interval if difference else None,
        p_values=[result.comparisons[FLAT].p_value for result in own if FLAT in result.comparisons],
        kendall_tau={
            method: _mean([result.interpretations[method].common.kendall_tau for result in own]) for method in methods
        },
        top={method: _mean([result.interpretations[method].common.top for result in own]) for method in methods},
        accuracy_interval=accuracy.interval if accuracy else None,
        accuracy_difference=clean[1].get(name),
        tau_difference={method: found[1][name] for method, found in taus.items() if name in found[1]},
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None
