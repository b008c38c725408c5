"""What is searched: the space of the paper's Appendix E, and the four points of its Table 5."""

from dataclasses import dataclass
from typing import Literal

from flat_dist.config.errors import UserError
from flat_dist.config.schema import Config
from flat_dist.config.validation import validate
from flat_dist.sweep.trials import Axes, Objective, apply_point

FIELDS = {
    "learning_rate": "training.round_learning_rate",
    "clip": "training.round_clip",
    "beta": "objective.beta",
    "gamma": "objective.gamma",
}
"""Fields of the config that the axes set. Learning rate and clipping are those after an attack: the base model, and the
attack on it, stay the same for all trials."""


@dataclass(frozen=True)
class Settings:
    """How the space is searched."""

    samples: int = 16
    """Trials; a grid has one for each of its points instead."""
    searcher: Literal["grid", "random", "tpe", "pareto"] = "tpe"
    """grid, random, tpe (Optuna's tree-structured Parzen estimator), or pareto (the same for all three objectives at
    once)."""
    scheduler: Literal["none", "asha"] = "asha"
    """asha: trials that are not among the best quarter after as many rounds of training end early; or none."""
    objective: Objective = "after_attack_accuracy"
    """What the best trial is best in: after_attack_accuracy, accuracy, or kendall_tau (interpretation consistency)."""
    tolerance: float = 0.01
    """Clean accuracy that the best trial may lack to the most accurate one, as a share."""


@dataclass(frozen=True)
class SearchSpace:
    """Values to search, log-spaced (paper, Appendix E). One value alone fixes what it is a value of."""

    learning_rate: tuple[float, ...] = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
    """Learning rates after an attack (paper: 1e-5 to 0.1)."""
    clip: tuple[float, ...] = (1e-3, 1e-2, 1e-1, 1.0, 5.0, 10.0)
    """Largest norms of the gradient after an attack (paper: 1e-3 to 10)."""
    beta: tuple[float, ...] = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0, 1000.0)
    """Weights of the masks' entropy (paper: 1e-5 to 1000)."""
    gamma: tuple[float, ...] = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0, 1000.0)
    """Weights of the importance difference (paper: 1e-5 to 1000)."""

    def axes(self, config: Config) -> Axes:
        """The space, by field of the config, of the kind of training that the config names.

        Raises:
            UserError: an axis has no value, one twice, or one that no run could use.
        """
        axes = {}
        for name, field in FIELDS.items():
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise UserError(f"--space.{name} holds {list(values)}: give at least one value, and none twice")
            for value in values:
                validate(apply_point(config, {field: value}))
            if config.training.kinds == ("flat",) or not field.startswith("objective."):
                axes[field] = values
        return axes


def ablation(config: Config) -> Axes:
    """Table 5: beta, gamma, both and neither set to zero.

    Raises:
        UserError: one of them is zero already.
    """
    beta, gamma = config.objective.beta, config.objective.gamma
    if not (beta and gamma):
        raise UserError(f"--ablation sets beta ({beta:g}) and gamma ({gamma:g}) to zero: neither may be zero before")
    return {FIELDS["beta"]: (beta, 0.0), FIELDS["gamma"]: (gamma, 0.0)}
