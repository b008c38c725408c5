"""Least values of metrics that checkpoints must reach, as `--fail-under after_attack_accuracy=0.4` gives them."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from flat_dist.config.errors import UserError, quoted, unknown
from flat_dist.evaluation.top_k import TOP_METRIC

if TYPE_CHECKING:  # a command line is read before torch is imported
    from flat_dist.evaluation.result import Result


class Metric(NamedTuple):
    """A number of a model that a threshold may be about."""

    values: Callable[["Result"], list[float | None]]
    """Its values under one attack, of which the lowest counts."""
    lowest: float
    """Its lowest possible value; the highest is 1."""
    missing: str
    """Why it may have no value."""


NOTHING_CHANGED = "the attack has no result, or changed no text that all checkpoints have in common"

METRICS = {
    "accuracy": Metric(lambda row: [row.accuracy], 0, "no attack has a result"),
    "after_attack_accuracy": Metric(
        lambda row: [row.after_attack_accuracy], 0, "the attack has no result, or the model predicts one class only"
    ),
    "macro_f1": Metric(lambda row: [row.macro_f1], 0, "no attack has a result"),
    "kendall_tau": Metric(
        lambda row: [one.common.kendall_tau for one in row.interpretations.values()], -1, NOTHING_CHANGED
    ),
    TOP_METRIC: Metric(lambda row: [one.common.top for one in row.interpretations.values()], 0, NOTHING_CHANGED),
}
"""The metrics by name, as results.json and MLflow call them. Higher is better for each."""

OF_ATTRIBUTIONS = ("kendall_tau", TOP_METRIC)
"""Metrics that exist only where attributions are compared."""

WITHOUT_ATTACK = ("accuracy", "macro_f1")
"""Metrics of the whole split, which are the same under every attack."""


@dataclass(frozen=True)
class Threshold:
    """The least value of a metric."""

    metric: str
    least: float
    attack: str | None = None
    """The attack that it is about; None: the worst over all attacks."""

    def __str__(self) -> str:
        return f"{f'{self.attack}:' if self.attack else ''}{self.metric}={self.least:g}"


def parse(text: str) -> Threshold:
    """A threshold as the user writes it: METRIC=VALUE, or ATTACK:METRIC=VALUE.

    Raises:
        UserError: it has another form, the metric is unknown, or it can never have this value.
    """
    name, equals, value = text.rpartition("=")
    attack, _, metric = name.rpartition(":")
    if not equals:
        raise UserError(f"--fail-under is {quoted(text)}: write METRIC=VALUE, such as after_attack_accuracy=0.4")
    if metric not in METRICS:
        raise unknown("metric of --fail-under", metric, METRICS)
    lowest = METRICS[metric].lowest
    try:
        least = float(value)
    except ValueError:
        raise UserError(f"--fail-under is {quoted(text)}, but {quoted(value)} is not a number") from None
    if not lowest <= least <= 1:
        raise UserError(
            f"--fail-under is {quoted(text)}, but {metric} is from {lowest:g} to 1: write 0.4 for 40 percent"
        )
    return Threshold(metric, least, attack or None)


def check_text(text: str, what: str) -> None:
    """Check a threshold as the user writes it; `what` is what messages would call it.

    Raises:
        UserError: it is not valid.
    """
    parse(text)


def check_measured(thresholds: Iterable[Threshold], attacks: Collection[str], explained: bool) -> None:
    """Check that an evaluation measures what the thresholds are about.

    Args:
        thresholds: what to check.
        attacks: names of the attacks, and of what stands for all of them.
        explained: whether attributions are compared.

    Raises:
        UserError: it does not.
    """
    for threshold in thresholds:
        if threshold.attack is not None and threshold.attack not in attacks:
            raise unknown("attack of --fail-under", threshold.attack, attacks)
        if threshold.metric in OF_ATTRIBUTIONS and not explained:
            raise UserError(f"--fail-under {threshold} needs attributions: add --evaluation.explain ig")


@dataclass(frozen=True)
class Check:
    """A model against a threshold."""

    model: str
    threshold: Threshold
    value: float | None
    """The lowest value over the attacks that the threshold is about; None where nothing was measured."""
    attack: str
    """The attack with the lowest value."""

    @property
    def passed(self) -> bool:
        """Whether the value reaches the threshold."""
        return self.value is not None and self.value >= self.threshold.least

    @property
    def sentence(self) -> str:
        """What was measured, in words."""
        metric, least = self.threshold.metric, f"{self.threshold.least:g}"
        if self.value is None:
            return f"{self.model}: {metric} has no value ({METRICS[metric].missing}), and {least} is required"
        where = "" if metric in WITHOUT_ATTACK else f" under the attack {self.attack}"
        relation = "which reaches" if self.passed else "which is under"
        return f"{self.model}: {metric} is {self.value:.4g}{where}, {relation} {least}"


def check(thresholds: Iterable[Threshold], models: Iterable[str], results: Sequence["Result"]) -> list[Check]:
    """Each model against each threshold.

    Args:
        thresholds: least values.
        models: names of the models.
        results: those of each model under each attack.
    """
    of_model = {model: [row for row in results if row.training == model] for model in models}
    return [_check(threshold, model, rows) for model, rows in of_model.items() for threshold in thresholds]


def _check(threshold: Threshold, model: str, results: Iterable["Result"]) -> Check:
    found = [
        (value, row.attack)
        for row in results
        if threshold.attack in (None, row.attack)
        for value in METRICS[threshold.metric].values(row)
    ]
    measured = [(value, attack) for value, attack in found if value is not None]
    if threshold.metric not in OF_ATTRIBUTIONS and len(measured) < len(found):
        measured = []  # a model that predicts one class has no after-attack accuracy under any attack
    value, attack = min(measured, default=(None, threshold.attack or ""))
    return Check(model, threshold, value, attack)
