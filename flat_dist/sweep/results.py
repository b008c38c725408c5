"""The results of a sweep: its trials, the best one as a preset, and the report; also in MLflow."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from typing import Any

import yaml

from flat_dist import cli
from flat_dist.evaluation.result import Result
from flat_dist.report import cards
from flat_dist.report.terminal import TerminalTable
from flat_dist.runtime.progress import PlainConsole
from flat_dist.storage.file_validation import DEFAULT_REMEDY, DamagedFileError
from flat_dist.storage.folder import Folder
from flat_dist.sweep import report
from flat_dist.sweep.page import SweepPage
from flat_dist.sweep.space import Settings, Sweep
from flat_dist.sweep.trials import Trial, apply_point, best, pareto_front, preset, short_name
from flat_dist.tracking.tracker import Tracker

REPORT, RESULTS, BEST = "report", "sweep.json", "best.yaml"

SHOWN = 20
"""Maximum number of trials in the terminal. The report shows all."""


@dataclass(frozen=True)
class SweepOutcome:
    """The trials of a sweep, and the best one."""

    base: Result
    """The base model's result under the attack used in training."""
    trials: Sequence[Trial]
    best: Trial | None
    """None if no trial was trained to the end."""
    front: Sequence[Trial]
    """The Pareto front."""


def select_best(base: Result, trials: Sequence[Trial], settings: Settings) -> SweepOutcome:
    """Select the best trial."""
    return SweepOutcome(base, trials, best(trials, settings.objective, settings.tolerance), pareto_front(trials))


def publish(sweep: Sweep, data: Mapping[str, str], outcome: SweepOutcome, tracker: Tracker) -> None:
    """Write results, preset and report into the folder of a sweep, and log them.

    Args:
        sweep: what was searched.
        data: the data and its fingerprint, name and value.
        outcome: the trials.
        tracker: where to log.
    """
    folder = sweep.folder
    folder.write_json(RESULTS, to_json(outcome))
    report.write(folder / REPORT, _page(sweep, data, outcome))
    if outcome.best is not None:
        folder.write(BEST, _preset_file(sweep, outcome.best).encode())
    _track(folder, outcome, tracker)


def _page(sweep: Sweep, data: Mapping[str, str], outcome: SweepOutcome) -> SweepPage:
    config = sweep.config
    return SweepPage(
        title=f"Sweep of {config.model.name}-{config.training.kinds[0]} on {data['data']}",
        facts=_facts(sweep, data),
        axes=sweep.axes,
        trials=outcome.trials,
        best=outcome.best,
        base=outcome.base,
        tolerance=sweep.settings.tolerance,
        seed=config.seed,
    )


def _track(folder: Folder, outcome: SweepOutcome, tracker: Tracker) -> None:
    tracker.artifact(None, folder, RESULTS, "run")
    tracker.artifacts(None, folder / REPORT, f"run/{REPORT}")
    base = {"accuracy": outcome.base.accuracy, "after_attack_accuracy": outcome.base.after_attack_accuracy}
    tracker.metrics(None, {f"base/{name}": value for name, value in base.items()}, timestamp=0)
    if outcome.best is not None:
        tracker.artifact(None, folder, BEST, "run")
        last = outcome.best.rounds[-1]
        tracker.metrics(None, {f"best/{name}": value for name, value in last.metrics.items()}, timestamp=last.timestamp)


def to_json(outcome: SweepOutcome) -> dict[str, Any]:
    """The outcome as plain values."""
    return {
        "base": asdict(outcome.base),
        "best": outcome.best and {"name": outcome.best.name, **asdict(outcome.best)},
        "front": [trial.name for trial in outcome.front],
        "trials": [{"name": trial.name, **asdict(trial)} for trial in outcome.trials],
    }


@dataclass(frozen=True)
class _Named:
    name: str


@dataclass(frozen=True)
class _OutcomeFile:
    """The types of the values that `to_json` returns."""

    base: Result
    best: _Named | None
    front: list[str]
    trials: list[Trial]


def read(folder: Folder) -> SweepOutcome:
    """The outcome in the folder of a sweep.

    Raises:
        DamagedFileError: the file is damaged.
    """
    values: _OutcomeFile = folder.read_json(RESULTS, _OutcomeFile)
    trials = {trial.name: trial for trial in values.trials}
    for name in [*values.front, *([values.best.name] if values.best else [])]:
        if name not in trials:
            raise DamagedFileError(
                f"{folder.place(RESULTS)} is damaged (it lacks the trial {name!r}): {DEFAULT_REMEDY}"
            )
    return SweepOutcome(
        base=values.base,
        trials=list(trials.values()),
        best=trials[values.best.name] if values.best else None,
        front=[trials[name] for name in values.front],
    )


def _preset_file(sweep: Sweep, trial: Trial) -> str:
    config, last = sweep.config, trial.rounds[-1]
    name = shlex.quote(f"{sweep.folder.uri}/{BEST}")
    head = [
        f"Best trial of a sweep by {sweep.settings.objective}: {trial.name}, on the {config.evaluation.split} split",
        f"accuracy {last.accuracy!r}, after {config.attack.name} {last.after_attack_accuracy!r}",
        "To get the same numbers again (identical on a CPU):",
        f"  flat-dist train --preset {name}",
        "To compare with base and adv on the test split:",
        f"  flat-dist train --preset {name} --evaluation.split test --evaluation.sample 0 \\",
        "    --training.kinds base adv flat",
    ]
    values = preset(apply_point(config, trial.point))
    return "".join(f"# {line}\n" for line in head) + yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def _facts(sweep: Sweep, data: Mapping[str, str]) -> dict[str, str]:
    config, settings = sweep.config, sweep.settings
    space = {
        f"values of {short_name(field)}": ", ".join(f"{value:g}" for value in values)
        for field, values in sweep.axes.items()
    }
    return {
        **data,
        "model": config.model.name,
        "training": f"{config.training.kinds[0]}, {config.training.rounds} rounds",
        "attack": f"{config.attack.name}, synonyms {config.attack.synonyms}",
        "measured on": f"{config.evaluation.split}, {config.evaluation.sample or 'all'} texts attacked",
        **space,
        "searcher": settings.searcher,
        "scheduler": settings.scheduler,
        "best by": f"{settings.objective}, with an accuracy within {100 * settings.tolerance:g} points of the highest",
        "seed": str(config.seed),
        "hardware": f"{config.hardware}, training on {config.training.device}, attacks on {config.attack.device}",
        "versions": ", ".join(f"{name} {metadata.version(name)}" for name in (*cards.VERSIONS, "optuna")),
    }


def show(folder: Folder, outcome: SweepOutcome, as_json: bool) -> None:
    """Print the trials and the places of the results, and one line of JSON if asked for."""
    console = PlainConsole()
    table = report.trial_table(outcome.trials, outcome.best)
    console.print(TerminalTable(replace(table, rows=table.rows[:SHOWN], title=folder.name)))
    if len(table.rows) > SHOWN:
        console.print(f"… and {len(table.rows) - SHOWN} more in the report")
    if outcome.best is not None:
        print(f"best:    flat-dist train --preset {shlex.quote(f'{folder.uri}/{BEST}')}")
    print(f"results: {folder.uri}\nreport:  {folder.uri}/{REPORT}/index.html")
    if as_json:
        cli.print_json({"run": folder.uri, **to_json(outcome)})
