"""Search learning rate, clipping, beta and gamma (paper, Appendix E) with Ray Tune, on the development split.

A trial is a run of jobs/flat_round.py that trains FLAT alone and measures on dev; the base model and the attack on it
are computed once for all. The best trial is written as a preset for jobs/flat_round.py. `--ablation` compares the
preset's beta and gamma with zero instead, on the test split (paper, Table 5). Running the same command again continues
an interrupted sweep, and repeats no trial that has ended.

  python tuning/sweep.py --preset rotten_tomatoes --samples 16
  python tuning/sweep.py --searcher grid --space.beta 0.01,0.1,1 --space.gamma 0.001,0.1 --space.clip 1
  python tuning/sweep.py --preset sst2 --model.name lstm --ablation
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Any

import tyro

import flat_dist.runtime.start  # noqa: F401, the first import
from flat_dist import cli
from flat_dist.config.errors import UserError
from flat_dist.config.options import CommandLine
from flat_dist.config.schema import Config
from flat_dist.config.validation import HIGHEST, validate
from flat_dist.data import datasets
from flat_dist.pipeline import run_folder
from flat_dist.pipeline.plan import check, hints
from flat_dist.runtime import hardware
from flat_dist.runtime.progress import Display
from flat_dist.storage.folder import Folder
from flat_dist.storage.lock import exclusive_lock
from flat_dist.sweep.space import SearchSpace, Settings, ablation
from flat_dist.sweep.trials import Axes, size
from flat_dist.tracking import mlflow

DEV_SAMPLE, PAIRS = 200, 100
"""Texts that a trial attacks, and pairs that it explains, unless the preset or an option says another number."""

BUCKETS = 16
"""Batches that a trial sorts by length together, likewise: with less padding, training takes half of the time."""


@dataclass(frozen=True)
class Command:
    """What to search, and how."""

    config: Annotated[Config, tyro.conf.arg(name="")]
    search: Annotated[Settings, tyro.conf.arg(name="")] = field(default_factory=Settings)
    space: SearchSpace = field(default_factory=SearchSpace)
    ablation: bool = False
    """Compare the preset's beta and gamma with zero, all four combinations, instead of searching (paper, Table 5)."""
    preset: str = cli.DEFAULT_PRESET
    """Named configuration of a trial, or a YAML file of one, or several with commas between."""
    dry_run: bool = False
    """Print the space and what a trial is, and exit."""
    json: bool = False
    """Print one JSON object as the last line of standard output."""


def parse(arguments: Sequence[str]) -> tuple[Command, Axes]:
    """The command line, and the space that it asks for.

    Raises:
        UserError: an option or the preset is unknown, or a value is one that no sweep could use.
        SystemExit: help was asked for (code 0).
    """
    line = CommandLine(Command, arguments)
    preset = line.value("--preset", cli.DEFAULT_PRESET)
    start = cli.load_preset(preset)
    evaluation = replace(
        start.evaluation,
        split="test" if "--ablation" in line.flags else "dev",
        sample=start.evaluation.sample or DEV_SAMPLE,
        attacks=(),
        explain=("ig",),
        ig_pairs=start.evaluation.ig_pairs or PAIRS,
    )
    buckets = max(start.training.buckets, BUCKETS)
    default = replace(start, evaluation=evaluation, training=replace(start.training, kinds=("flat",), buckets=buckets))
    command = line.read(cli.with_presets(str(__doc__)), Command(default, preset=preset))
    attacks = command.config.evaluation.attacks or (command.config.attack.name,)
    config = replace(command.config, evaluation=replace(command.config.evaluation, attacks=attacks))
    command = replace(command, config=config)
    _check(command)
    return command, ablation(config) if command.ablation else command.space.axes(config)


