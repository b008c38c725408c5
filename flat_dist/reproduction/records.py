"""The numbers of all cards as flat records, and tables of them with the paper's numbers beside."""

import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from flat_dist.report.formatting import DASH
from flat_dist.report.paper import DATASETS, MODELS
from flat_dist.report.table import Table
from flat_dist.reproduction.cards import Attacked, Card, Trained
from flat_dist.reproduction.cells import RECIPES, Use

Values = Mapping[str, float | None]


@dataclass(frozen=True)
class Record:
    """One model under one attack, or one correlation; of one seed."""

    use: Use
    labels: tuple[str, ...]
    """Text columns of the row: dataset, model, attack on test texts, attack in training, and training; of a
    correlation, its pair in the place of the last."""
    recipe: str
    values: Values
    published: Values


def records(cards: Iterable[Card]) -> list[Record]:
    """All records, in the order of the cards."""
    found = []
    for card in cards:
        cell, recipe = card.cell, card.cell.recipe
        place = DATASETS[cell.dataset], MODELS[cell.model]
        for training, trained in card.measured.trainings.items():
            for attack, attacked in trained.attacks.items():
                labels = (*place, attack, cell.attack, training)
                found.append(Record(cell.use, labels, recipe, _values(trained, attacked), _published(attacked)))
        for pair, one in card.measured.correlations.items():
            labels = (*place, cell.attack, cell.attack, pair)
            values: Values = {"r": one.r, "p": one.p, "words": one.n}
            found.append(Record(cell.use, labels, recipe, values, {"r": one.paper_r, "p": one.paper_p}))
    return found


def _values(trained: Trained, attacked: Attacked) -> Values:
    found: dict[str, float | None] = {
        "accuracy": trained.accuracy,
        "dev_accuracy": trained.dev_accuracy,
        "after_attack": attacked.after_attack_accuracy,
        "probabilities": attacked.probabilities,
        "saturated": attacked.saturated,
        "rounding": attacked.decided_by_rounding,
        "failed_unchanged": attacked.failed_unchanged,
    }
    for method, one in attacked.explained.items():
        found |= {
            f"tau_{method}": one.kendall_tau,
            f"all_tau_{method}": one.all_kendall_tau,
            f"top_5_{method}": one.top_5,
            f"all_top_5_{method}": one.all_top_5,
        }
    return found


def _published(attacked: Attacked) -> Values:
    paper = attacked.paper
    return {
        "accuracy": paper.accuracy,
        "dev_accuracy": paper.dev_accuracy,
        "after_attack": paper.after_attack_accuracy,
        **{f"all_tau_{method}": value for method, value in paper.kendall_tau.items()},
        **{f"all_top_5_{method}": value for method, value in paper.top_5.items()},
    }


@dataclass(frozen=True)
class Column:
    """A number that a table shows for each recipe."""

    key: str
    """Name in `Record.values`."""
    to_text: Callable[[float | None], str]
    heading: str = ""
    """Follows the name of the recipe."""


@dataclass(frozen=True)
class Shown:
    """A table: a row for each model and attack; the paper's number, and those of each recipe."""

    use: Use
    columns: Sequence[Column]
    labels: Mapping[int, str]
    """Text columns that are shown: heading by place in `Record.labels`."""
    published: Sequence[Column] = ()
    """Columns of the paper's numbers."""

    def table(self, found: Iterable[Record]) -> Table:
        """The table of the records of the use; without rows if there are none."""
        own = [record for record in found if record.use == self.use]
        recipes = [recipe for recipe in RECIPES if any(record.recipe == recipe for record in own)]
        rows: dict[tuple[str, ...], list[Record]] = {}
        for record in own:
            rows.setdefault(tuple(record.labels[place] for place in self.labels), []).append(record)
        head = [
            *self.labels.values(),
            *(f"published{column.heading}" for column in self.published),
            *(f"{recipe}{column.heading}" for recipe in recipes for column in self.columns),
        ]
        table = [self._row(labels, of, recipes) for labels, of in rows.items()]
        count = len(self.labels)
        return Table(head, [row for row in table if any(cell != DASH for cell in row[count:])], count)

    def _row(self, labels: tuple[str, ...], own: Sequence[Record], recipes: Sequence[str]) -> list[str]:
        cells = [*labels, *(column.to_text(own[0].published.get(column.key)) for column in self.published)]
        for recipe in recipes:
            of_recipe = [record for record in own if record.recipe == recipe]
            cells += [over_seeds([one.values.get(column.key) for one in of_recipe], column) for column in self.columns]
        return cells


def over_seeds(values: Sequence[float | None], column: Column) -> str:
    """The mean over seeds, with the lowest and the highest of several; a dash unless every seed has the number."""
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return DASH
    mean = column.to_text(sum(known) / len(known))
    if len(known) == 1:
        return mean
    return f"{mean} ({column.to_text(min(known))} to {column.to_text(max(known))})"


def markdown(table: Table) -> str:
    """A table as Markdown."""
    head = [name.replace("\n", " ") for name in table.header]
    rule = ["---"] * table.text_columns + ["---:"] * (len(head) - table.text_columns)
    return "".join(f"| {' | '.join(line)} |\n" for line in [head, rule, *table.rows])


WIDTH = 120
"""Maximum length of a line that is no table."""


def wrapped(text: str) -> list[str]:
    """A paragraph in lines of at most `WIDTH` letters; nothing for an empty text."""
    return [textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)] if text else []
