"""Compares models on the same texts, before and after an attack, and gives their accuracies intervals.

Shapes: N texts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from flat_dist.data.shards import read_shards
from flat_dist.evaluation.result import AttackedModel, Result
from flat_dist.evaluation.significance import Comparison, Interval, bootstrap, compare, interval_of_share
from flat_dist.runtime.seeds import derive_seed

BEFORE = {"skipped": 0.0, "successful": 1.0, "failed": 1.0, "timeout": 1.0, "error": np.nan}
"""Whether the model is right before the attack, by status; NaN where it was not measured."""

AFTER = {"skipped": 0.0, "successful": 0.0, "failed": 1.0, "timeout": 1.0, "error": np.nan}
"""Whether the model is right after the attack, by status."""

Outcomes = Mapping[str, np.ndarray]
"""Outcomes (N) of each model, by its name: 1 where it is right, 0 where it is wrong, NaN where it was not measured. All
models have the same texts in the same order."""

Measured = tuple[Mapping[str, Interval], Mapping[str, Mapping[str, Comparison]]]
"""Interval of each model's accuracy, and its comparisons with the models before it, by their names."""


def with_comparisons(
    results: Sequence[Result], attacked: Sequence[AttackedModel], correct: Mapping[str, np.ndarray], seed: int
) -> list[Result]:
    """The results, with intervals, and each model compared with those before it under the same attack.

    Args:
        results: one for each of `attacked`, in the same order.
        attacked: models under attacks.
        correct: whether each text of the split is classified correctly, by the checkpoint's URI; where it is missing,
            the attacked texts are taken.
        seed: of the bootstrap.
    """
    found = list(results)
    for attack in dict.fromkeys(result.attack for result in results):
        places = [place for place, result in enumerate(results) if result.attack == attack]
        rows = {results[place].training: read_shards(attacked[place].shards.folder) for place in places}
        uris = {results[place].training: attacked[place].model.folder.uri for place in places}
        before = _outcomes(rows, BEFORE)
        if all(uri in correct for uri in uris.values()):
            before = {name: correct[uri].astype(float) for name, uri in uris.items()}
        reported = [results[place].training for place in places if results[place].after_attack_accuracy is not None]
        after = _outcomes({name: rows[name] for name in reported}, AFTER)
        clean, robust = (measure(outcomes, derive_seed(seed, "bootstrap")) for outcomes in (before, after))
        for place in places:
            found[place] = _with(results[place], clean, robust)
    return found


def _with(result: Result, clean: Measured, robust: Measured) -> Result:
    name = result.training
    return replace(
        result,
        accuracy_interval=clean[0].get(name),
        after_attack_interval=robust[0].get(name),
        accuracy_comparisons=clean[1].get(name, {}),
        comparisons=robust[1].get(name, {}),
    )


def by_example(rows: pa.Table, meaning: Mapping[str, float]) -> dict[str, float]:
    """Outcome of each text, by example id.

    Args:
        rows: columns example_id and status, of an attack.
        meaning: `BEFORE` or `AFTER`.
    """
    statuses = rows["status"].cast(pa.string()).to_pylist()
    return dict(zip(rows["example_id"].to_pylist(), map(meaning.__getitem__, statuses), strict=True))


def _outcomes(rows: Mapping[str, pa.Table], meaning: Mapping[str, float]) -> Outcomes:
    by_model = {name: by_example(table, meaning) for name, table in rows.items()}
    examples = list(dict.fromkeys(example for known in by_model.values() for example in known))
    return {name: np.array([known.get(example, np.nan) for example in examples]) for name, known in by_model.items()}


def measure(outcomes: Outcomes, seed: int) -> Measured:
    """Intervals of models, and each compared with those before it. Models without any measured text are left out."""
    known = {name: own_N for name, own_N in outcomes.items() if not np.isnan(own_N).all()}
    names = list(known)
    pairs = [
        (this, other)
        for place, this in enumerate(names)
        for other in names[:place]
        if not np.isnan(known[this] - known[other]).all()
    ]
    quantities = [*known.values(), *(known[this] - known[other] for this, other in pairs)]
    if not quantities:
        return {}, {}
    intervals = bootstrap(np.stack(quantities)[:, None, :], seed)
    comparisons: dict[str, dict[str, Comparison]] = {name: {} for name in names}
    for (this, other), interval in zip(pairs, intervals[len(names) :], strict=True):
        comparisons[this][other] = compare(known[this], known[other], interval)
    shares = {name: interval_of_share(known[name][None], own) for name, own in zip(names, intervals, strict=False)}
    return shares, comparisons
