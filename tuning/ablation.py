"""Compare FLAT with parts of it left out, on the same texts and over several seeds.

The rows: FLAT; FLAT with gamma 0; adversarial training that drops as many words as FLAT's masks do, at random; plain
adversarial training; and base. The table is written after each seed. Running the same command again continues an
interrupted ablation, and repeats no finished step.

  python tuning/ablation.py --preset rotten_tomatoes --seeds 1111,1112,1113
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated

import tyro

import flat_dist.runtime.start  # noqa: F401, the first import
from flat_dist import cli
from flat_dist.config.errors import UserError
from flat_dist.config.options import CommandLine
from flat_dist.config.schema import Config
from flat_dist.config.validation import HIGHEST_SEED, validate
from flat_dist.data import datasets
from flat_dist.pipeline import run_folder
from flat_dist.pipeline.plan import check, hints
from flat_dist.runtime import hardware
from flat_dist.runtime.progress import Display
from flat_dist.storage.folder import Folder
from flat_dist.storage.lock import exclusive_lock
from flat_dist.sweep.variants import variants
from flat_dist.tracking import mlflow


@dataclass(frozen=True)
class Command:
    """What to compare."""

    config: Annotated[Config, tyro.conf.arg(name="")]
    seeds: tuple[int, ...] = (1111, 1112, 1113)
    """Seeds of the runs; each trains all models."""
    preset: str = cli.DEFAULT_PRESET
    """Name or YAML file of the configuration; several are separated by commas."""
    dry_run: bool = False
    """Print the models and the seeds, and exit."""
    json: bool = False
    """Print one JSON object as the last line of standard output."""


def parse(arguments: Sequence[str]) -> Command:
    """Read the command line.

    Raises:
        UserError: an option or the preset is unknown, or a value is invalid.
        SystemExit: with code 0, after --help.
    """
    line = CommandLine(Command, arguments)
    preset = line.value("--preset", cli.DEFAULT_PRESET)
    command: Command = line.read(cli.with_presets(str(__doc__)), Command(cli.load_preset(preset), preset=preset))
    config, seeds = command.config, command.seeds
    validate(config)
    if not seeds or len(set(seeds)) < len(seeds) or not all(0 <= seed <= HIGHEST_SEED for seed in seeds):
        raise UserError(f"--seeds is {list(seeds)}: give at least one, each once, from 0 to {HIGHEST_SEED}")
    if not config.training.rounds:
        raise UserError("an ablation has at least one round (--training.rounds 1)")
    if not config.objective.gamma:
        raise UserError("an ablation compares --objective.gamma with 0: set it above 0")
    return command


def job(arguments: Sequence[str]) -> None:
    """Parse, check, and run or show what would run."""
    command = parse(arguments)
    check(command.config)
    dataset = datasets.load(command.config.data)
    if command.dry_run:
        show_plan(command, dataset)
    else:
        run(command, dataset)


def run(command: Command, dataset: datasets.Dataset) -> None:
    """Run all models with all seeds on Ray, and show the table."""
    from flat_dist.pipeline import results
    from flat_dist.pipeline.stages import Environment
    from flat_dist.runtime import cluster
    from flat_dist.sweep import ablation_output as output
    from flat_dist.sweep.ablation_run import Ablation
    from flat_dist.tracking.tracker import NoTracker

    config, found = command.config, []
    mlflow.check_server(config)
    with cluster.connected(), Display(as_json=command.json) as display:
        config, hardware_said = hardware.resolve(config, cluster.machine(config.hardware, display.log_line))
        for line in (hardware_said, *datasets.describe(dataset), *hints(config, dataset)):
            display.log_line(line)
        identity = {"ablation": run_folder.identity(config, dataset.fingerprint), "seeds": list(command.seeds)}
        name = config.run_name or f"ablation-{run_folder.name_of(config, identity)}"
        folder = Folder(config.storage) / name
        run_folder.open_folder(folder, identity)
        page = output.AblationPage(f"Ablation of {config.model.name} on {dataset.source}", _facts(config, dataset))
        with (
            exclusive_lock(folder, "this ablation", log_line=display.log_line),
            mlflow.tracked(config, name, identity, folder, display.log_line) as tracker,
        ):
            environment = Environment(Folder(config.storage), NoTracker(), display)
            done = []
            for one in Ablation(config, dataset, command.seeds, environment).run():
                done.append(one)
                found = output.publish(folder, page, done, config.seed, tracker)
    results.print_server(config)
    output.show(found, folder)
    if command.json:
        cli.print_json({"run": folder.uri, "rows": [asdict(row) for row in found]})


def _facts(config: Config, dataset: datasets.Dataset) -> dict[str, str]:
    return {
        "data": dataset.source,
        "data fingerprint": dataset.fingerprint,
        "model": config.model.name,
        "attack in training": config.attack.name,
        "rounds": str(config.training.rounds),
        "measured on": f"{config.evaluation.split}, {config.evaluation.sample or 'all'} texts attacked",
    }


def show_plan(command: Command, dataset: datasets.Dataset) -> None:
    """Print the models and the seeds."""
    rows = [{"model": one.name, "training": one.training, "changes": dict(one.changes)} for one in variants(0.0)]
    rows[2]["changes"] = {"training.word_dropout": "the share of words that FLAT's masks drop"}
    if command.json:
        cli.print_json({"models": rows, "seeds": list(command.seeds)})
        return
    print(*datasets.describe(dataset), *hints(command.config, dataset), sep="\n")
    print(*(f"{number}. {json.dumps(row, ensure_ascii=False)}" for number, row in enumerate(rows, 1)), sep="\n")
    print(f"seeds: {', '.join(map(str, command.seeds))}")


if __name__ == "__main__":
    cli.main(job)
