"""Predictions as JSON lines or CSV, with all columns of the input; written so that every line is complete."""

import csv
import io
import json
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from flat_dist.config.errors import UserError
from flat_dist.data.text_stream import TextRow
from flat_dist.evaluation.predict import Prediction

Format = Literal["jsonl", "csv"]

ENDINGS: Mapping[str, Format] = {".jsonl": "jsonl", ".csv": "csv"}
"""Format of an output, by the end of its name."""

PREFIX = "input_"
"""Before the name of an input column that has the name of a column of the output."""

FIELDS = ("text", "label", "probabilities", "importance", "attributions", "error")
"""Fields of a prediction in JSON lines. `error` says why a bad row has no prediction."""

Row = tuple[TextRow, Prediction | None]


class Layout(ABC):
    """Turns rows with predictions into lines.

    Args:
        ascii_only: whether other letters than ASCII must be escaped, where that is possible.
    """

    def __init__(self, ascii_only: bool = False):
        self.ascii_only = ascii_only

    @abstractmethod
    def lines(self, rows: Sequence[Row]) -> str:
        """The lines of rows, with those before the first one, if there are any."""


class JsonLines(Layout):
    """One JSON object for each row."""

    def lines(self, rows: Sequence[Row]) -> str:
        """The objects, one a line."""
        return "".join(f"{json.dumps(self._object(*row), ensure_ascii=self.ascii_only)}\n" for row in rows)

    def _object(self, row: TextRow, prediction: Prediction | None) -> dict[str, Any]:
        found = {"error": row.fault} if prediction is None else prediction
        return {**{name: row.columns[of] for name, of in renamed(row, FIELDS).items()}, **found}


class Csv(Layout):
    """A header and one line for each row. Each class has a column; words with their importance or attribution are JSON
    lists in one column.

    Args:
        label_names: the classes.
        optional: which of the columns importance, attributions and error there are.
    """

    def __init__(self, label_names: Sequence[str], optional: Sequence[str] = ()):
        super().__init__()
        self.probabilities = {f"probability_{name}": name for name in label_names}
        self.own = ("text", "label", *self.probabilities, *optional)
        self.columns: dict[str, str] | None = None
        """Columns of the input, by their names in the output; None before the first rows."""

    def lines(self, rows: Sequence[Row]) -> str:
        """The rows; before the first ones, the header."""
        file = io.StringIO(newline="")
        writer = csv.writer(file, lineterminator="\n")
        if self.columns is None:
            self.columns = {}
            for row, _ in rows:
                self.columns |= renamed(row, self.own)
            writer.writerow([*self.columns, *self.own])
        known = {*self.columns.values()}
        for row, prediction in rows:
            if new := [name for name in row.columns if name not in known]:
                raise UserError(
                    f"{row.place} has the column {new[0]!r}, which the rows before it do not have, and a CSV file has "
                    "one header: choose --format jsonl"
                )
            kept = [_cell(row.columns.get(name)) for name in self.columns.values()]
            writer.writerow([*kept, *self._cells(row, prediction)])
        return file.getvalue()

    def _cells(self, row: TextRow, prediction: Prediction | None) -> list[str]:
        values: dict[str, Any] = {"error": row.fault}
        if prediction is not None:
            scores = prediction["probabilities"]
            values = {**prediction, **{column: scores[name] for column, name in self.probabilities.items()}}
        return [_cell(values.get(name)) for name in self.own]


def renamed(row: TextRow, own: Sequence[str]) -> dict[str, str]:
    """Columns of a row by their names in the output, where `own` has other columns.

    Raises:
        UserError: two columns would have one name.
    """
    names = {f"{PREFIX}{name}" if name in own else name: name for name in row.columns}
    if len(names) < len(row.columns):
        twice = next(name for name in row.columns if name in own and f"{PREFIX}{name}" in row.columns)
        raise UserError(
            f"{row.place} has the columns {twice!r} and {PREFIX + twice!r}, but the output has a column {twice!r} of "
            "its own, and calls that of the input so: rename one of them"
        )
    return names


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


class StandardOutput:
    """Writes to standard output."""

    def write(self, text: str) -> None:
        """Write whole lines at once."""
        for line in text.splitlines(keepends=True):
            sys.stdout.write(line)
        sys.stdout.flush()

    def close(self) -> None:
        """Nothing is left to do."""


class OutputFile:
    """Writes to a file that has only complete lines at every moment that a process may end in, short of a crash of the
    machine: what cannot be written as a whole, because of an interrupt or a full disk, is cut off again.

    Args:
        path: the file; it is replaced when the first line is written.
    """

    def __init__(self, path: Path):
        self.path = path
        self._descriptor: int | None = None
        self._end = 0

    def write(self, text: str) -> None:
        """Write whole lines at once.

        Raises:
            OSError: they cannot be written.
        """
        if self._descriptor is None:
            self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        data = memoryview(text.encode(errors="backslashreplace"))  # half a character in another column
        try:
            written = 0
            while written < len(data):
                written += os.write(self._descriptor, data[written:])
        except BaseException as error:
            if self._is_regular():
                os.ftruncate(self._descriptor, self._end)
                os.lseek(self._descriptor, self._end, os.SEEK_SET)
            if isinstance(error, OSError):
                error.filename = str(self.path)
            raise
        self._end += len(data)

    def _is_regular(self) -> bool:
        return self.path.is_file()

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def check_output(path: Path, source: Path | None, given: Format | None) -> Format:
    """The format of an output file.

    Args:
        path: the file to write.
        source: the file that is read.
        given: the format that the user asks for.

    Raises:
        UserError: nothing can be written there, or it would replace the input.
    """
    if path.is_dir():
        raise UserError(f"--output {path} is a folder: name a file in it, such as {path / 'predictions.jsonl'}")
    if not path.parent.is_dir():
        raise UserError(f"--output {path}: the folder {path.parent} does not exist: create it, or name another")
    if source is not None and path.exists() and source.exists() and path.samefile(source):
        raise UserError(f"--output {path} is the input, which it would replace: name another file")
    found = given or ENDINGS.get(path.suffix.lower())
    if found is None:
        raise UserError(f"--output {path}: its name must end in {' or '.join(ENDINGS)}, or give --format")
    return found
