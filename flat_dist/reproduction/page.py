"""The page of the results, and the part of it that the README shows. Both depend on the cards and pictures alone."""

import shlex
import textwrap
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import product

from flat_dist.report.formatting import DASH, percent
from flat_dist.report.formatting import fixed as decimal
from flat_dist.report.formatting import significant as digits
from flat_dist.report.paper import DATASETS, MODELS
from flat_dist.report.table import Table
from flat_dist.reproduction.cards import Card
from flat_dist.reproduction.cells import RECIPES, USES
from flat_dist.reproduction.claims import CLAIMS, Claim, Count, Difference, count, count_published, difference
from flat_dist.reproduction.records import markdown, records
from flat_dist.reproduction.sections import SECTIONS, SUMMARY

PAGE = "README.md"
"""File of the page in the folder of the results."""

FIGURES = "figures"
"""Folder of the pictures in that of the results."""

WIDTH = 120

HEAD_ROWS = 6
"""Rows of the summary that the README shows."""

Groups = Mapping[tuple[str, ...], Sequence[Card]]
"""The cards of all seeds, by use, dataset, model, attack and recipe."""

ABOUT = (
    "Measured numbers beside those of the paper (Chen & Ji, AAAI 2022). Each cell has three recipes: *released*, the "
    "authors’ code, option by option; *paper*, the paper’s text; *ours*, substitutes that the gradient chooses in each "
    "step of training. Columns *published* have the paper’s numbers. Numbers are means over seeds, with the lowest and "
    "the highest in brackets. An attack first sees probabilities, then margins; the worse outcome of a text counts. "
    "Attacks use stand-ins for some resources of TextAttack; each card lists them."
)


def grouped(cards: Iterable[Card]) -> Groups:
    """The cards by group, in the order of the uses and of the cards."""
    found: dict[tuple[str, ...], list[Card]] = {}
    uses = list(USES)
    for card in sorted(cards, key=lambda card: uses.index(card.cell.use)):
        found.setdefault(card.cell.group, []).append(card)
    return found


def page(cards: Sequence[Card], pictures: Collection[str]) -> str:
    """The page as Markdown.

    Args:
        cards: all cards.
        pictures: names of the files in `FIGURES`.
    """
    groups, found = grouped(cards), records(_in_order(cards))
    parts = ["# Reproduction of the paper", *_wrapped(ABOUT), *_wrapped(provenance(cards))]
    parts += [*([commands(cards)] if cards else []), "## Claims", *_claims(groups)]
    for section in SECTIONS:
        table = section.shown.table(found)
        if table.rows:
            parts += [f"## {section.title}", *_wrapped(section.about), markdown(table).rstrip()]
    parts += _pictures(pictures)
    parts += ["## Cells", *_wrapped(COVERAGE), markdown(_coverage(groups)).rstrip()]
    return "\n\n".join(parts) + "\n"


def _in_order(cards: Sequence[Card]) -> list[Card]:
    return [card for own in grouped(cards).values() for card in own]


def _wrapped(text: str) -> list[str]:
    return [textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)] if text else []


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


def _claims(groups: Groups) -> list[str]:
    """How often the paper's claims hold, over cells and in each of them."""
    main = {key: cards for key, cards in groups.items() if key[0] == "main"}
    differences = {(claim, key): difference(claim, cards) for claim in CLAIMS for key, cards in main.items()}
    recipes = [recipe for recipe in RECIPES if any(key[4] == recipe for key in main)]
    rows = []
    for claim in CLAIMS:
        row = [f"FLAT’s {claim.title}", _of(count_published(claim))]
        for recipe in recipes:
            keys = [key for key in main if key[4] == recipe]
            same = count_published(claim, [(dataset, model, attack) for _, dataset, model, attack, _ in keys])
            row += [_of(same), _measured(count(claim, [differences[claim, key] for key in keys]))]
        rows.append(row)
    head = ["claim", "published, all cells"]
    for recipe in recipes:
        head += [f"published, cells of {recipe}", f"{recipe}: holds; certain; p < 0.05"]
    about = (
        "In how many cells of Tables 2, 3 and 8 a claim holds. *certain*: the 95 % interval over seeds and texts "
        "excludes a difference that breaks the claim; *p < 0.05*: it holds, and the exact test (McNemar; of "
        "explanations, the sign test) says so in every seed. Consistency is over the texts that the attack changed for "
        "both models."
    )
    parts = [*_wrapped(about), markdown(Table(head, rows)).rstrip()]
    return parts + (["### Differences", markdown(_differences(main, differences)).rstrip()] if main else [])


