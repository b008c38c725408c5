"""Measurements: attacks against stock TextAttack, how they scale, an attack worker's memory, training against a plain
loop, GPU memory, explanations against captum and lime.

A victim is trained for the purpose, for a few epochs, unless a checkpoint is given.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import subcommand

import flat_dist.start  # noqa: F401, before the imports that take long
from flat_dist import bench, bench_interpret, bench_scale, bench_training, cli
from flat_dist.config import AttackConfig, Config, DataConfig, EvaluationConfig, UserError, validate
from flat_dist.progress import Display


@dataclass(frozen=True)
class Shared:
    """What every measurement takes."""

    preset: str = cli.DEFAULT_PRESET
    """Data, model and training, such as minilm; several with commas between."""
    model: str | None = None
    """Architecture, instead of the preset's; bert has random weights where the hub cannot be reached."""
    examples: int = 200
    """Texts to attack, or to train on in an epoch."""
    hardware: str = "auto"
    """What it runs on: cpu, gtx1080, a100, h100, or auto."""
    seed: int = 1111
    """Seed of the model and of the choice of texts."""
    json: bool = False
    """Print one JSON object, instead of a line for each value."""
    recipe: str = "textfooler"
    """Attack: textfooler or pwws."""
    checkpoint: str | None = None
    """Folder of a victim to attack, instead of training one; `model` is then its own."""
    data: DataConfig | None = None
    """Texts, instead of the preset's."""
    attack: AttackConfig = field(default_factory=AttackConfig)


@dataclass(frozen=True)
class Attack(Shared):
    """The attack engine against stock TextAttack, in turns, one core each, or on the same GPU."""

    stock_encoder: Literal["auto", "package", "ours"] = "auto"
    """Stock's sentence encoder: the NumPy code that its weights come with (auto: on a CPU), or this project's, which is
    faster (auto: on a GPU)."""


@dataclass(frozen=True)
class Memory(Shared):
    """Resident memory of one attack worker over many examples, all of them different."""

    examples: int = 20000
    """Texts to attack; halves of texts are joined where the data has fewer."""


@dataclass(frozen=True)
class Scale(Shared):
    """One attack worker against two, in turns; how evenly they end; and what the pool costs its driver, with workers
    that do nothing."""

    examples: int = 2000
    """Texts to attack in a turn."""
    planned: int = 5_000_000
    """Examples that workers do nothing with."""
    in_flight: tuple[int, ...] = (1, 10, 100, 1000)
    """How many such workers there are; a measurement for each number."""


@dataclass(frozen=True)
class Train(Shared):
    """Training under Ray Train against a plain PyTorch loop on the same model, in turns."""

    preset: str = "minilm"
    examples: int = 480


@dataclass(frozen=True)
class Peak(Shared):
    """Peak GPU memory of training with texts of the greatest length, against the planner's estimate."""

    preset: str = "transformer"
    hardware: str = "gtx1080"
    length: int = 250
    """Pieces of each text (paper, Table 6: IMDB)."""
    limit_gib: float = 8.0
    """GPU memory that the process may take."""


@dataclass(frozen=True)
class Interpret(Shared):
    """Explaining pairs, spread over Ray, against loops over captum and lime, in turns; a line for each method."""

    method: tuple[Literal["ig", "lime"], ...] = ("ig", "lime")
    """Integrated gradients, LIME."""
    evaluation: EvaluationConfig | None = None
    """Settings of the interpretations, instead of the preset's."""


Command = (
    Annotated[Attack, subcommand("attack")]
    | Annotated[Scale, subcommand("scale")]
    | Annotated[Memory, subcommand("memory")]
    | Annotated[Train, subcommand("train")]
    | Annotated[Peak, subcommand("peak")]
    | Annotated[Interpret, subcommand("interpret")]
)


def job(arguments: Sequence[str]) -> None:
    """Parse, build, measure."""
    command: Shared = tyro.cli(Command, args=list(arguments), description=__doc__)
    if command.examples < 1:
        raise UserError(f"--examples is {command.examples}, but must be at least 1")
    preset = cli.load_preset(command.preset)
    config = replace(
        preset,
        data=command.data or preset.data,
        model=replace(preset.model, name=command.model or preset.model.name),
        attack=replace(command.attack, name=command.recipe),
        hardware=command.hardware,
        seed=command.seed,
    )
    validate(config)
    with Display() as display:
        for measured in measure(command, config, display):
            if command.json:
                cli.print_json(measured)
            else:
                print(*(f"{key}: {measured[key]}" for key in measured), sep="\n")


def measure(command: Shared, config: Config, display: Display) -> Iterator[dict[str, Any]]:
    """The measurements that were asked for."""
    if isinstance(command, Scale):
        yield bench_scale.measure(
            config, command.checkpoint, command.examples, command.planned, command.in_flight, display
        )
    elif isinstance(command, Train):
        yield bench_training.measure(config, command.examples, display)
    elif isinstance(command, Peak):
        yield bench.peak(config, command.length, command.limit_gib)
    elif isinstance(command, Memory):
        yield bench.memory(config, command.checkpoint, command.examples, display)
    elif isinstance(command, Interpret):
        config = replace(config, evaluation=command.evaluation or config.evaluation)
        for method in command.method:
            yield bench_interpret.compare(config, command.checkpoint, command.examples, method, display)
    else:
        encoder = command.stock_encoder if isinstance(command, Attack) else "auto"
        yield bench.attack(config, command.checkpoint, command.examples, encoder, display)


if __name__ == "__main__":
    cli.main(job)
