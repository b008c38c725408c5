"""What each part of FLAT adds: the same model with parts left out, over several seeds.

Shapes: V variants, S seeds, N texts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from flat_dist.evaluation.comparison import AFTER, by_example
from flat_dist.evaluation.result import Result
from flat_dist.evaluation.significance import Interval, bootstrap
from flat_dist.runtime.seeds import derive_seed
from flat_dist.sweep.variants import FLAT


@dataclass(frozen=True)
class SeedResults:
    """What one seed gave."""

    seed: int
    dropped: float
    """Share of words that FLAT's masks drop."""
    results: Sequence[Result]
    """Of all variants under all attacks; `training` is the variant's name."""
    outcomes: Mapping[tuple[str, str], Mapping[str, float]]
    """Whether each text is right after an attack, by variant and attack, then by example id."""


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
    """On common pairs, by method."""
    top: Mapping[str, float | None]
    """Top-k intersection on common pairs, by method."""


def outcomes(results: Sequence[Result], tables: Sequence[Any]) -> dict[tuple[str, str], Mapping[str, float]]:
    """`SeedResults.outcomes` of results, from the rows of their attacks."""
    return {
        (result.training, result.attack): by_example(table, AFTER)
        for result, table in zip(results, tables, strict=True)
        if result.after_attack_accuracy is not None
    }


def rows(seeds: Sequence[SeedResults], seed: int) -> list[Row]:
    """The table, over the seeds that are known so far.

    Args:
        seeds: with the same variants and attacks in the same order.
        seed: of the bootstrap.
    """
    found = []
    for attack in dict.fromkeys(result.attack for result in seeds[0].results):
        named = [result.training for result in seeds[0].results if result.attack == attack]
        measured = _after_attack(seeds, attack, named, seed)
        found += [_row(seeds, attack, name, measured) for name in named]
    return found


def _after_attack(seeds: Sequence[SeedResults], attack: str, names: Sequence[str], seed: int) -> dict[str, Any]:
    """Mean and interval of each variant, and of FLAT minus it."""
    known = [name for name in names if all((name, attack) in one.outcomes for one in seeds)]
    examples = list(dict.fromkeys(example for one in seeds for name in known for example in one.outcomes[name, attack]))
    values_VSN = np.array(
        [[[one.outcomes[name, attack].get(example, np.nan) for example in examples] for one in seeds] for name in known]
    )
    if not known or not examples:
        return {}
    derived = derive_seed(seed, "bootstrap")
    own = dict(zip(known, _summaries(values_VSN, derived), strict=True))
    against = {}
    if FLAT in known:
        others = [name for name in known if name != FLAT]
        differences = [values_VSN[known.index(FLAT)] - values_VSN[known.index(name)] for name in others]
        if others:
            against = dict(zip(others, _summaries(np.stack(differences), derived), strict=True))
    return {"own": own, "against": against}


def _summaries(values_VSN: np.ndarray, seed: int) -> list[tuple[float, Interval]]:
    means_V = np.nanmean(values_VSN, axis=2).mean(axis=1)
    return list(zip(means_V.tolist(), bootstrap(values_VSN, seed), strict=True))


def _row(seeds: Sequence[SeedResults], attack: str, name: str, measured: Mapping[str, Any]) -> Row:
    own = [result for one in seeds for result in one.results if (result.training, result.attack) == (name, attack)]
    mean, interval = measured.get("own", {}).get(name, (None, None))
    difference, difference_interval = measured.get("against", {}).get(name, (None, None))
    methods = own[0].interpretations
    return Row(
        attack=attack,
        variant=name,
        accuracy=float(np.mean([result.accuracy for result in own])),
        after_attack_accuracy=mean,
        interval=interval,
        flat_minus_this=difference,
        difference_interval=difference_interval,
        p_values=[result.comparisons[FLAT].p_value for result in own if FLAT in result.comparisons],
        kendall_tau={
            method: _mean([result.interpretations[method].common.kendall_tau for result in own]) for method in methods
        },
        top={method: _mean([result.interpretations[method].common.top for result in own]) for method in methods},
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None
