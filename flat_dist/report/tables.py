"""The tables of the report. Every number is a text, as the page shows it."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flat_dist.config.schema import WORST
from flat_dist.evaluation.result import Result
from flat_dist.evaluation.significance import Interval
from flat_dist.evaluation.top_k import KS
from flat_dist.report import consistency_tables, paper, strength_tables, word_tables
from flat_dist.report.annotation_table import annotation_table, kappa_table
from flat_dist.report.attack_notes import marked, marked_transfers
from flat_dist.report.class_table import class_table
from flat_dist.report.comparison_table import comparison_table
from flat_dist.report.figures import curves_of
from flat_dist.report.formatting import DASH, fixed, percent, standard_error
from flat_dist.report.margin_charts import margin_table
from flat_dist.report.page import Page
from flat_dist.report.sets_table import set_comparisons, sets_table
from flat_dist.report.summary_table import METHODS
from flat_dist.report.table import Table
from flat_dist.report.transfer_tables import table4, transfer_tables
from flat_dist.report.validity_table import validity_table


def build_tables(page: Page) -> dict[str, Table | list[Table]]:
    """The tables of the page, by section. Some may have no rows."""
    words = page.importances[-1].words if page.importances else None
    replaced = {model: rows for model, rows in page.replacements.items() if rows}
    return {
        "models": _models(page),
        "comparisons": comparison_table(by_attack(page.results), _name),
        "classes": class_table(by_attack(page.results), _name),
        "scores": _scores(page),
        "margins": margin_table(page.margins),
        "validity": validity_table(by_attack(page.results), _name),
        "table4": table4(by_attack(page.results), _paper(page)) if page.transfers else Table((), ()),
        **transfer_tables(marked_transfers(page.transfers, page.results)),
        "sets": sets_table(page.sets),
        "annotation": annotation_table(page.annotation),
        "kappa": kappa_table(page.annotation),
        "set_comparisons": set_comparisons(page.sets),
        **_consistency(page),
        "changed_words": strength_tables.changed_words_table(by_attack(page.results), _name),
        "neighbours": strength_tables.neighbours_table(by_attack(page.results), _name),
        "rounds": _rounds(page.rounds),
        "top_k": _top_k(by_attack(page.results)),
        "correlations": word_tables.correlation_table(page.importances),
        "words": word_tables.frequent_table(words) if words else Table((), ()),
        "spread": word_tables.spread_table(page.importances),
        "extremes": word_tables.extreme_tables(words) if words else [],
        "replacements": [word_tables.replacement_table(model, rows) for model, rows in replaced.items()],
    }


def by_attack(results: Sequence[Result]) -> list[Result]:
    """Results sorted by attack; the attack used in training comes first, the worst case last."""
    return sorted(results, key=lambda row: (row.attack == WORST, not row.trained_on, row.attack))


def paper_note(page: Page) -> str:
    """A note on the paper's numbers in the tables; empty if there are none."""
    source = paper.source(page.dataset)
    if source is None or page.model not in paper.MODELS:
        return ""
    of, on = paper.MODELS[page.model], paper.DATASETS[source]
    trained_on = _trained_on(page)
    seen = f", trained against {trained_on}" if trained_on else ""
    note = f"Columns “paper, {on}” are the paper’s {of} on {on}{seen} (Chen & Ji, AAAI 2022; Tables 2, 3, 4 and 8)."
    if source != page.dataset:
        note += f" The paper has no numbers for {page.dataset}; {on} has other movie reviews."
    return note


def _trained_on(page: Page) -> str | None:
    return next((row.attack for row in (*page.results, *page.rounds) if row.trained_on), None)


def _paper(page: Page) -> tuple[str, Callable[[Result], paper.Numbers]]:
    """Heading of the columns with the paper's numbers, and a function that returns them."""
    source, trained_on = paper.source(page.dataset), _trained_on(page)

    def of(row: Result) -> paper.Numbers:
        return paper.numbers(page.dataset, page.model, row.training, row.attack, trained_on)

    return f"paper,\n{paper.DATASETS[source]}" if source else "paper", of


def _name(row: Result) -> str:
    return f"{marked(row)}, unseen" if row.trained_on is False else marked(row)


def _models(page: Page) -> Table:
    heading, published = _paper(page)
    head = ("attack", "training", "accuracy, %", heading, "after\nattack, %", heading)
    rows = [
        (
            _name(row),
            row.training,
            _with_uncertainty(row.accuracy, row.accuracy_interval, page.texts),
            percent(published(row).accuracy),
            _with_uncertainty(row.after_attack_accuracy, row.after_attack_interval, row.n),
            percent(published(row).after_attack_accuracy),
            percent(row.attack_success_rate),
            fixed(row.mean_queries, 0),
            percent(row.words_changed),
            f"{row.n:,}",
        )
        for row in by_attack(page.results)
    ]
    return _without_empty(
        Table((*head, "success, %", "queries", "words\nchanged, %", "n"), rows, text_columns=2), heading
    )


def _scores(page: Page) -> Table:
    """What shows whether an attack was stopped by rounding."""
    rows = [
        (
            _name(row),
            row.training,
            percent(row.after_attack_accuracy),
            percent(row.after_attack_accuracy_probabilities),
            percent(row.saturated),
            percent(row.failed_unchanged),
        )
        for row in by_attack(page.results)
        if row.after_attack_accuracy_probabilities is not None or row.saturated
    ]
    head = ("attack", "training", "after\nattack, %", "probabilities\nalone, %", "probability\nis 1, %")
    return Table((*head, "failed without\na change, %"), rows, text_columns=2)


def _with_uncertainty(share: float | None, interval: Interval | None, n: int) -> str:
    """A share with its 95 % interval, or else plus or minus one standard error."""
    if interval is not None:
        return f"{percent(share)} ({percent(interval.low)} to {percent(interval.high)})"
    error = standard_error(share, n)
    return percent(share) if error is None else f"{percent(share)} ± {percent(error)}"


def _consistency(page: Page) -> dict[str, Table]:
    heading, published = _paper(page)
    results = by_attack(page.results)
    composition = consistency_tables.composition_table(results, _name, heading, published)
    return {
        "consistency": consistency_tables.consistency_table(results, _name),
        "outcomes": consistency_tables.outcome_table(results, _name),
        "composition": _without_empty(composition, heading),
    }


def _without_empty(table: Table, heading: str) -> Table:
    """The table without empty columns of the paper."""
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


def cards(values: Sequence[Mapping[str, Any]]) -> list[str]:
    """The cards as indented JSON."""
    return [json.dumps(_plain(value), indent=1, ensure_ascii=False, default=str) for value in values]


def _plain(value: Any) -> Any:
    """A value for JSON, which has no NaN: undefined numbers become null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
