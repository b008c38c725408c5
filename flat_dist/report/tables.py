"""The tables of the report's page: every number as it is printed."""

import csv
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Any

import numpy as np

from flat_dist.evaluation.consistency import KS
from flat_dist.evaluation.result import Result
from flat_dist.evaluation.word_importance import Replacement, Words, extremes
from flat_dist.report import paper
from flat_dist.report.figures import SCATTERS, curves_of
from flat_dist.report.formatting import DASH, fixed, percent, significant, standard_error
from flat_dist.report.summary_table import METHODS

if TYPE_CHECKING:
    from flat_dist.report.page import Importance, Page

EXTREMES = 20
"""Most and least important words that are shown, each."""

SEEN = 5
"""Occurrences in training that a word needs to be among them: importance of a rarer one is hardly learned."""

WORDS = 2000
"""Words that the table of the scatter plots holds, at most; words.csv holds all."""


@dataclass(frozen=True)
class Table:
    """A table."""

    header: Sequence[str]
    """Names of the columns; a line break in one is a line break on the page."""
    rows: Sequence[Sequence[str]]
    text_columns: int = 1
    """Columns, from the left, that hold words instead of numbers."""
    title: str = ""


def build_tables(page: "Page") -> dict[str, Table | list[Table]]:
    """The page's tables by the place that they take; those without rows are left empty."""
    words = page.importances[-1].words if page.importances else None
    return {
        "models": _models(page),
        "consistency": _consistency(page),
        "rounds": _rounds(page.rounds),
        "top_k": _top_k(by_attack(page.results)),
        "correlations": _correlations(page.importances),
        "words": _words(words, range(min(WORDS, len(words.words)))) if words else Table((), ()),
        "spread": _spread(page.importances),
        "extremes": _extremes(words) if words else [],
        "replacements": [_replacements(model, rows) for model, rows in page.replacements.items() if rows],
    }


def by_attack(results: Sequence[Result]) -> list[Result]:
    """Results under the attack that training saw first."""
    return sorted(results, key=lambda row: (not row.trained_on, row.attack))


def paper_note(page: "Page") -> str:
    """Which of the paper's numbers stand beside ours; empty where none do."""
    source = paper.source(page.dataset)
    if source is None or page.model not in paper.MODELS:
        return ""
    of, on = paper.MODELS[page.model], paper.DATASETS[source]
    trained_on = _trained_on(page)
    seen = f", trained against {trained_on}" if trained_on else ""
    note = f"Columns “paper, {on}” hold the paper’s {of} on {on}{seen} (Chen & Ji, AAAI 2022; Tables 2, 3, 4 and 8)."
    if source != page.dataset:
        note += f" The paper has no numbers for {page.dataset}; {on} is movie reviews too, but not the same ones."
    return note


def _trained_on(page: "Page") -> str | None:
    return next((row.attack for row in (*page.results, *page.rounds) if row.trained_on), None)


def _paper(page: "Page") -> tuple[str, Callable[[Result], paper.Numbers]]:
    """Heading of columns with the paper's numbers, and where to look them up."""
    source, trained_on = paper.source(page.dataset), _trained_on(page)

    def of(row: Result) -> paper.Numbers:
        return paper.numbers(page.dataset, page.model, row.training, row.attack, trained_on)

    return f"paper,\n{paper.DATASETS[source]}" if source else "paper", of


def _name(row: Result) -> str:
    return f"{row.attack}, unseen" if row.trained_on is False else row.attack


def _models(page: "Page") -> Table:
    heading, published = _paper(page)
    head = ("attack", "training", "accuracy, %", heading, "after\nattack, %", heading)
    rows = [
        (
            _name(row),
            row.training,
            _with_error(row.accuracy, page.texts),
            percent(published(row).accuracy),
            _with_error(row.after_attack_accuracy, row.n),
            percent(published(row).after_attack_accuracy),
            percent(row.attack_success_rate),
            fixed(row.mean_queries, 0),
            percent(row.words_changed),
            f"{row.n:,}",
        )
        for row in by_attack(page.results)
    ]
    return _known(Table((*head, "success, %", "queries", "words\nchanged, %", "n"), rows, text_columns=2), heading)


def _with_error(share: float | None, n: int) -> str:
    error = standard_error(share, n)
    return percent(share) if error is None else f"{percent(share)} ± {percent(error)}"


def _consistency(page: "Page") -> Table:
    heading, published = _paper(page)
    compared = ("attack", "training", "method", "Kendall’s τ", heading, "top-5", heading)
    rows = [
        (
            _name(row),
            row.training,
            METHODS.get(method, method),
            fixed(found.kendall_tau),
            fixed(published(row).kendall_tau.get(method)),
            fixed(found.top_5),
            fixed(published(row).top_5.get(method)),
            f"{found.pairs:,}",
            f"{found.undefined:,}",
            f"{found.unaligned:,}",
            significant(found.completeness_error),
        )
        for row in by_attack(page.results)
        for method, found in row.interpretations.items()
    ]
    head = (*compared, "pairs", "without τ", "unaligned", "completeness\nerror")
    return _known(Table(head, rows, text_columns=3), heading)


