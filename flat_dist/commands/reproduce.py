"""Reproduce the paper's tables and figures: train, attack and measure its cells, with its numbers beside.

A cell is a dataset, a model, an attack in training, a recipe and a seed; it holds base, adv and FLAT. Each finished
cell becomes a JSON card in the folder of the results, and the page there is written again. Running the same command
again runs only the cells without a current card, and no finished step of them, so that the work may spread over days
and machines. Figures come with their tables: 4 with Table 9, 5 with Table 5, 6 with Table 3.

  flat-dist reproduce --dry-run --data path/to --datasets sst2
  flat-dist reproduce --data path/to --models cnn --datasets sst2 --attacks textfooler --tables 2,3,7,8
  flat-dist reproduce --data path/to --recipes ours --seeds 1 --datasets sst2
  flat-dist reproduce --tables growing --datasets customer_reviews

Recipes: released (the authors' code, option by option), paper (the paper's text), ours (substitutes that the gradient
chooses in each step). --data is a folder with a folder for each dataset, such as path/to/sst2/train.csv.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import get_args

from flat_dist.config.options import CommandLine
from flat_dist.config.schema import Hardware
from flat_dist.reproduction.cells import (
    RECIPES,
    DatasetName,
    Model,
    Recipe,
    Selection,
    TableName,
    TableNumber,
    TrainingAttack,
)
from flat_dist.reproduction.job import Reproduction
from flat_dist.reproduction.plan import Order
from flat_dist.reproduction.recipes import Measures
from flat_dist.storage.folder import Folder

SCRIPT = "python jobs/reproduce.py"

DATA = "FOLDER"
"""Stands for the user's folder in the command that cards name."""


@dataclass(frozen=True)
class Command:
    """What to reproduce."""

    tables: tuple[TableName, ...] = get_args(TableNumber)
    """Tables of the paper. 2, 3, 7 and 8 are measured together; 4 is about SST-2, 5 and 9 about an LSTM on SST-2, 10
    about a CNN on AG News. By default, all tables about the models, datasets and attacks that are named. growing, which
    is no table of the paper: a CNN on SST-2 or on the built-in customer_reviews, after each of many rounds."""
    models: tuple[Model, ...] = ("cnn", "lstm")
    """Models of the cells."""
    datasets: tuple[DatasetName, ...] = ("sst2", "trec")
    """Datasets of the cells."""
    attacks: tuple[TrainingAttack, ...] = ("textfooler", "pwws")
    """Attacks in training."""
    recipes: tuple[Recipe, ...] = RECIPES
    """How the models are trained: released, paper, ours."""
    seeds: int = 3
    """Number of seeds of each cell: 1111, 1112, and so on."""
    data: str | None = None
    """Folder that has a folder for each dataset, with train, dev and test files. None: the Hugging Face hub."""
    sample: int = 0
    """Test texts that the attack in training gets, drawn by the seed. 0: all."""
    transfer_sample: int = Measures.transfer_sample
    """Test texts that each attack of Table 4 gets, drawn by the seed. 0: all, which takes hours for each cell."""
    pairs: int = Measures.pairs
    """Pairs of each model to explain with each method, drawn by the seed. 0: all. With fewer, there may be no mean over
    all texts, as the paper has it."""
    rounds: int = Measures.rounds
    """Rounds of `--tables growing`: in each, all training texts are attacked."""
    storage: str = "runs"
    """Folder for the finished steps; an absolute path when run by `ray job submit`."""
    results: str = "docs/results"
    """Folder for cards, page and pictures."""
    readme: str | None = None
    """A Markdown file: its table between the lines <!-- reproduction --> and <!-- end of reproduction --> is replaced
    by that of the cards, and nothing is run."""
    hardware: Hardware = "auto"
    """Hardware profile: cpu, gtx1080, a100, h100, or auto: the cluster's GPUs if it has any, else its CPUs."""
    dry_run: bool = False
    """Print the cells with the expected hours, and exit."""
    json: bool = False
    """Print one JSON object as the last line of standard output."""


def job(arguments: Sequence[str]) -> None:
    """Parse, build, and run or show the plan."""
    command = CommandLine(Command, arguments).read(str(__doc__))
    reproduction = Reproduction(order_of(command), line_of(command), command.json)
    if command.dry_run:
        reproduction.show_plan()
    elif command.readme is not None:
        from flat_dist.reproduction.publish import update_readme

        update_readme(Path(command.readme), Folder(command.results))
    else:
        reproduction.run()


def order_of(command: Command) -> Order:
    """What a command asks for."""
    selection = {field.name: getattr(command, field.name) for field in fields(Selection)}
    measures = {field.name: getattr(command, field.name) for field in fields(Measures)}
    return Order(
        Selection(**selection),
        Measures(**measures),
        command.data,
        command.storage,
        command.results,
        command.hardware,
    )


def line_of(command: Command) -> str:
    """The command line that asks for the same cells, for cards: without what changes no number."""
    words = []
    for name in (field.name for kind in (Selection, Measures) for field in fields(kind)):
        value = getattr(command, name)
        if name in ("tables", "models", "datasets", "attacks", "recipes", "seeds") or value != getattr(Command, name):
            text = ",".join(value) if isinstance(value, tuple) else str(value)
            words += [f"--{name.replace('_', '-')}", text]
    given = ["--data", DATA] if command.data is not None else []
    return f"{SCRIPT} {shlex.join([*words, *given])}"
