"""The table of whether adversarial texts are still valid."""

from collections.abc import Callable, Sequence

from flat_dist.evaluation.result import Result
from flat_dist.evaluation.validity import Validity
from flat_dist.report.formatting import fixed, percent
from flat_dist.report.table import Table

HEADER = ("attack", "training", "texts", "n", "similarity", "perplexity\nratio", "words\nchanged, %")


def validity_table(results: Sequence[Result], name: Callable[[Result], str]) -> Table:
    """Similarity, perplexity and changed words of the texts of each attack.

    Args:
        results: sorted by attack.
        name: name of a result's attack.
    """
    rows = [
        (name(row), row.training, which, *_numbers(found)) for row in results for which, found in row.validity.items()
    ]
    return Table(HEADER, rows, text_columns=3)


def _numbers(found: Validity) -> tuple[str, ...]:
    ratio = fixed(found.perplexity_ratio)
    return (f"{found.n:,}", fixed(found.similarity, 3), ratio, percent(found.words_changed))
