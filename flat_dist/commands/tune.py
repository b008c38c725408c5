"""Search learning rate, clipping, beta and gamma (paper, Appendix E) with Ray Tune, on the development split.

A trial is a run of `flat-dist train` that trains FLAT only and measures on dev. All trials share the base model and
the attack on it. The best trial is written as a preset for `flat-dist train`. `--ablation` instead compares the
preset's FLAT with base, adv, and FLAT with parts left out, on the same texts and over several seeds. Running the same
command again continues what was interrupted, and repeats no finished trial or training.

  flat-dist tune --samples 16
  flat-dist tune --searcher grid --space.beta 0.01,0.1,1 --space.gamma 0.001,0.1 --space.clip 1
  flat-dist tune --ablation --seeds 1111,1112,1113
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Any

import tyro

from flat_dist import cli
from flat_dist.config.errors import UserError, option
from flat_dist.config.options import CommandLine, options
from flat_dist.config.schema import Config
from flat_dist.config.validation import HIGHEST, check_effect, validate
from flat_dist.data import datasets
from flat_dist.pipeline import run_folder
from flat_dist.pipeline.plan import check, hints, resolve
from flat_dist.runtime import hardware
from flat_dist.runtime.progress import Display
from flat_dist.storage.folder import Folder
from flat_dist.storage.lock import exclusive_lock
from flat_dist.sweep.ablation_job import AblationJob
from flat_dist.sweep.space import SearchSpace, Settings, Sweep
from flat_dist.sweep.trials import Axes, count_points
from flat_dist.sweep.variants import DEFAULT_ROWS, VariantName
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
    """Instead of searching, compare FLAT with base, adv, and parts of FLAT left out."""
    rows: tuple[VariantName, ...] = DEFAULT_ROWS
    """Models of the ablation: base, adv, adv-clean (adv without the loss on adversarial texts, so that only smoothed
    vectors are left of it), adv-word-dropout (adv that drops as many words as FLAT's masks, at random), adv-random and
    flat-random (random substitutes), flat-smoothing-0, flat-beta-0, flat-gamma-0, flat-beta-gamma-0 (paper, Table 5),
    flat."""
    seeds: tuple[int, ...] = (1111, 1112, 1113)
    """Seeds of the ablation; each trains all its models."""
    preset: str = cli.DEFAULT_PRESET
    """Name or YAML file of the trials' configuration; several are separated by commas."""
    dry_run: bool = False
    """Print the space and the settings of a trial, and exit."""
    json: bool = False
    """Print one JSON object as the last line of standard output."""


def parse(arguments: Sequence[str]) -> Command:
    """Read the command line.

    Raises:
        UserError: an option or the preset is unknown, has no effect, or a value is invalid.
        SystemExit: with code 0, after --help.
    """
    line = CommandLine(Command, arguments)
    preset = line.value("--preset", cli.DEFAULT_PRESET)
    default, ablation = cli.load_preset(preset), "--ablation" in line.flags
    _check_use(line.given, line.flags, ablation)
    command = line.read(
        cli.with_presets(str(__doc__)), Command(default if ablation else _of_trials(default), preset=preset)
    )
    config = command.config
    check_effect(config, line.given)
    if ablation:
        validate(config)
        ablation_of(command).check()
        return command
    attacks = config.evaluation.attacks or (config.attack.name,)
    command = replace(command, config=replace(config, evaluation=replace(config.evaluation, attacks=attacks)))
    validate(command.config)
    _check_search(command)
    return command


def _check_use(given: Iterable[str], flags: Iterable[str], ablation: bool) -> None:
    """Raise UserError for an option of a search that is given to an ablation, or the other way round."""
    of_search = {"--training.kinds", *options(Settings), *options(SearchSpace, "--space.")}
    if {"--tracking.log-models", "--tracking.no-log-models"} & {*given, *flags}:
        raise UserError("--tracking.log-models has no effect on this command: export the model that you choose")
    for name in given:
        if ablation and name in of_search:
            raise UserError(f"{name} has no effect with --ablation: leave it out")
        if not ablation and name in ("--rows", "--seeds"):
            raise UserError(f"{name} has an effect only with --ablation: give both, or neither")


def _of_trials(start: Config) -> Config:
    """The defaults of a trial."""
    evaluation = replace(
        start.evaluation,
        split="dev",
        sample=start.evaluation.sample or DEV_SAMPLE,
        attacks=(),
        explain=("ig",),
        ig_pairs=start.evaluation.ig_pairs or PAIRS,
    )
    buckets = max(start.training.buckets, BUCKETS)
    return replace(start, evaluation=evaluation, training=replace(start.training, kinds=("flat",), buckets=buckets))


def _check_search(command: Command) -> None:
    config, settings = command.config, command.search
    if not 1 <= settings.samples <= HIGHEST or not 0 <= settings.tolerance < 1:
        raise UserError("--samples must be at least 1, and --tolerance at least 0 and below 1")
    if len(config.training.kinds) != 1 or not config.training.last_round:
        raise UserError("a trial has one training (--training.kinds flat, or adv) and at least one round")
    if config.training.workers > 1:
        raise UserError("a trial trains on one worker (--training.workers 1), because trials run in parallel")
    if config.attack.name not in config.evaluation.attacks:
        raise UserError(f"trials are compared after {config.attack.name}: add it to --evaluation.attacks")
    if config.evaluation.split != "dev":
        raise UserError("a search must select on dev, or its numbers on test are biased: omit --evaluation.split")
    if settings.objective == "kendall_tau" and not config.evaluation.explain:
        raise UserError("--objective kendall_tau needs attributions: add --evaluation.explain ig")


def ablation_of(command: Command) -> AblationJob:
    """The ablation that a command asks for."""
    return AblationJob(command.config, command.rows, command.seeds, command.json)


def job(arguments: Sequence[str]) -> None:
    """Parse, build, search or compare."""
    command = parse(arguments)
    command = replace(command, config=resolve(command.config))
    axes = {} if command.ablation else command.space.axes(command.config)
    check(command.config)
    dataset = datasets.load(command.config.data)
    if command.ablation:
        ablation = ablation_of(command)
        (ablation.show_plan if command.dry_run else ablation.run)(dataset)
    elif command.dry_run:
        show_plan(command, dataset, axes)
    else:
        run(command, dataset, axes)


def run(command: Command, dataset: datasets.Dataset, axes: Axes) -> None:
    """Search on Ray, and show the trials."""
    from flat_dist.pipeline import results
    from flat_dist.runtime import cluster
    from flat_dist.sweep import results as sweep_results
    from flat_dist.sweep import search

    config, settings = command.config, command.search
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
            outcome = sweep_results.select_best(base, trials, settings)
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


def show_plan(command: Command, dataset: datasets.Dataset, axes: Axes) -> None:
    """Print the space and the settings of a trial."""
    config, settings = command.config, command.search
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
