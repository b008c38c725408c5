"""The models of an ablation: FLAT, and what isolates its parts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from flat_dist.config.errors import UserError
from flat_dist.config.schema import Config, SubstitutesConfig, Training
from flat_dist.sweep.trials import apply_point

VariantName = Literal[
    "base",
    "adv",
    "adv-clean",
    "adv-word-dropout",
    "adv-random",
    "flat-random",
    "flat-smoothing-0",
    "flat-beta-0",
    "flat-beta-gamma-0",
    "flat-gamma-0",
    "flat",
]
"""Names of the models, in the order of the table's rows."""

FLAT, WORD_DROPOUT = "flat", "adv-word-dropout"

TABLE_5: Mapping[str, tuple[bool, bool]] = {
    "flat-beta-gamma-0": (False, False),
    "flat-beta-0": (False, True),
    "flat-gamma-0": (True, False),
    "flat": (True, True),
}
"""The models of the paper's Table 5: whether beta and gamma are above zero."""

DEFAULT_ROWS: tuple[VariantName, ...] = (
    "base",
    "adv",
    "adv-word-dropout",
    "adv-random",
    "flat-random",
    "flat-gamma-0",
    "flat",
)

RANDOM = {
    "training.adversaries": "random",
    **{f"substitutes.{name}": getattr(SubstitutesConfig(), name) for name in ("steps", "share")},
}
"""Substitutes drawn at random. Number of gradients and share have no effect on them, so they get their defaults."""

NO_BETA, NO_GAMMA = {"objective.beta": 0.0, "objective.initial_beta": 0.0}, {"objective.gamma": 0.0}


@dataclass(frozen=True)
class Variant:
    """One row of the table."""

    name: VariantName
    training: Training
    """Kind of training."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the config that differ from FLAT's."""

    def config(self, config: Config, seed: int) -> Config:
        """The config of its run."""
        own = replace(config, seed=seed, training=replace(config.training, kinds=(self.training,)))
        return apply_point(own, self.changes)


def variants(names: Sequence[str], dropped: float) -> list[Variant]:
    """The models of these names, in the order of the table's rows.

    Args:
        names: some of `VariantName`.
        dropped: share of words that FLAT's masks drop, in [0, 1).
    """
    known = [
        Variant("base", "base"),
        Variant("adv", "adv"),
        Variant("adv-clean", "adv", {"objective.adversarial_weight": 0.0}),
        Variant("adv-word-dropout", "adv", {"training.word_dropout": dropped}),
        Variant("adv-random", "adv", RANDOM),
        Variant("flat-random", "flat", RANDOM),
        Variant("flat-smoothing-0", "flat", {"substitutes.smoothing": 0.0}),
        Variant("flat-beta-0", "flat", NO_BETA),
        Variant("flat-beta-gamma-0", "flat", NO_BETA | NO_GAMMA),
        Variant("flat-gamma-0", "flat", NO_GAMMA),
        Variant("flat", "flat"),
    ]
    return [variant for variant in known if variant.name in names]


def check_names(names: Sequence[str], config: Config) -> None:
    """Raise UserError unless the names are those of different models, FLAT among them."""
    if FLAT not in names or len(set(names)) < len(names):
        raise UserError(
            f"--rows is {', '.join(names)}: name each row once, and flat, which the others are compared with"
        )
    if config.training.word_dropout:
        raise UserError("--training.word-dropout is set by the row adv-word-dropout: leave it out")
    seen: dict[Config, str] = {}
    for variant in variants(names, dropped=0.5):
        own = variant.config(config, config.seed)
        if own in seen:
            raise UserError(
                f"with these settings, {seen[own]} and {variant.name} are the same model: change the settings, or "
                "leave one of them out of --rows"
            )
        seen[own] = variant.name
