"""Texts that an attack made against one model, shown to another: how attacks transfer.

Direct attacks of models that were not trained on them are Table 4 of the paper; here they are the diagonal of a matrix,
whose rows are the models that are asked, and whose columns are the models that the texts were made against. No attack
is run for it: the texts are those of the direct attacks.

Shapes: N texts.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from flat_dist.data.shards import read_shards
from flat_dist.evaluation.accuracy import after_attack, predicts_one_class
from flat_dist.evaluation.comparison import AFTER, BEFORE, by_example, measure
from flat_dist.evaluation.result import INVALID_IN_METRICS, AttackedModel
from flat_dist.evaluation.significance import Comparison, Interval
from flat_dist.runtime.seeds import derive_seed

Predictions = Mapping[tuple[str, str], Mapping[str, int]]
"""Class that a model (first name) predicts for the text made against another (second name), by example id."""


@dataclass(frozen=True)
class Transfer:
    """One model, asked about the texts that one attack made against a model. Shares are in [0, 1]; None for a share of
    nothing, and for a model that predicts one class for all texts."""

    attack: str
    model: str
    """The model that is asked."""
    made_against: str
    """The model that was attacked: the same one, if the attack is direct."""
    round: int
    """Rounds of training behind the model that is asked."""
    n: int
    """Texts with an outcome for both models."""
    accuracy: float | None
    """Share of the n texts that are right before and after the change, as after-attack accuracy is counted."""
    success_rate: float | None
    """Of the texts that are right before: the share that is wrong after the change."""
    common: int
    """Texts that all compared models classify rightly before the change: the common subset."""
    common_success_rate: float | None
    """Share of the common subset that is wrong after the change."""
    succeeded: int
    """Texts of the common subset on which the attack succeeded against the model that it was made against."""
    transferred: float | None
    """Of those: the share that this model gets wrong, too. 1 if the attack is direct."""
    mean_queries: float | None
    """Mean number of queries of the model that the texts were made against; the model that is asked needs one."""
    accuracy_interval: Interval | None = None
    """95 % bootstrap interval of `accuracy` over texts."""
    common_interval: Interval | None = None
    """95 % bootstrap interval of `common_success_rate` over texts."""
    comparisons: Mapping[str, Comparison] = field(default_factory=dict)
    """`accuracy` compared with that of each model before it, on the same changed texts, by the other model's name."""

    @property
    def direct(self) -> bool:
        """Whether the texts were made against the model itself."""
        return self.model == self.made_against

    def metrics(self, split: str) -> dict[str, float | None]:
        """Its numbers by the names that they are tracked under."""
        under = f"{split}/{self.attack}/made_against/{re.sub(INVALID_IN_METRICS, '_', self.made_against)}"
        names = ("accuracy", "success_rate", "common_success_rate", "transferred", "mean_queries", "n", "common")
        return {f"{under}/{name}": getattr(self, name) for name in names}


def transfers(attacked: Sequence[AttackedModel], predictions: Predictions, seed: int) -> list[Transfer]:
    """The full matrix of one attack, one row of it after the other.

    Args:
        attacked: the models under the attack, all on the same texts.
        predictions: for each model and each other one.
        seed: of the bootstrap.
    """
    names = [each.model_name for each in attacked]
    tables = {each.model_name: read_shards(each.shards.folder) for each in attacked}
    ids = list(dict.fromkeys(name for table in tables.values() for name in table["example_id"].to_pylist()))
    before = {name: _column(by_example(table, BEFORE), ids) for name, table in tables.items()}
    common_N = np.all([before[name] == 1 for name in names], axis=0)
    found: dict[tuple[str, str], Transfer] = {}
    for source in attacked:
        made = tables[source.model_name]
        right = {name: _right(name, source.model_name, made, before[name], predictions, ids) for name in names}
        found |= _column_of_matrix(attacked, source, right, before, common_N, seed)
    return [found[model, source] for model in names for source in names]


def _column(by_id: Mapping[str, float], ids: Sequence[str]) -> np.ndarray:
    return np.array([by_id.get(name, np.nan) for name in ids])


def _right(
    asked: str, source: str, made: pa.Table, before_N: np.ndarray, predictions: Predictions, ids: Sequence[str]
) -> np.ndarray:
    """Whether a model is right before and after the change (N); NaN where one of both was not measured."""
    if asked == source:
        return _column(by_example(made, AFTER), ids)
    labels = dict(zip(made["example_id"].to_pylist(), made["label"].to_pylist(), strict=True))
    after_N = _column({name: float(one == labels[name]) for name, one in predictions[asked, source].items()}, ids)
    return before_N * after_N


def _column_of_matrix(
    attacked: Sequence[AttackedModel],
    source: AttackedModel,
    right: Mapping[str, np.ndarray],
    before: Mapping[str, np.ndarray],
    common_N: np.ndarray,
    seed: int,
) -> dict[tuple[str, str], Transfer]:
    """All models, asked about the texts made against one."""
    name = source.model_name
    common_N = common_N & ~np.isnan(right[name])
    succeeded_N = common_N & (right[name] == 0)
    degenerate = {one.model_name for one in attacked if predicts_one_class(read_shards(one.shards.folder))}
    reported = {model: right_N for model, right_N in right.items() if model not in degenerate}
    wrong = {model: np.where(common_N, 1 - right_N, np.nan) for model, right_N in reported.items()}
    accuracies, comparisons = measure(reported, derive_seed(seed, "bootstrap"))
    successes, _ = measure(wrong, derive_seed(seed, "bootstrap"))
    queries = after_attack(read_shards(source.shards.folder)).mean_queries
    column = {}
    for each in attacked:
        model, right_N, before_N = each.model_name, right[each.model_name], before[each.model_name]
        is_reported = model in reported
        measured_N = ~np.isnan(right_N)
        column[model, name] = Transfer(
            attack=source.attack,
            model=model,
            made_against=name,
            round=each.round,
            n=int(measured_N.sum()),
            accuracy=_share(right_N == 1, measured_N & is_reported),
            success_rate=_share(right_N == 0, measured_N & (before_N == 1) & is_reported),
            common=int(common_N.sum()),
            common_success_rate=_share(right_N == 0, common_N & is_reported),
            succeeded=int(succeeded_N.sum()),
            transferred=_share(right_N == 0, succeeded_N & is_reported),
            mean_queries=queries,
            accuracy_interval=accuracies.get(model),
            common_interval=successes.get(model),
            comparisons=comparisons.get(model, {}),
        )
    return column


def _share(holds_N: np.ndarray, among_N: np.ndarray) -> float | None:
    return float(holds_N[among_N].mean()) if among_N.any() else None
