"""Trials of a sweep: their points, their numbers, and which of them is best.

The name of a trial is a hash of its point: the same point always has the same record.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from flat_dist.config.choices import literals
from flat_dist.config.schema import Config
from flat_dist.config.serialization import content_hash, from_dict, result_values
from flat_dist.storage.file_validation import DamagedFileError
from flat_dist.storage.folder import Folder

Axes = Mapping[str, Sequence[float]]
"""Values to search, by field of the config, such as objective.beta."""

Objective = Literal["after_attack_accuracy", "accuracy", "kendall_tau"]
OBJECTIVES = literals(Objective)
"""Numbers to maximise. The Pareto front is over all three."""

RUNNING, FINISHED, PRUNED, DIVERGED, FAILED = "running", "finished", "pruned", "diverged", "failed"

ENDED = (FINISHED, PRUNED, DIVERGED)
"""Statuses of trials that are not run again."""

PENALTY = 5.0
"""Points that a trial's score loses for each point of clean accuracy below the tolerance. Without it, a model that
predicts one class for all texts would win: no attack changes its predictions."""

WORST = {"after_attack_accuracy": 0.0, "accuracy": 0.0, "kendall_tau": -1.0}
"""Objectives of a model that diverged, and of one for which they are undefined."""


@dataclass(frozen=True)
class RoundMetrics:
    """A model after a round of training. Shares are in [0, 1]."""

    round: int
    accuracy: float
    """On the whole split."""
    after_attack_accuracy: float | None
    """On the attacked examples, under the attack used in training; None if the model predicts one class for all."""
    kendall_tau: float | None
    """Interpretation consistency by the first method of the config; None if it is undefined, or not configured."""
    metrics: Mapping[str, int | float | None]
    """All numbers, by their names in MLflow."""
    timestamp: int
    """Time of the measurement, in milliseconds since 1970."""

    def objective(self, name: str) -> float:
        """One of `OBJECTIVES`, as a number even if it is undefined."""
        value: float | None = getattr(self, name)
        return WORST[name] if value is None else value


@dataclass(frozen=True)
class Trial:
    """A point of the search space, and its results."""

    point: Mapping[str, int | float]
    """Values by field of the config."""
    status: str = RUNNING
    """running, finished, pruned (ended early, because others were better), diverged, or failed."""
    reason: str = ""
    """Why it diverged or failed."""
    rounds: tuple[RoundMetrics, ...] = ()
    """Rounds of training, from 1."""

    @property
    def name(self) -> str:
        """A hash of the point."""
        return f"trial-{content_hash(dict(self.point))[:8]}"

    @property
    def last(self) -> RoundMetrics | None:
        """The latest round."""
        return self.rounds[-1] if self.rounds else None


@dataclass(frozen=True)
class Records:
    """One file for each trial, in a folder."""

    folder: Folder

    def read(self, name: str) -> Trial | None:
        """The trial with a name; None if it does not exist or its file is damaged, so that it is run again."""
        try:
            trial: Trial = self.folder.read_json(f"{name}.json", Trial)
        except (FileNotFoundError, DamagedFileError):
            return None
        return trial if trial.name == name else None

    def write(self, trial: Trial) -> None:
        """Write a trial; an earlier record of it is replaced."""
        self.folder.write_json(f"{trial.name}.json", asdict(trial))

    def all(self) -> dict[str, Trial]:
        """All trials, by name."""
        trials = map(self.read, self.names())
        return {trial.name: trial for trial in trials if trial is not None}

    def names(self) -> list[str]:
        """Names of all trials, including those with damaged files."""
        return [name.removesuffix(".json") for name in self.folder.names() if name.endswith(".json")]


def apply_point(config: Config, point: Mapping[str, float]) -> Config:
    """The config, with the values of a point.

    Raises:
        UserError: a field of the point does not exist, or its value has the wrong type.
    """
    for field, value in point.items():
        section, _, name = field.rpartition(".")
        config = from_dict(Config, {section: {name: value}}, "the search space", start=config)
    return config


def count_points(axes: Axes) -> int:
    """Number of points in the space."""
    points = 1
    for values in axes.values():
        points *= len(values)
    return points


def score(measured: RoundMetrics, objective: str, least_accuracy: float) -> float:
    """The number that a search maximises: an objective, minus `PENALTY` times the missing clean accuracy."""
    return measured.objective(objective) - PENALTY * max(0.0, least_accuracy - measured.accuracy)


def finished(trials: Iterable[Trial]) -> list[Trial]:
    """The trials that were trained to the end."""
    return [trial for trial in trials if trial.status == FINISHED]


def best(trials: Iterable[Trial], objective: str, tolerance: float) -> Trial | None:
    """The finished trial with the highest objective, if its accuracy is at most `tolerance` below the highest accuracy.

    None if no trial finished. Ties are broken by clean accuracy, then by name.
    """
    known = sorted(finished(trials), key=lambda trial: trial.name)
    highest = max((trial.rounds[-1].accuracy for trial in known), default=0.0)
    # 1e-9 allows for rounding errors
    near = [trial for trial in known if trial.rounds[-1].accuracy >= highest - tolerance - 1e-9]
    return max(near, key=lambda one: (one.rounds[-1].objective(objective), one.rounds[-1].accuracy), default=None)


def pareto_front(trials: Iterable[Trial]) -> list[Trial]:
    """The finished trials that no other trial dominates, by falling accuracy after attack."""
    values = [(_objectives(trial), trial) for trial in sorted(finished(trials), key=lambda trial: trial.name)]
    front = [(own, trial) for own, trial in values if not any(_dominates(other, own) for other, _ in values)]
    return [trial for _, trial in sorted(front, key=lambda pair: pair[0], reverse=True)]


def _objectives(trial: Trial) -> tuple[float, ...]:
    return tuple(trial.rounds[-1].objective(name) for name in OBJECTIVES)


def _dominates(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(a >= b for a, b in zip(one, other, strict=True))


def describe(trial: Trial) -> str:
    """A trial as one line of text."""
    line = f"{trial.name} ({', '.join(f'{short_name(field)} {value:g}' for field, value in trial.point.items())})"
    if trial.last:
        tau = "" if trial.last.kendall_tau is None else f", tau {trial.last.kendall_tau:.2f}"
        share = trial.last.after_attack_accuracy
        named = "not reported" if share is None else f"{100 * share:.1f} %"
        line += f": accuracy {100 * trial.last.accuracy:.1f} %, after attack {named}{tau}"
    if trial.status == FINISHED:
        return line
    after = f"{len(trial.rounds)} round{'' if len(trial.rounds) == 1 else 's'}"
    return f"{line}; {trial.status} after {after}" + (f": {trial.reason}" if trial.reason else "")


def short_name(field: str) -> str:
    """Name of a field, as the paper writes it."""
    return {"round_learning_rate": "lr", "round_clip": "clip"}.get(name := field.rpartition(".")[2], name)


def preset(config: Config) -> dict[str, Any]:
    """The fields of a config that are part of the result and differ from their defaults, as a preset file has them."""
    values = _changed(result_values(config), result_values(Config()))
    return {name: value for name, value in values.items() if value != {}}


def _changed(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    changed = {}
    for name, value in values.items():
        if isinstance(value, dict):
            changed[name] = _changed(value, defaults[name])
        elif value != defaults.get(name):
            changed[name] = value
    return changed
