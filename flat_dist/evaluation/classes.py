"""Accuracy, F1 and after-attack accuracy of each class. Shapes: N texts."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from flat_dist.data.shards import STATUSES

UNBALANCED = 1.5
"""Classes are unbalanced if the largest has at least this many times as many texts as the smallest."""


@dataclass(frozen=True)
class Predictions:
    """What a model predicts for the texts of a split."""

    labels_N: np.ndarray
    predicted_N: np.ndarray

    @property
    def right(self) -> np.ndarray:
        """Whether each text is classified correctly (N)."""
        return self.labels_N == self.predicted_N


@dataclass(frozen=True)
class OfClass:
    """One class. Shares are in [0, 1]; None over no texts."""

    n: int
    """Number of texts of the class in the split."""
    accuracy: float | None
    """Share of them that the model classifies correctly: the class's recall."""
    f1: float | None
    """Harmonic mean of precision and recall; 0 if no text of the class is found, None if none is there or predicted."""
    attacked: int
    """Number of texts of the class that the attack was asked about."""
    after_attack_accuracy: float | None
    """Share of these that are correct after the attack. None also if the model predicts one class for all texts."""


def of_attack(rows: pa.Table) -> Predictions:
    """The predictions of the texts of an attack, before it.

    Args:
        rows: columns label and original_scores. Rows without scores are left out.
    """
    pairs = zip(rows["label"].to_pylist(), rows["original_scores"].to_pylist(), strict=True)
    known = [(label, int(np.argmax(scores))) for label, scores in pairs if scores]
    labels_N, predicted_N = np.array(known, dtype=np.int64).reshape(-1, 2).T
    return Predictions(labels_N, predicted_N)


def by_class(
    predictions: Predictions, rows: pa.Table, label_names: Sequence[str] = (), reported: bool = True
) -> dict[str, OfClass]:
    """The numbers of each class, by its name and in the order of the classes.

    Args:
        predictions: on the whole split.
        rows: columns label and status, of an attack; those with the status error are left out.
        label_names: of all classes; without them, the classes in the predictions and labels are called by number.
        reported: whether accuracy after the attack says anything of this model.
    """
    labels_N, predicted_N = predictions.labels_N, predictions.predicted_N
    count = max([len(label_names) - 1, *labels_N.tolist(), *predicted_N.tolist(), *rows["label"].to_pylist()]) + 1
    outcomes = Counter(zip(rows["label"].to_pylist(), rows["status"].cast(pa.string()).to_pylist(), strict=True))
    found = {}
    for number in range(count):
        own_N, given_N = labels_N == number, predicted_N == number
        right, n, given = int((own_N & given_N).sum()), int(own_N.sum()), int(given_N.sum())
        attacked = sum(outcomes[number, status] for status in STATUSES if status != "error")
        robust = outcomes[number, "failed"] + outcomes[number, "timeout"]
        name = label_names[number] if number < len(label_names) else str(number)
        found[name] = OfClass(
            n=n,
            accuracy=right / n if n else None,
            f1=2 * right / (n + given) if n + given else None,
            attacked=attacked,
            after_attack_accuracy=robust / attacked if attacked and reported else None,
        )
    return found


def macro_f1(classes: Mapping[str, OfClass]) -> float | None:
    """The mean F1 of the classes that are there or predicted, as scikit-learn defines it; None without any."""
    return mean([one.f1 for one in classes.values()])


def mean(values: Sequence[float | None]) -> float | None:
    """The mean of the numbers that are there."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def unbalanced(classes: Mapping[str, OfClass]) -> bool:
    """Whether the largest class has at least `UNBALANCED` times as many texts as the smallest."""
    counts = [one.n for one in classes.values()]
    return bool(counts) and max(counts) >= UNBALANCED * max(min(counts), 1)