def _of(found: Count) -> str:
    return f"{found.holds} of {found.of}" if found.of else DASH


def _measured(found: Count) -> str:
    if not found.of:
        return DASH
    significant = DASH if found.significant is None else str(found.significant)
    return f"{found.holds} of {found.of}; {found.certain}; {significant}"


def _differences(main: Groups, known: Mapping[tuple[Claim, tuple[str, ...]], Difference | None]) -> Table:
    """FLAT minus adv and base in each cell."""
    rows = []
    for key, cards in main.items():
        _, dataset, model, attack, recipe = key
        for claim in CLAIMS:
            one = known[claim, key]
            if one is not None:
                title = f"{claim.title.replace(' above', ' minus').replace(' within one point of', ' minus')}"
                rows.append([DATASETS[dataset], MODELS[model], attack, recipe, title, *_difference(claim, one, cards)])
    return Table(("data", "model", "attack", "recipe", "FLAT’s", "difference", "p, by seed", "seeds"), rows, 5)


def _difference(claim: Claim, one: Difference, cards: Sequence[Card]) -> list[str]:
    to_text = percent if claim.quantity in ("accuracy", "after_attack") else decimal
    interval = f"{to_text(one.interval.low)} to {to_text(one.interval.high)}"
    return [f"{to_text(one.mean)} ({interval})", ", ".join(map(digits, one.p_values)), str(len(cards))]


def _pictures(names: Collection[str]) -> list[str]:
    parts = ["## Figures"] if names else []
    for number, (mark, title) in FIGURE_TITLES.items():
        own = [name for name in sorted(names) if mark in name]
        if own:
            parts += [f"### Figure {number}: {title}"]
            parts += [f"![{name.removesuffix('.png')}]({FIGURES}/{name})" for name in own]
    return parts


FIGURE_TITLES = {
    4: ("-scatter-", "importance, word frequency and substitution frequency"),
    5: ("-spread", "difference of importance between words and their synonyms"),
    6: ("-top-k-", "top-k intersection by k"),
}
"""Part of the names of the pictures, and title, by the number of the paper's figure."""

COVERAGE = (
    "Number of seeds that were run. A dash: not run. BERT and DeBERTa need their weights and a GPU, and Table 10 is no "
    "part of the command."
)


def _coverage(groups: Groups) -> Table:
    """The number of seeds of each cell of the paper."""
    rows = []
    for use, entry in USES.items():
        models = tuple(MODELS) if use in ("main", "transfer") else entry.models
        title = f"{', '.join(entry.tables)}"
        for dataset, model, attack in product(entry.datasets, models, entry.attacks):
            counts = [len(groups.get((use, dataset, model, attack, recipe), ())) for recipe in RECIPES]
            numbers = [str(number) if number else DASH for number in counts]
            rows.append([title, DATASETS[dataset], MODELS[model], attack, *numbers])
    return Table(("tables", "data", "model", "attack", *RECIPES), rows, 4)


def readme(cards: Sequence[Card]) -> str:
    """The part of the page that the README shows: the head of the summary, and what made it."""
    table = SUMMARY.table(records(_in_order(cards)))
    head = Table(table.header, table.rows[:HEAD_ROWS], table.text_columns)
    parts = [markdown(head).rstrip()] if head.rows else []
    parts += _wrapped(provenance(cards)) + ([commands(cards)] if cards else [])
    return "\n\n".join(parts)
