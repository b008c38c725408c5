"""The table of models that were compared on the same texts."""

from collections.abc import Callable, Sequence

from flat_dist.evaluation.result import Result
from flat_dist.evaluation.significance import Comparison
from flat_dist.report.formatting import percent, significant
from flat_dist.report.table import Table

HEADER = ("attack", "model A", "model B", "A − B,\npoints", "95 % interval", "p", "only A\nright", "only B\nright", "n")


def comparison_table(results: Sequence[Result], name: Callable[[Result], str]) -> Table:
    """Each model against those before it: accuracy, then accuracy after each attack.

    Args:
        results: sorted by attack.
        name: name of a result's attack.
    """
    first = [row for row in results if row.attack == results[0].attack] if results else []
    clean = [("none", row.training, row.accuracy_comparisons) for row in first]
    robust = [(name(row), row.training, row.comparisons) for row in results]
    rows = [
        (attack, model, other, *comparison_cells(compared))
        for attack, model, comparisons in [*clean, *robust]
        for other, compared in comparisons.items()
    ]
    return Table(HEADER, rows, text_columns=3)


def comparison_cells(compared: Comparison) -> tuple[str, ...]:
    """The numbers of a comparison, below the headings after model B."""
    return (
        percent(compared.difference),
        f"{percent(compared.interval.low)} to {percent(compared.interval.high)}",
        significant(compared.p_value),
        f"{compared.only_this:,}",
        f"{compared.only_other:,}",
        f"{compared.n:,}",
    )