def _known(table: Table, heading: str) -> Table:
    """The table without those of the paper's columns that are empty."""
    kept = [
        column
        for column, name in enumerate(table.header)
        if name != heading or any(row[column] != DASH for row in table.rows)
    ]
    return Table([table.header[c] for c in kept], [[row[c] for c in kept] for row in table.rows], table.text_columns)


def _rounds(results: Sequence[Result]) -> Table:
    rows = [
        (
            row.training,
            str(row.round),
            percent(row.after_attack_accuracy),
            percent(standard_error(row.after_attack_accuracy, row.n)),
            percent(row.accuracy),
            f"{row.n:,}",
        )
        for row in results
    ]
    return Table(("training", "rounds", "after attack, %", "standard error", "accuracy, %", "n"), rows)


def _top_k(results: Sequence[Result]) -> Table:
    rows = [
        (attack, METHODS[method], training, *(fixed(curve.get(k)) for k in KS))
        for attack in dict.fromkeys(row.attack for row in results)
        for method in METHODS
        for training, curve in curves_of(results, attack, method).items()
    ]
    return Table(("attack", "method", "training", *(f"k = {k}" for k in KS)), rows, text_columns=3)


def _correlations(importances: Sequence["Importance"]) -> Table:
    published = paper.correlations()
    rows = [
        (
            one.training,
            " – ".join(reversed(SCATTERS[found.pair])) if found.pair in SCATTERS else found.pair,
            fixed(found.r, 3),
            significant(found.p, 3),
            f"{found.n:,}",
            fixed(published.get(found.pair, (None, None))[0], 3),
            significant(published.get(found.pair, (None, None))[1], 3),
        )
        for one in importances
        for found in one.correlations
    ]
    return Table(
        ("model", "correlation of", "r", "p", "words", "r, paper’s\nLSTM", "p, paper’s\nLSTM"), rows, text_columns=2
    )


def _words(words: Words, which: Iterable[int], title: str = "") -> Table:
    rows = [
        (
            words.words[index],
            fixed(words.importance_V[index], 3),
            fixed(words.frequency_V[index], 0),
            fixed(words.replaced_V[index], 0),
        )
        for index in which
    ]
    return Table(("word", "importance", "in training", "replaced"), rows, title=title)


def _extremes(words: Words) -> list[Table]:
    most, least = extremes(words, EXTREMES, SEEN)
    return [_words(words, most, "Most important"), _words(words, least, "Least important")] if most else []


def words_csv(words: Words) -> str:
    """All words with their numbers, as CSV."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("word", "importance", "frequency", "replaced"))
    columns = (words.importance_V, words.frequency_V, words.replaced_V)
    for word, importance, *counts in zip(words.words, *(column.tolist() for column in columns), strict=True):
        writer.writerow((word, f"{importance:.6g}", *(f"{count:g}" for count in counts)))
    return text.getvalue()


def spreads(importances: Sequence["Importance"]) -> dict[str, np.ndarray]:
    """Differences between synonyms by model, of those that have any; a second model of a name gets a number."""
    found: dict[str, np.ndarray] = {}
    for one in importances:
        values = np.asarray(one.spread, dtype=np.float64)
        if np.isfinite(values).any():
            again = sum(name.split(" #")[0] == one.training for name in found)
            found[f"{one.training} #{again + 1}" if again else one.training] = values[np.isfinite(values)]
    return found


def _spread(importances: Sequence["Importance"]) -> Table:
    rows = [
        (name, f"{len(values):,}", *(fixed(float(at), 4) for at in np.quantile(values, (0, 0.25, 0.5, 0.75, 1))))
        for name, values in spreads(importances).items()
    ]
    return Table(("model", "words", "least", "lower quartile", "median", "upper quartile", "most"), rows)


def _replacements(model: str, replacements: Sequence[Replacement]) -> Table:
    rows = [
        (
            one.word,
            ", ".join(f"{word} {count}" for word, count in one.substitutes) or DASH,
            f"{one.count:,}",
        )
        for one in replacements
    ]
    return Table(("word", "in its place", "times"), rows, text_columns=2, title=model)


def cards(values: Sequence[Mapping[str, Any]]) -> list[str]:
    """The cards as JSON that people can read."""
    return [json.dumps(_plain(value), indent=1, ensure_ascii=False, default=str) for value in values]


def _plain(value: Any) -> Any:
    """JSON has no NaN: undefined numbers are null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
