"""Search spaces: that of the paper's Appendix E."""

from dataclasses import dataclass
from typing import Literal

from flat_dist.config.errors import UserError, option
from flat_dist.config.schema import Config
from flat_dist.config.validation import validate
from flat_dist.storage.folder import Folder
from flat_dist.sweep.trials import Axes, Objective, apply_point

FIELDS = {
    "learning_rate": "training.round_learning_rate",
    "clip": "training.round_clip",
    "beta": "objective.beta",
    "gamma": "objective.gamma",
}
"""Fields of the config that the axes set. Learning rate and clipping are those of the rounds after an attack, so all
trials share the base model and the attack on it."""


@dataclass(frozen=True)
class Settings:
    """How the space is searched."""

    samples: int = 16
    """Number of trials. A grid search runs one trial for each point instead."""
    searcher: Literal["grid", "random", "tpe", "pareto"] = "tpe"
    """grid, random, tpe (Optuna's tree-structured Parzen estimator), or pareto (TPE on all three objectives)."""
    scheduler: Literal["none", "asha"] = "asha"
    """asha ends a trial early if it is not in the best quarter after the same number of rounds; none ends no trial."""
    objective: Objective = "after_attack_accuracy"
    """Number to maximise: after_attack_accuracy, accuracy, or kendall_tau (interpretation consistency)."""
    tolerance: float = 0.01
    """How far the best trial's clean accuracy may be below the highest one, as a share."""


@dataclass(frozen=True)
class Sweep:
    """One sweep."""

    config: Config
    """The config of all trials, except for their points; hardware resolved, one training."""
    axes: Axes
    settings: Settings
    folder: Folder
    """For the records, the results and the report."""


@dataclass(frozen=True)
class SearchSpace:
    """Values to search, log-spaced (paper, Appendix E). A single value fixes its field."""

    learning_rate: tuple[float, ...] = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
    """Learning rates of the rounds (paper: 1e-5 to 0.1)."""
    clip: tuple[float, ...] = (1e-3, 1e-2, 1e-1, 1.0, 5.0, 10.0)
    """Maximum gradient norms of the rounds (paper: 1e-3 to 10)."""
    beta: tuple[float, ...] = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0, 1000.0)
    """Weights of the mask entropy (paper: 1e-5 to 1000)."""
    gamma: tuple[float, ...] = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0, 1000.0)
    """Weights of the importance difference (paper: 1e-5 to 1000)."""

    def axes(self, config: Config) -> Axes:
        """The space by field of the config, for the config's training.

        Raises:
            UserError: an axis has no value, a repeated value, or an invalid one.
        """
        axes = {}
        for name, field in FIELDS.items():
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise UserError(f"{option(f'space.{name}')} is {list(values)}: give at least one, and each once")
            for value in values:
                validate(apply_point(config, {field: value}))
            if config.training.kinds == ("flat",) or not field.startswith("objective."):
                axes[field] = values
        return axes