def _check(command: Command) -> None:
    config, settings = command.config, command.search
    validate(config)
    if not 1 <= settings.samples <= HIGHEST or not 0 <= settings.tolerance < 1:
        raise UserError("--samples must be at least 1, and --tolerance at least 0 and below 1")
    if len(config.training.kinds) != 1 or config.training.rounds < 1:
        raise UserError("a trial trains one kind (--training.kinds flat, or adv) for at least one round")
    if config.training.workers > 1:
        raise UserError("a trial trains on one worker (--training.workers 1): more trials run side by side instead")
    if config.attack.name not in config.evaluation.attacks:
        raise UserError(f"trials are judged after {config.attack.name}: add it to --evaluation.attacks")
    if config.evaluation.split != "dev" and not command.ablation:
        raise UserError("a search chooses on dev, or its numbers on test say nothing: leave out --evaluation.split")
    if settings.objective == "kendall_tau" and not config.evaluation.explain:
        raise UserError("--objective kendall_tau needs an interpretation: --evaluation.explain ig")


def job(arguments: Sequence[str]) -> None:
    """Parse, build, search."""
    command, axes = parse(arguments)
    config = command.config
    settings = replace(command.search, searcher="grid") if command.ablation else command.search
    check(config)
    dataset = datasets.load(config.data)
    if command.dry_run:
        show_plan(command, dataset, axes, settings)
    else:
        run(config, dataset, axes, settings, command)


def run(config: Config, dataset: datasets.Dataset, axes: Axes, settings: Settings, command: Command) -> None:
    """Search on Ray, and show the trials."""
    from flat_dist.pipeline import results
    from flat_dist.runtime import cluster
    from flat_dist.sweep import results as sweep_results
    from flat_dist.sweep import search

    run_folder.check(config, identify(config, dataset, axes, settings))
    mlflow.check_server(config)
    with cluster.connected(), Display(as_json=command.json) as display:
        config, hardware_said = hardware.resolve(config, cluster.machine(config.hardware, display.log_line))
        for line in (hardware_said, *datasets.describe(dataset), *hints(config, dataset)):
            display.log_line(line)
        identity = identify(config, dataset, axes, settings)
        name = config.run_name or f"sweep-{run_folder.name_of(config, identity)}"
        folder = Folder(config.storage) / name
        run_folder.open_folder(folder, identity)
        with (
            exclusive_lock(folder, "this sweep", log_line=display.log_line),
            mlflow.tracked(config, name, identity, folder, display.log_line) as tracker,
        ):
            base, trials = search.search(config, dataset, axes, settings, folder, tracker, display)
            found = sweep_results.select_best(base, trials, settings, chooses=not command.ablation)
            described = {"data": dataset.source, "data fingerprint": dataset.fingerprint}
            sweep_results.publish(folder, config, axes, settings, described, found, tracker)
    results.print_server(config)
    sweep_results.show(folder, found, command.json)


def identify(config: Config, dataset: datasets.Dataset, axes: Axes, settings: Settings) -> dict[str, Any]:
    """What the results of a sweep depend on."""
    return {
        "config": run_folder.identity(config, dataset.fingerprint),
        "space": {field: list(values) for field, values in axes.items()},
        "search": asdict(settings),
    }


def show_plan(command: Command, dataset: datasets.Dataset, axes: Axes, settings: Settings) -> None:
    """Print the space and what a trial is."""
    config = command.config
    trials = size(axes) if settings.searcher == "grid" else settings.samples
    if command.json:
        cli.print_json({"space": dict(axes), "search": asdict(settings), "trials": trials})
        return
    print(*datasets.describe(dataset), *hints(config, dataset), sep="\n")
    for name, values in axes.items():
        print(f"--{name}: {', '.join(f'{value:g}' for value in values)}")
    print(
        f"{trials} of {size(axes)} points ({settings.searcher}, scheduler {settings.scheduler}); each trains "
        f"{config.training.kinds[0]} for {config.training.rounds} rounds of {config.training.epochs_per_round} epochs, "
        f"and is judged by {settings.objective} on {config.evaluation.sample or 'all'} {config.evaluation.split} texts"
    )


if __name__ == "__main__":
    cli.main(job)
