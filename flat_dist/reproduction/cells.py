"""The cells of a reproduction: which models are trained and measured for which tables of the paper, and beside it."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from flat_dist.config.errors import UserError
from flat_dist.config.schema import Training

Use = Literal["main", "ablation", "transfer", "words", "groups", "growing"]
"""What a cell measures. A use has the tables and figures of `USES`."""

TableNumber = Literal["2", "3", "4", "5", "7", "8", "9", "10"]
"""Tables of the paper."""
TableName = Literal[TableNumber, "growing"]
"""What can be asked for. growing is no table of the paper: after-attack accuracy by rounds of training, and beside it
that of substitutes on the fly."""

Model = Literal["cnn", "lstm"]
DatasetName = Literal["sst2", "trec", "ag_news", "imdb", "customer_reviews"]
TrainingAttack = Literal["textfooler", "pwws"]
Recipe = Literal["released", "paper", "ours"]

RECIPES: tuple[Recipe, ...] = ("released", "paper", "ours")
TRAININGS: tuple[Training, ...] = ("base", "adv", "flat")
TABLE_10: Mapping[str, int] = {"base": 0, **{f"groups-{groups}": groups for groups in (10, 20, 30, 40, 50)}}
"""The models of the paper's Table 10, and base: number of groups of words that share a mask."""

FIRST_SEED = 1111
"""Seed of the released code; the others follow it."""


@dataclass(frozen=True)
class UseEntry:
    """What the tables of a use are about."""

    tables: tuple[TableName, ...]
    figures: tuple[str, ...]
    models: tuple[Model, ...] = ("cnn", "lstm")
    """Models that the paper's tables have."""
    datasets: tuple[DatasetName, ...] = ("sst2",)
    attacks: tuple[TrainingAttack, ...] = ("textfooler",)
    """Attacks in training."""
    recipes: tuple[Recipe, ...] = RECIPES

    @property
    def of_the_paper(self) -> bool:
        """Whether the paper has these tables."""
        return set(self.tables) <= set(get_args(TableNumber))


USES: Mapping[Use, UseEntry] = {
    "main": UseEntry(
        ("2", "3", "7", "8"), ("6",), datasets=("sst2", "trec", "ag_news", "imdb"), attacks=("textfooler", "pwws")
    ),
    "ablation": UseEntry(("5",), ("5",), models=("lstm",)),
    "transfer": UseEntry(("4",), ()),
    "words": UseEntry(("9",), ("4",), models=("lstm",)),
    "groups": UseEntry(("10",), (), models=("cnn",), datasets=("ag_news",)),
    "growing": UseEntry(("growing",), (), models=("cnn",), datasets=("customer_reviews", "sst2"), recipes=("ours",)),
}
"""The tables and figures by use, in the order in which they are run."""


@dataclass(frozen=True)
class Cell:
    """Models that are trained and measured together; one card."""

    use: Use
    dataset: DatasetName
    model: Model
    attack: TrainingAttack
    """The attack in training."""
    recipe: Recipe
    seed: int

    @property
    def name(self) -> str:
        """Name of its card."""
        return "-".join((*self.group, str(self.seed)))

    @property
    def group(self) -> tuple[str, ...]:
        """What the seeds of a cell have in common."""
        return self.use, self.dataset, self.model, self.attack, self.recipe


@dataclass(frozen=True)
class Selection:
    """The part of the paper to reproduce."""

    tables: Sequence[TableName]
    models: Sequence[Model]
    datasets: Sequence[DatasetName]
    attacks: Sequence[TrainingAttack]
    recipes: Sequence[Recipe]
    seeds: int
    """Number of seeds of each cell, from `FIRST_SEED` on."""

    def cells(self) -> list[Cell]:
        """The cells, in the order in which they are run.

        If all tables are selected, those without a selected model, dataset and attack are left out.

        Raises:
            UserError: nothing is selected, a value is there twice, or one of some tables has no model, dataset, attack
                and recipe of those that are selected.
        """
        self._check()
        all_tables = set(self.tables) == set(get_args(TableNumber))
        found = []
        for use, entry in USES.items():
            tables = [table for table in entry.tables if table in self.tables]
            of_use = [
                [value for value in selected if value in known]
                for selected, known in (
                    (self.datasets, entry.datasets),
                    (self.models, entry.models),
                    (self.attacks, entry.attacks),
                    (self.recipes, entry.recipes),
                )
            ]
            if tables and not all(of_use) and not all_tables:
                recipe = "" if entry.recipes == RECIPES else f" by the recipe {_listed(entry.recipes)}"
                raise UserError(
                    f"--tables {tables[0]} is about {_listed(entry.models)} on {_listed(entry.datasets)}, trained "
                    f"against {_listed(entry.attacks)}{recipe}: add these to --models, --datasets, --attacks and "
                    "--recipes, or leave the table out"
                )
            if tables and all(of_use):
                seeds = range(FIRST_SEED, FIRST_SEED + self.seeds)
                found += [Cell(use, *point) for point in itertools.product(*of_use, seeds)]  # type: ignore[arg-type]
        if not found:
            raise UserError(
                f"no table of the paper is about {_listed(self.datasets)}: name another dataset, or --tables growing"
            )
        return found

    def _check(self) -> None:
        lists = {
            "--tables": self.tables,
            "--models": self.models,
            "--datasets": self.datasets,
            "--attacks": self.attacks,
            "--recipes": self.recipes,
        }
        for name, values in lists.items():
            if not values or len(set(values)) < len(values):
                raise UserError(f"{name} is {', '.join(values) or 'empty'}: name at least one value, each once")
        if not 1 <= self.seeds <= 1000:
            raise UserError(f"--seeds is {self.seeds}, but must be from 1 to 1000: it is the number of seeds")


def _listed(values: Sequence[str]) -> str:
    return " or ".join(values)
