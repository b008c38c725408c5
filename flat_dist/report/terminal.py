"""Tables on a terminal of any width."""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, JustifyMethod, RenderableType
from rich.table import Table as Printed
from rich.text import Text

from flat_dist.report.table import Table

GAP, EDGES = 2, 2
"""Spaces between two columns, and at both ends of a line together."""


@dataclass(frozen=True)
class TerminalTable:
    """A table that fits the terminal without broken cells: where it is narrow, names of columns are folded, and the
    columns that still do not fit follow below, beside the text columns again. Cells are cut only where these and one
    other column do not fit."""

    table: Table
    caption: str = ""
    """Below the table."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        """The title, the parts of the table, and the caption."""
        if self.table.title:
            yield Text(self.table.title, style="table.title")
        names = [name.replace("\n", " ") for name in self.table.header]
        parts = self._parts(names, options.max_width)
        if len(parts) > 1:
            names = [_folded(name, self._cells(column)) for column, name in enumerate(names)]
            parts = self._parts(names, options.max_width)
        for columns in parts:
            yield self._printed(names, columns)
        if self.caption:
            yield Text(self.caption, style="table.caption")

    def _parts(self, names: Sequence[str], width: int) -> list[list[int]]:
        """The columns of each part that fit into a width; a part has at least one column after the text columns."""
        widths = [max(self._cells(column), *map(cell_len, name.split("\n"))) for column, name in enumerate(names)]
        text = list(range(self.table.text_columns))
        parts: list[list[int]] = [list(text)]
        for column in range(len(text), len(names)):
            with_it = [*parts[-1], column]
            needed = sum(widths[one] for one in with_it) + GAP * (len(with_it) - 1) + EDGES
            if needed > width and parts[-1] != text:
                with_it = [*text, column]
                parts.append(with_it)
            parts[-1] = with_it
        return parts

    def _cells(self, column: int) -> int:
        """Width of the widest cell of a column."""
        return max((cell_len(row[column]) for row in self.table.rows), default=0)

    def _printed(self, names: Sequence[str], columns: Sequence[int]) -> Printed:
        printed = Printed(box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
        for column in columns:
            justify: JustifyMethod = "left" if column < self.table.text_columns else "right"
            printed.add_column(Text(names[column]), justify=justify, no_wrap=True)
        for row in self.table.rows:
            printed.add_row(*(Text(row[column]) for column in columns))
        return printed


def _folded(name: str, width: int) -> str:
    """A name over several lines, no wider than a width or its longest word."""
    return textwrap.fill(name, max(width, *map(len, name.split()), 1), break_on_hyphens=False)
