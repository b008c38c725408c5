"""Models on adversarial texts that were made elsewhere: how many they have right, before and after the change.

Texts without a change, such as those of failed attacks in a log, say nothing about robustness, and are left out of all
numbers. Shapes: N texts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
import pyarrow as pa

from flat_dist.data.shards import read_shards
from flat_dist.evaluation.comparison import measure
from flat_dist.evaluation.result import AttackedModel
from flat_dist.evaluation.significance import Comparison, Interval
from flat_dist.runtime.seeds import derive_seed

PREFIX = "adversarial"
"""First part of the names of metrics."""


@dataclass(frozen=True)
class SetResult:
    """One model on one set of adversarial texts. Shares are in [0, 1]."""

    adversarial_set: str
    """Name of the file, without its ending."""
    layout: str
    """What the file is."""
    model: str
    round: int
    """Rounds of training behind the model."""
    n: int
    """Changed texts, which all numbers are about."""
    unchanged: int
    """Texts that are equal to their originals; left out."""
    accuracy: float | None
    """On the original texts; None if the file has none."""
    accuracy_adversarial: float | None
    """On the adversarial texts. None without any."""
    flipped: float | None
    """Of the texts that are right before the change: the share that is wrong after it. None without originals."""
    accuracy_interval: Interval | None = None
    """95 % bootstrap intervals over texts."""
    adversarial_interval: Interval | None = None
    flipped_interval: Interval | None = None
    comparisons: Mapping[str, Comparison] = field(default_factory=dict)
    """`accuracy_adversarial` compared with that of each model before it, by the other model's name."""
    kendall_tau: Mapping[str, float | None] = field(default_factory=dict)
    """Consistency of the explanations of originals and adversarial texts, by method: ig, lime."""

    def metrics(self) -> dict[str, float | None]:
        """Its numbers by the names that they are tracked under; tau is tracked with the other numbers of its method."""
        names = ("accuracy", "accuracy_adversarial", "flipped", "n", "unchanged")
        found = {f"{PREFIX}/{self.adversarial_set}/{name}": getattr(self, name) for name in names}
        for name in ("accuracy", "adversarial", "flipped"):
            interval: Interval | None = getattr(self, f"{name}_interval")
            for end, value in asdict(interval).items() if interval else ():
                found[f"{PREFIX}/{self.adversarial_set}/{name}_{end}"] = value
        return found


def set_results(name: str, layout: str, asked: Sequence[AttackedModel], seed: int) -> list[SetResult]:
    """Each model on one set.

    Args:
        name: of the set.
        layout: what its file is.
        asked: the models, whose shards have the predictions for the same texts. Without originals, their text and
            scores are null.
        seed: of the bootstrap.
    """
    rows = {one.model_name: read_shards(one.shards.folder) for one in asked}
    changed_N = _changed(next(iter(rows.values())))
    before = {model: _right(own, "original_scores")[changed_N] for model, own in rows.items()}
    after = {model: _right(own, "perturbed_scores")[changed_N] for model, own in rows.items()}
    flipped = {model: np.where(before[model] == 1, 1 - after[model], np.nan) for model in after}
    seed = derive_seed(seed, "bootstrap")
    if not changed_N.any():
        before = after = flipped = {}
    clean, robust, flips = (measure(outcomes, seed) for outcomes in (before, after, flipped))
    return [
        SetResult(
            adversarial_set=name,
            layout=layout,
            model=one.model_name,
            round=one.round,
            n=int(changed_N.sum()),
            unchanged=int((~changed_N).sum()),
            accuracy=_mean(before.get(one.model_name)),
            accuracy_adversarial=_mean(after.get(one.model_name)),
            flipped=_mean(flipped.get(one.model_name)),
            accuracy_interval=clean[0].get(one.model_name),
            adversarial_interval=robust[0].get(one.model_name),
            flipped_interval=flips[0].get(one.model_name),
            comparisons=robust[1].get(one.model_name, {}),
        )
        for one in asked
    ]


def _changed(rows: pa.Table) -> np.ndarray:
    """Whether each text differs from its original (N); one without an original does."""
    pairs = zip(rows["original_text"].to_pylist(), rows["perturbed_text"].to_pylist(), strict=True)
    return np.array([original != adversarial for original, adversarial in pairs], dtype=bool)


def _right(rows: pa.Table, scores: str) -> np.ndarray:
    """1 where a model is right, 0 where it is wrong, NaN without a text (N)."""
    pairs = zip(rows[scores].to_pylist(), rows["label"].to_pylist(), strict=True)
    return np.array([np.nan if own is None else float(int(np.argmax(own)) == label) for own, label in pairs])


def _mean(values_N: np.ndarray | None) -> float | None:
    return None if values_N is None or np.isnan(values_N).all() else float(np.nanmean(values_N))
