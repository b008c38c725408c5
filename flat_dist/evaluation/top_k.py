"""Sizes k of the top-k intersection, and the one that tables show. No library is imported here."""

from collections.abc import Sequence

KS = range(1, 11)
"""Sizes k of the top-k intersection (paper: 1 to 10 in Appendix C)."""

TOP = 5
"""The size k that tables, metrics and the report show (paper: 5 in Tables 3 and 8). They show none if `KS` lacks it."""

TOP_METRIC, TOP_HEADING = f"top_{TOP}", f"top-{TOP}"
"""Its name in files and MLflow, and in tables."""


def shown_top(by_k: Sequence[float] | None) -> float | None:
    """The intersection of the `TOP` top words among those by k, in the order of `KS`; None if it is not there."""
    return by_k[KS.index(TOP)] if TOP in KS and by_k else None
