"""The tables of adversarial texts from elsewhere."""

from collections.abc import Sequence
from dataclasses import replace

from flat_dist.evaluation.adversarial_sets import SetResult
from flat_dist.evaluation.significance import Interval
from flat_dist.report.comparison_table import HEADER, comparison_cells
from flat_dist.report.formatting import fixed, percent
from flat_dist.report.summary_table import METHODS
from flat_dist.report.table import Table
from flat_dist.report.terminal import TerminalTable


def sets_table(results: Sequence[SetResult], intervals: bool = True) -> Table:
    """Accuracy on originals and on adversarial texts, share flipped, and consistency.

    Args:
        results: of each model on each set.
        intervals: whether the shares have their intervals.
    """
    methods = [name for name in METHODS if any(name in row.kendall_tau for row in results)]

    def shown(share: float | None, interval: Interval | None) -> str:
        return _with_interval(share, interval if intervals else None)

    rows = [
        (
            row.adversarial_set,
            row.model,
            shown(row.accuracy, row.accuracy_interval),
            shown(row.accuracy_adversarial, row.adversarial_interval),
            shown(row.flipped, row.flipped_interval),
            f"{row.n:,}",
            f"{row.unchanged:,}",
            *(fixed(row.kendall_tau.get(name)) for name in methods),
        )
        for row in results
    ]
    head = ("set", "model", "originals\nright, %", "adversarial\nright, %", "flipped, %", "n", "unchanged,\nleft out")
    return Table((*head, *(f"tau {METHODS[name]}" for name in methods)), rows, text_columns=2)


def _with_interval(share: float | None, interval: Interval | None) -> str:
    if share is None or interval is None:
        return percent(share)
    return f"{percent(share)} ({percent(interval.low)} to {percent(interval.high)})"


def set_comparisons(results: Sequence[SetResult]) -> Table:
    """Each model against those before it, on the adversarial texts of each set."""
    rows = [
        (row.adversarial_set, row.model, other, *comparison_cells(compared))
        for row in results
        for other, compared in row.comparisons.items()
    ]
    return Table(("set", *HEADER[1:]), rows, text_columns=3)


def sets_summary(results: Sequence[SetResult]) -> list[TerminalTable]:
    """The table for a terminal; none without sets."""
    if not results:
        return []
    return [TerminalTable(replace(sets_table(results, intervals=False), title="adversarial texts from elsewhere"))]
