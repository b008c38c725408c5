"""What a sweep leaves: its trials, the best of them as a preset, and the report; in MLflow too."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

import yaml
from rich import box
from rich.table import Table

from flat_dist import cli
from flat_dist.config.schema import Config
from flat_dist.evaluation.result import Result
from flat_dist.report import cards
from flat_dist.runtime.progress import PlainConsole
from flat_dist.storage.file_validation import DEFAULT_REMEDY, DamagedFileError
from flat_dist.storage.folder import Folder
from flat_dist.sweep import report
from flat_dist.sweep.report import SweepPage
from flat_dist.sweep.space import Settings
from flat_dist.sweep.trials import Axes, Trial, apply_point, best, pareto_front, preset, short
from flat_dist.tracking.tracker import Tracker

REPORT, RESULTS, BEST = "report", "sweep.json", "best.yaml"

SHOWN = 20
"""Trials that the terminal shows; the report shows all."""


@dataclass(frozen=True)
class SweepOutcome:
    """What a sweep found."""

    base: Result
    """The base model, under the attack that training sees."""
    trials: Sequence[Trial]
    best: Trial | None
    """None where nothing is chosen: a comparison on the test split."""
    front: Sequence[Trial]
    """The Pareto front."""


def select_best(base: Result, trials: Sequence[Trial], settings: Settings, chooses: bool) -> SweepOutcome:
    """Choose among trials, if that is what the sweep is for."""
    chosen = best(trials, settings.objective, settings.tolerance) if chooses else None
    return SweepOutcome(base, trials, chosen, pareto_front(trials))


def publish(
    folder: Folder,
    config: Config,
    axes: Axes,
    settings: Settings,
    described: Mapping[str, str],
    found: SweepOutcome,
    tracker: Tracker,
) -> None:
    """Write results, preset and report into the sweep's folder, and log them.

    Args:
        folder: the sweep's.
        config: what the trials were, but for their points.
        axes: the space.
        settings: how it was searched.
        described: the data and where it is from, name and value.
        found: what came of it.
        tracker: where to log.
    """
    folder.write_json(RESULTS, to_json(found))
    shown = SweepPage(
        title=f"Sweep of {config.model.name}-{config.training.kinds[0]} on {described['data']}",
        facts=_facts(config, axes, settings, described),
        axes=axes,
        trials=found.trials,
        best=found.best,
        base=found.base,
        tolerance=settings.tolerance,
        seed=config.seed,
    )
    report.write(folder / REPORT, shown)
    tracker.artifact(None, folder, RESULTS, "run")
    tracker.artifacts(None, folder / REPORT, f"run/{REPORT}")
    base = {"accuracy": found.base.accuracy, "after_attack_accuracy": found.base.after_attack_accuracy}
    tracker.metrics(None, {f"base/{name}": value for name, value in base.items()}, timestamp=0)
    if found.best is not None:
        folder.write(BEST, _preset_file(folder, config, settings, found.best).encode())
        tracker.artifact(None, folder, BEST, "run")
        last = found.best.rounds[-1]
        tracker.metrics(None, {f"best/{name}": value for name, value in last.metrics.items()}, timestamp=last.timestamp)


def to_json(found: SweepOutcome) -> dict[str, Any]:
    """In plain values."""
    return {
        "base": asdict(found.base),
        "best": found.best and {"name": found.best.name, **asdict(found.best)},
        "front": [trial.name for trial in found.front],
        "trials": [{"name": trial.name, **asdict(trial)} for trial in found.trials],
    }


@dataclass(frozen=True)
class _Named:
    name: str


@dataclass(frozen=True)
class _Written:
    """What `to_json` makes of an outcome, and its types."""

    base: Result
    best: _Named | None
    front: list[str]
    trials: list[Trial]


def read(folder: Folder) -> SweepOutcome:
    """What a sweep left in its folder.

    Raises:
        DamagedFileError: the file is damaged.
    """
    values: _Written = folder.read_json(RESULTS, _Written)
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


def _preset_file(folder: Folder, config: Config, settings: Settings, chosen: Trial) -> str:
    last = chosen.rounds[-1]
    name = shlex.quote(f"{folder.uri}/{BEST}")
    head = [
        f"The best of a sweep by {settings.objective}: {chosen.name}, on the {config.evaluation.split} split",
        f"accuracy {last.accuracy!r}, after {config.attack.name} {last.after_attack_accuracy!r}",
        "The same numbers again, on a CPU to the last digit:",
        f"  python jobs/flat_round.py --preset {name}",
        "On the test split, beside base and plain adversarial training:",
        f"  python jobs/flat_round.py --preset {name} --evaluation.split test --evaluation.sample 0 \\",
        "    --training.kinds base adv flat",
    ]
    values = preset(apply_point(config, chosen.point))
    return "".join(f"# {line}\n" for line in head) + yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def _facts(config: Config, axes: Axes, settings: Settings, described: Mapping[str, str]) -> dict[str, str]:
    space = {f"values of {short(field)}": ", ".join(f"{value:g}" for value in values) for field, values in axes.items()}
    return {
        **described,
        "model": config.model.name,
        "training": f"{config.training.kinds[0]}, {config.training.rounds} rounds",
        "attack": f"{config.attack.name}, synonyms {config.attack.synonyms}",
        "measured on": f"{config.evaluation.split}, {config.evaluation.sample or 'all'} texts attacked",
        **space,
        "searcher": settings.searcher,
        "scheduler": settings.scheduler,
        "best by": f"{settings.objective}, within {100 * settings.tolerance:g} points of the best accuracy",
        "seed": str(config.seed),
        "hardware": f"{config.hardware}, training on {config.training.device}, attacks on {config.attack.device}",
        "versions": ", ".join(f"{name} {metadata.version(name)}" for name in (*cards.VERSIONS, "optuna")),
    }


def show(folder: Folder, found: SweepOutcome, as_json: bool) -> None:
    """Print the trials, and where everything is; as JSON too, in the last line."""
    console = PlainConsole()
    table = report.trial_table(found.trials, found.best)
    printed = Table(title=folder.name, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for number, head in enumerate(table.header):
        printed.add_column(head.replace("\n", " "), justify="left" if number < table.text_columns else "right")
    for row in table.rows[:SHOWN]:
        printed.add_row(*row)
    console.print(printed)
    if len(table.rows) > SHOWN:
        console.print(f"… and {len(table.rows) - SHOWN} more in the report")
    if found.best is not None:
        print(f"best:    python jobs/flat_round.py --preset {shlex.quote(f'{folder.uri}/{BEST}')}")
    print(f"results: {folder.uri}\nreport:  {folder.uri}/{REPORT}/index.html")
    if as_json:
        cli.print_json({"run": folder.uri, **to_json(found)})
