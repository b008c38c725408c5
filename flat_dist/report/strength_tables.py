"""The tables of after-attack accuracy over the strength of attacks."""

from collections.abc import Callable, Sequence

from flat_dist.config.schema import WORST
from flat_dist.evaluation.result import Result
from flat_dist.evaluation.strength_curve import PERCENTS
from flat_dist.report.formatting import percent
from flat_dist.report.table import Table


def changed_words_table(results: Sequence[Result], name: Callable[[Result], str]) -> Table:
    """By the share of a text's words that may change.

    Args:
        results: sorted by attack.
        name: name of a result's attack.
    """
    rows = [
        (name(row), row.training, _scores(scores), *(percent(curve.get(share)) for share in PERCENTS))
        for row in results
        for scores, curve in row.by_changed_words.items()
    ]
    return Table(("attack", "training", "sees", *(f"{share} %" for share in PERCENTS)), rows, text_columns=3)


def neighbours_table(results: Sequence[Result], name: Callable[[Result], str]) -> Table:
    """By the maximum number of candidates of a word; arguments as above."""
    counts = sorted({count for row in results for count in row.by_neighbours})
    rows = [
        (name(row), row.training, *(percent(row.by_neighbours.get(count)) for count in counts))
        for row in results
        if row.by_neighbours
    ]
    return Table(("attack", "training", *map(str, counts)), rows, text_columns=2)


def _scores(scores: str) -> str:
    return "worst (upper bound)" if scores == WORST else scores
