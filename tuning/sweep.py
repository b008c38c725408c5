"""Search learning rate, clipping, beta and gamma (paper, Appendix E) with Ray Tune, on the development split.

A trial is a run of jobs/flat_round.py that trains FLAT only and measures on dev. All trials share the base model and
the attack on it. The best trial is written as a preset for jobs/flat_round.py. `--ablation` instead compares the
preset's beta and gamma with zero, on the test split (paper, Table 5). Running the same command again continues an
interrupted sweep, and repeats no finished trial.

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
from flat_dist.config.errors import UserError, option
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
from flat_dist.sweep.space import SearchSpace, Settings, Sweep, ablation
from flat_dist.sweep.trials import Axes, count_points
from flat_dist.tracking import mlflow

DEV_SAMPLE, PAIRS = 200, 100
"""Default numbers of texts that a trial attacks, and of pairs that it explains. Presets and options override them."""

BUCKETS = 16
"""Default number of batches that a trial sorts by length together. Less padding halves the training time."""


@dataclass(frozen=True)
class Command:
    """What to search, and how."""

    config: Annotated[Config, tyro.conf.arg(name="")]
    search: Annotated[Settings, tyro.conf.arg(name="")] = field(default_factory=Settings)
    space: SearchSpace = field(default_factory=SearchSpace)
    ablation: bool = False
    """Instead of searching, compare the preset's beta and gamma with zero in all four combinations (paper, Table 5)."""
    preset: str = cli.DEFAULT_PRESET
    """Name or YAML file of the trials' configuration; several are separated by commas."""
    dry_run: bool = False
    """Print the space and the settings of a trial, and exit."""
    json: bool = False
    """Print one JSON object as the last line of standard output."""


def parse(arguments: Sequence[str]) -> tuple[Command, Axes]:
    """The command, and the space to search.

    Raises:
        UserError: an option or the preset is unknown, or a value is invalid.
        SystemExit: with code 0, after --help.
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
    if len(config.training.kinds) != 1 or not config.training.last_round:
        raise UserError("a trial has one training (--training.kinds flat, or adv) and at least one round")
    if config.training.workers > 1:
        raise UserError("a trial trains on one worker (--training.workers 1), because trials run in parallel")
    if config.attack.name not in config.evaluation.attacks:
        raise UserError(f"trials are compared after {config.attack.name}: add it to --evaluation.attacks")
    if config.evaluation.split != "dev" and not command.ablation:
        raise UserError("a search must select on dev, or its numbers on test are biased: omit --evaluation.split")
    if settings.objective == "kendall_tau" and not config.evaluation.explain:
        raise UserError("--objective kendall_tau needs attributions: add --evaluation.explain ig")


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
        sweep = Sweep(config, axes, settings, Folder(config.storage) / name)
        run_folder.open_folder(sweep.folder, identity)
        with (
            exclusive_lock(sweep.folder, "this sweep", log_line=display.log_line),
            mlflow.tracked(config, name, identity, sweep.folder, display.log_line) as tracker,
        ):
            base, trials = search.search(sweep, dataset, tracker, display)
            outcome = sweep_results.select_best(base, trials, settings, command.ablation)
            data = {"data": dataset.source, "data fingerprint": dataset.fingerprint}
            sweep_results.publish(sweep, data, outcome, tracker)
    results.print_server(config)
    sweep_results.show(sweep.folder, outcome, command.json)


def identify(config: Config, dataset: datasets.Dataset, axes: Axes, settings: Settings) -> dict[str, Any]:
    """Everything that the results of a sweep depend on."""
    return {
        "config": run_folder.identity(config, dataset.fingerprint),
        "space": {field: list(values) for field, values in axes.items()},
        "search": asdict(settings),
    }


def show_plan(command: Command, dataset: datasets.Dataset, axes: Axes, settings: Settings) -> None:
    """Print the space and the settings of a trial."""
    config = command.config
    trials = count_points(axes) if settings.searcher == "grid" else settings.samples
    if command.json:
        cli.print_json({"space": dict(axes), "search": asdict(settings), "trials": trials})
        return
    print(*datasets.describe(dataset), *hints(config, dataset), sep="\n")
    for name, values in axes.items():
        print(f"{option(name)}: {', '.join(f'{value:g}' for value in values)}")
    print(
        f"{trials} of {count_points(axes)} points ({settings.searcher}, scheduler {settings.scheduler}); each trains "
        f"{config.training.kinds[0]} for {config.training.rounds} rounds of {config.training.epochs_per_round} epochs, "
        f"and maximises {settings.objective} on {config.evaluation.sample or 'all'} {config.evaluation.split} texts"
    )


if __name__ == "__main__":
    cli.main(job)
