"""The models of an ablation: FLAT, and what isolates its parts."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from flat_dist.config.schema import Config, Training
from flat_dist.sweep.trials import apply_point

FLAT, ADV, BASE = "flat", "adv", "base"
"""Names of the models as in the main job."""

WORD_DROPOUT = "adv, word dropout"
"""Adversarial training that drops as many words as FLAT's masks do, at random."""


@dataclass(frozen=True)
class Variant:
    """One row of the table."""

    name: str
    training: Training
    """Kind of training."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the config that differ from FLAT's."""

    def config(self, config: Config, seed: int) -> Config:
        """The config of its run."""
        own = replace(config, seed=seed, training=replace(config.training, kinds=(self.training,)))
        return apply_point(own, self.changes)


def variants(dropped: float) -> list[Variant]:
    """FLAT, and what it is compared with.

    Args:
        dropped: share of words that FLAT's masks drop, in [0, 1).
    """
    return [
        Variant(FLAT, "flat"),
        Variant("flat, gamma 0", "flat", {"objective.gamma": 0.0}),
        Variant(WORD_DROPOUT, "adv", {"training.word_dropout": dropped}),
        Variant(ADV, "adv"),
        Variant(BASE, "base"),
    ]
