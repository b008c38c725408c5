"""The tables of consistency: on common and own pairs, by outcome of the attack, and in the paper's composition."""

from collections.abc import Callable, Iterator, Sequence

from flat_dist.evaluation.consistency import Consistency
from flat_dist.evaluation.model_consistency import ModelConsistency
from flat_dist.evaluation.result import Result
from flat_dist.evaluation.top_k import TOP_HEADING
from flat_dist.report.formatting import DASH, fixed, percent, significant
from flat_dist.report.paper import Numbers
from flat_dist.report.summary_table import METHODS
from flat_dist.report.table import Table

HEAD = ("attack", "training", "method")


def _found(results: Sequence[Result], name: Callable[[Result], str]) -> Iterator[tuple[Result, str, tuple[str, ...]]]:
    """Each result and method, and the first cells of its row."""
    for row in results:
        for method in row.interpretations:
            yield row, method, (name(row), row.training, METHODS.get(method, method))


def consistency_table(results: Sequence[Result], name: Callable[[Result], str]) -> Table:
    """Consistency on the common pairs, and on the own pairs of each model.

    Args:
        results: each model under each attack, in the order of the rows.
        name: the name of a result's attack.
    """
    common = ("Kendall’s τ", "95 % interval", TOP_HEADING, "pairs")
    own = ("τ,\nown pairs", f"{TOP_HEADING},\nown pairs", "own\npairs")
    rows = [
        (
            *first,
            fixed(found.common.kendall_tau),
            _interval(found),
            fixed(found.common.top),
            _pairs(found.common, found.common_pairs),
            fixed(found.own.kendall_tau),
            fixed(found.own.top),
            _pairs(found.own, found.own_pairs),
            f"{found.own.undefined:,}",
            f"{found.own.unaligned:,}",
            significant(found.own.completeness_error),
        )
        for row, method, first in _found(results, name)
        for found in (row.interpretations[method],)
    ]
    return Table((*HEAD, *common, *own, "without τ", "unaligned", "completeness\nerror"), rows, text_columns=3)


def _interval(found: ModelConsistency) -> str:
    return " to ".join(map(fixed, found.common_interval)) if found.common_interval else DASH


def _pairs(found: Consistency, of: int) -> str:
    return f"{found.pairs:,}" if found.pairs == of else f"{found.pairs:,} of {of:,}"


def outcome_table(results: Sequence[Result], name: Callable[[Result], str]) -> Table:
    """Consistency by the outcome of the attack, and the texts that it left unchanged."""
    rows = [
        (
            *first,
            outcome,
            *_cells(found.common_by_outcome.get(outcome)),
            *_cells(found.own_by_outcome.get(outcome)),
            f"{found.unchanged.get(outcome, 0):,}",
        )
        for row, method, first in _found(results, name)
        for found in (row.interpretations[method],)
        for outcome in sorted({*found.own_by_outcome, *found.unchanged})
    ]
    common = ("Kendall’s τ", TOP_HEADING, "pairs")
    own = ("τ,\nown pairs", f"{TOP_HEADING},\nown pairs", "own\npairs")
    return Table((*HEAD, "outcome", *common, *own, "texts left\nunchanged"), rows, text_columns=4)


def _cells(found: Consistency | None) -> tuple[str, str, str]:
    return (fixed(found.kendall_tau), fixed(found.top), f"{found.pairs:,}") if found else (DASH, DASH, "0")


def composition_table(
    results: Sequence[Result], name: Callable[[Result], str], heading: str, published: Callable[[Result], Numbers]
) -> Table:
    """Consistency over all texts, in which unchanged ones count 1, beside the paper's numbers.

    Args:
        results: each model under each attack, in the order of the rows.
        name: the name of a result's attack.
        heading: of the columns with the paper's numbers.
        published: the paper's numbers for a result.
    """
    rows = [
        (
            *first,
            fixed(found.all_texts.kendall_tau if found.all_texts else None),
            fixed(published(row).kendall_tau.get(method)),
            fixed(found.all_texts.top if found.all_texts else None),
            fixed(published(row).top_5.get(method)),
            percent(sum(found.unchanged.values()) / found.texts if found.texts else None),
            f"{found.texts:,}",
        )
        for row, method, first in _found(results, name)
        for found in (row.interpretations[method],)
    ]
    head = (*HEAD, "τ,\nall texts", heading, f"{TOP_HEADING},\nall texts", heading, "unchanged, %", "texts")
    return Table(head, rows, text_columns=3)
