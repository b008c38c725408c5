"""Trials of a sweep: what each was, what it came to, and which of them is best.

A trial's name is a hash of its point, so that whoever meets the same point again finds it.
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
"""The values that are searched, by field of the config, such as objective.beta."""

Objective = Literal["after_attack_accuracy", "accuracy", "kendall_tau"]
OBJECTIVES = literals(Objective)
"""What a trial is judged by, more being better; all three make the Pareto front."""

RUNNING, FINISHED, PRUNED, DIVERGED, FAILED = "running", "finished", "pruned", "diverged", "failed"

ENDED = (FINISHED, PRUNED, DIVERGED)
"""Trials that are not run again."""

PENALTY = 5.0
"""What each point of clean accuracy lost beyond the tolerance costs a trial's score, in points. A model that gives one
class to all texts cannot be attacked: without the penalty it would win."""

LEAST = {"after_attack_accuracy": 0.0, "accuracy": 0.0, "kendall_tau": -1.0}
"""What a model that diverged counts for, and one of whose reasons nothing is known."""


@dataclass(frozen=True)
class RoundMetrics:
    """A model after a round of training. Shares are in [0, 1]."""

    round: int
    accuracy: float
    """On the whole split."""
    after_attack_accuracy: float
    """Of the attacked examples, under the attack that training sees."""
    kendall_tau: float | None
    """Interpretation consistency by the first method of the config; None where no pair has one, or none was asked."""
    metrics: Mapping[str, int | float | None]
    """All that was measured, by the names that it is tracked under."""
    timestamp: int
    """When it was, in milliseconds since 1970."""

    def objective(self, name: str) -> float:
        """One of `OBJECTIVES`, as a searcher wants it."""
        value: float | None = getattr(self, name)
        return LEAST[name] if value is None else value


@dataclass(frozen=True)
class Trial:
    """A point of the search space, and what came of it."""

    point: Mapping[str, int | float]
    """Values by field of the config."""
    status: str = RUNNING
    """running, finished, pruned (ended early, for others were better), diverged, or failed."""
    reason: str = ""
    """Why it diverged or failed."""
    rounds: tuple[RoundMetrics, ...] = ()
    """Rounds of training, from 1."""

    @property
    def name(self) -> str:
        """Depends on the point alone."""
        return f"trial-{content_hash(dict(self.point))[:8]}"

    @property
    def last(self) -> RoundMetrics | None:
        """Its latest round."""
        return self.rounds[-1] if self.rounds else None


@dataclass(frozen=True)
class Records:
    """Trials as files of a folder, one for each."""

    folder: Folder

    def read(self, name: str) -> Trial | None:
        """The trial of that name; None if there is none, or its file is damaged: it is then run again."""
        try:
            trial: Trial = self.folder.read_json(f"{name}.json", Trial)
        except (FileNotFoundError, DamagedFileError):
            return None
        return trial if trial.name == name else None

    def write(self, trial: Trial) -> None:
        """Write a trial, in place of what was there of it."""
        self.folder.write_json(f"{trial.name}.json", asdict(trial))

    def all(self) -> dict[str, Trial]:
        """All trials, by name."""
        found = map(self.read, self.names())
        return {trial.name: trial for trial in found if trial is not None}

    def names(self) -> list[str]:
        """Names of all trials, those whose files are damaged among them."""
        return [name.removesuffix(".json") for name in self.folder.names() if name.endswith(".json")]


def apply_point(config: Config, point: Mapping[str, float]) -> Config:
    """The config at a point.

    Raises:
        UserError: a field of the point does not exist, or its value has the wrong type.
    """
    for field, value in point.items():
        section, _, name = field.rpartition(".")
        config = from_dict(Config, {section: {name: value}}, "the search space", start=config)
    return config


def size(axes: Axes) -> int:
    """Points of the space."""
    points = 1
    for values in axes.values():
        points *= len(values)
    return points


def score(measured: RoundMetrics, objective: str, least_accuracy: float) -> float:
    """What a search maximises: an objective, less `PENALTY` times what clean accuracy lacks."""
    return measured.objective(objective) - PENALTY * max(0.0, least_accuracy - measured.accuracy)


def finished(trials: Iterable[Trial]) -> list[Trial]:
    """Those that were trained to the end."""
    return [trial for trial in trials if trial.status == FINISHED]


def best(trials: Iterable[Trial], objective: str, tolerance: float) -> Trial | None:
    """The best by an objective among the finished trials whose clean accuracy is within `tolerance` of the best one.

    None if no trial finished; of equals, the one of the higher clean accuracy, and then the first by name.
    """
    known = sorted(finished(trials), key=lambda trial: trial.name)
    highest = max((trial.rounds[-1].accuracy for trial in known), default=0.0)
    # the last digits of a difference of shares are noise
    near = [trial for trial in known if trial.rounds[-1].accuracy >= highest - tolerance - 1e-9]
    return max(near, key=lambda one: (one.rounds[-1].objective(objective), one.rounds[-1].accuracy), default=None)


def pareto_front(trials: Iterable[Trial]) -> list[Trial]:
    """The finished trials that none beats in one objective without losing in another, best after attack first."""
    values = [(_objectives(trial), trial) for trial in sorted(finished(trials), key=lambda trial: trial.name)]
    front = [(own, trial) for own, trial in values if not any(_dominates(other, own) for other, _ in values)]
    return [trial for _, trial in sorted(front, key=lambda pair: pair[0], reverse=True)]


def _objectives(trial: Trial) -> tuple[float, ...]:
    return tuple(trial.rounds[-1].objective(name) for name in OBJECTIVES)


def _dominates(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(a >= b for a, b in zip(one, other, strict=True))


def describe(trial: Trial) -> str:
    """A trial in one line."""
    said = f"{trial.name} ({', '.join(f'{short(field)} {value:g}' for field, value in trial.point.items())})"
    if trial.last:
        tau = "" if trial.last.kendall_tau is None else f", tau {trial.last.kendall_tau:.2f}"
        said += (
            f": accuracy {100 * trial.last.accuracy:.1f} %, after attack "
            f"{100 * trial.last.after_attack_accuracy:.1f} %{tau}"
        )
    if trial.status == FINISHED:
        return said
    after = f"{len(trial.rounds)} round{'' if len(trial.rounds) == 1 else 's'}"
    return f"{said}; {trial.status} after {after}" + (f": {trial.reason}" if trial.reason else "")


def short(field: str) -> str:
    """Name of a field, as in the paper."""
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
        elif value != defaults[name]:
            changed[name] = value
    return changed
