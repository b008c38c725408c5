"""The page of the results, and the part of it that the README shows. Both depend on the cards and pictures alone."""

import shlex
from collections.abc import Collection, Iterable, Sequence
from itertools import product

from flat_dist.report.formatting import DASH
from flat_dist.report.paper import DATASETS, MODELS
from flat_dist.report.table import Table
from flat_dist.reproduction.cards import Card
from flat_dist.reproduction.cells import RECIPES, USES
from flat_dist.reproduction.claim_tables import Groups, claim_parts
from flat_dist.reproduction.growing_page import growing_parts, growing_readme
from flat_dist.reproduction.records import WIDTH, markdown, records, wrapped
from flat_dist.reproduction.sections import SECTIONS, SUMMARY

PAGE = "README.md"
"""File of the page in the folder of the results."""

FIGURES = "figures"
"""Folder of the pictures in that of the results."""

RESULTS = "docs/results"
"""Folder of the results, as the README names it."""

HEAD_ROWS = 6
"""Rows of the summary that the README shows."""

ABOUT = (
    "Measured numbers beside those of the paper (Chen & Ji, AAAI 2022). Each cell has three recipes: *released*, the "
    "authors’ code, option by option; *paper*, the paper’s text; *ours*, substitutes that the gradient chooses in each "
    "step of training. Columns *published* have the paper’s numbers. Numbers are means over seeds, with the lowest and "
    "the highest in brackets. An attack first sees probabilities, then margins; the worse outcome of a text counts. "
    "Attacks use stand-ins for some resources of TextAttack; each card lists them."
)


def grouped(cards: Iterable[Card]) -> Groups:
    """The cards by group, in the order in which cells are run."""
    found: dict[tuple[str, ...], list[Card]] = {}
    for card in sorted(cards, key=_place):
        found.setdefault(card.cell.group, []).append(card)
    return found


def _place(card: Card) -> tuple[int, ...]:
    """What cards are sorted by."""
    cell = card.cell
    entry = USES[cell.use]
    values = (
        (USES, cell.use),
        (entry.datasets, cell.dataset),
        (entry.models, cell.model),
        (entry.attacks, cell.attack),
        (RECIPES, cell.recipe),
    )
    return (*(list(known).index(value) for known, value in values), cell.seed)


def page(cards: Sequence[Card], pictures: Collection[str]) -> str:
    """The page as Markdown.

    Args:
        cards: all cards.
        pictures: names of the files in `FIGURES`.
    """
    groups, found = grouped(cards), records(_of_the_paper(cards))
    parts = ["# Reproduction of the paper", *wrapped(ABOUT), *wrapped(provenance(cards))]
    parts += [*([commands(cards)] if cards else []), "## Claims", *claim_parts(groups)]
    for section in SECTIONS:
        table = section.shown.table(found)
        if table.rows:
            parts += [f"## {section.title}", *wrapped(section.about), markdown(table).rstrip()]
    parts += [*_pictures(pictures), *growing_parts(groups, FIGURES)]
    parts += ["## Cells", *wrapped(COVERAGE), markdown(_coverage(groups)).rstrip()]
    return "\n\n".join(parts) + "\n"


def _of_the_paper(cards: Sequence[Card]) -> list[Card]:
    """The cards of the paper's tables, in their order."""
    return [card for own in grouped(cards).values() for card in own if USES[card.cell.use].of_the_paper]


def provenance(cards: Sequence[Card]) -> str:
    """What was run, for how long, where and with which commands, in one sentence or two."""
    if not cards:
        return "No cell has been run yet."
    machines = dict.fromkeys(f"{card.machine.processor}, {card.machine.cores} cores" for card in cards)
    machines |= dict.fromkeys(card.machine.gpu for card in cards if card.machine.gpu)
    dates = sorted(card.date for card in cards)
    more = " (more, because some cells were continued after an interruption)" if any(c.resumed for c in cards) else ""
    when = dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
    return (
        f"{len(cards)} card{'s' * (len(cards) > 1)}, {sum(card.hours for card in cards):.1f} hours{more} on "
        f"{'; '.join(filter(None, machines))}; {when}."
    )


def commands(cards: Sequence[Card]) -> str:
    """The commands that made the cards, as a block of code."""
    lines = [_folded(command) for command in dict.fromkeys(card.command for card in cards)]
    return "\n".join(["```text", *lines, "```"])


def _folded(command: str) -> str:
    """A command over several lines, none longer than `WIDTH`."""
    lines = [""]
    for word in shlex.split(command):
        if len(lines[-1]) + len(word) + 3 > WIDTH:
            lines.append("   ")
        lines[-1] += f" {word}" if lines[-1] else word
    return " \\\n".join(lines)


def _pictures(names: Collection[str]) -> list[str]:
    parts = []
    for number, (mark, title) in FIGURE_TITLES.items():
        own = [name for name in sorted(names) if mark in name]
        if own:
            parts += [f"### Figure {number}: {title}"]
            parts += [f"![{name.removesuffix('.png')}]({FIGURES}/{name})" for name in own]
    return ["## Figures", *parts] if parts else []


FIGURE_TITLES = {
    4: ("-scatter-", "importance, word frequency and substitution frequency"),
    5: ("-spread", "difference of importance between words and their synonyms"),
    6: ("-top-k-", "top-k intersection by k"),
}
"""Part of the names of the pictures, and title, by the number of the paper's figure."""

COVERAGE = (
    "Number of seeds that were run. A dash: not run. BERT and DeBERTa need their weights and a GPU, and are no part of "
    "the command."
)


def _coverage(groups: Groups) -> Table:
    """The number of seeds of each cell of the paper."""
    rows = []
    for use, entry in USES.items():
        if not entry.of_the_paper:
            continue
        models = tuple(MODELS) if use in ("main", "transfer") else entry.models
        title = f"{', '.join(entry.tables)}"
        for dataset, model, attack in product(entry.datasets, models, entry.attacks):
            counts = [len(groups.get((use, dataset, model, attack, recipe), ())) for recipe in RECIPES]
            numbers = [str(number) if number else DASH for number in counts]
            rows.append([title, DATASETS[dataset], MODELS[model], attack, *numbers])
    return Table(("tables", "data", "model", "attack", *RECIPES), rows, 4)


def readme(cards: Sequence[Card]) -> str:
    """The part of the page that the README shows: the head of the summary, what made it, and the first figure about
    growing data."""
    table = SUMMARY.table(records(_of_the_paper(cards)))
    head = Table(table.header, table.rows[:HEAD_ROWS], table.text_columns)
    parts = [markdown(head).rstrip()] if head.rows else []
    parts += wrapped(provenance(cards)) + ([commands(cards)] if cards else [])
    parts += growing_readme(grouped(cards), RESULTS, PAGE, FIGURES)
    return "\n\n".join(parts)
