"""Measurements: the attack engine against stock TextAttack, and the memory of an attack worker.

The victim is trained for the purpose, for a few epochs, unless a checkpoint is given.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

import tyro

from flat_dist import bench, cli
from flat_dist.config import AttackConfig, DataConfig, UserError, validate
from flat_dist.data import datasets
from flat_dist.data.storage import Folder
from flat_dist.models import checkpoint as checkpoints
from flat_dist.progress import Display


@dataclass(frozen=True)
class Shared:
    """What every measurement takes."""

    recipe: str = "textfooler"
    """Attack: textfooler or pwws."""
    model: str = "cnn"
    """Architecture of the victim: cnn or lstm."""
    examples: int = 200
    """Texts to attack."""
    checkpoint: str | None = None
    """Folder of a victim to take instead of training one; `model` is then its own."""
    seed: int = 1111
    """Seed of the victim and of the choice of texts."""
    json: bool = False
    """Print one JSON object, instead of a line for each value."""
    data: DataConfig = field(default_factory=DataConfig)
    attack: AttackConfig = field(default_factory=AttackConfig)


@dataclass(frozen=True)
class Attack(Shared):
    """The attack engine against stock TextAttack, in turns, one core each."""

    stock_encoder: Literal["package", "ours"] = "package"
    """Stock's sentence encoder: the NumPy code that its weights come with, or this project's, which is faster."""


@dataclass(frozen=True)
class Memory(Shared):
    """Resident memory of one attack worker over many examples, all of them different."""

    examples: int = 20000
    """Texts to attack; halves of texts are joined where the data has fewer."""


Command = Annotated[Attack, tyro.conf.subcommand("attack")] | Annotated[Memory, tyro.conf.subcommand("memory")]


def job(arguments: Sequence[str]) -> None:
    """Parse, build, measure."""
    command: Shared = tyro.cli(Command, args=list(arguments), description=__doc__)
    preset = cli.load_preset(cli.DEFAULT_PRESET)
    model, attack = replace(preset.model, name=command.model), replace(command.attack, name=command.recipe)
    config = replace(preset, data=command.data, model=model, attack=attack, seed=command.seed)
    validate(config)
    if command.examples < 1:
        raise UserError(f"--examples is {command.examples}, but must be at least 1")
    dataset = datasets.load(config.data)
    with Display() as display:
        given = command.checkpoint and checkpoints.load(Folder(command.checkpoint))
        victim = given or bench.victim(config, dataset, display)
        if isinstance(command, Attack):
            measured = bench.attack(config, dataset, victim, command.examples, command.stock_encoder, display)
        else:
            measured = bench.memory(config, dataset, victim, command.examples, display)
    cli.print_json(measured) if command.json else print(*(f"{key}: {measured[key]}" for key in measured), sep="\n")


if __name__ == "__main__":
    cli.main(job)
