"""A table of the report."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """A table."""

    header: Sequence[str]
    """Names of the columns. A line break in a name is shown as one."""
    rows: Sequence[Sequence[str]]
    text_columns: int = 1
    """Number of columns, from the left, with text instead of numbers."""
    title: str = ""
