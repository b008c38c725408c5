"""The contents of a sweep's report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flat_dist.evaluation.result import Result
from flat_dist.sweep.trials import Axes, Trial

NAMES = {"after_attack_accuracy": "after attack", "accuracy": "accuracy", "kendall_tau": "tau"}
"""Names of the objectives in tables and charts."""


@dataclass(frozen=True)
class SweepPage:
    """The contents of a sweep's report."""

    title: str
    facts: Mapping[str, str]
    """How the numbers were computed, name and value."""
    axes: Axes
    """The search space."""
    trials: Sequence[Trial]
    best: Trial | None
    """None if no trial was trained to the end."""
    base: Result
    """The base model's result under the attack used in training."""
    tolerance: float
    seed: int
