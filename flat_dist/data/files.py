"""Reading labelled texts from CSV, JSONL and Parquet files, with errors that name the file and the line."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from flat_dist.config import UserError

UTF8_BOM = b"\xef\xbb\xbf"


class Row(NamedTuple):
    """One example as it was found, before cleaning."""

    text: Any
    label: Any
    place: str
    """Where it was found, as `train.csv:7`, for messages."""


@dataclass(frozen=True)
class Rows:
    """The examples of one split."""

    source: str
    """File or split of the hub that they came from."""
    rows: list[Row]


def read(path: Path, text_column: str, label_column: str) -> Rows:
    """The rows of a .csv (with a header), .jsonl or .parquet file; blank lines are left out.

    Raises:
        UserError: the file is missing, of another kind, not UTF-8, broken, or lacks a column.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise UserError(f"{path} is not a data file: its name must end in {', '.join(READERS)}")
    if not path.is_file():
        raise UserError(f"{path} does not exist: name a file that does")
    return Rows(str(path), list(reader(path, text_column, label_column)))


def read_csv(path: Path, text_column: str, label_column: str, header: Sequence[str] = ()) -> Iterator[Row]:
    """The rows of a CSV file in UTF-8; `header` names the columns of a file whose first line is data.

    Raises:
        UserError: as `read`, or a line has more or fewer fields than the header.
    """
    lines = csv.reader(io.StringIO(_decode(path), newline=""), strict=True)
    try:
        columns = list(header) or next(lines, [])
        text, label = (_position(path, columns, name) for name in (text_column, label_column))
        last = lines.line_num
        for record in lines:
            place, last = f"{path}:{last + 1}", lines.line_num  # a record may span lines: its first one is named
            if not record:
                continue
            if len(record) != len(columns):
                raise UserError(f"{place}: {len(record)} fields, but there are {len(columns)} columns: quote commas")
            yield Row(record[text], record[label], place)
    except csv.Error as error:
        raise UserError(f"{path}:{lines.line_num}: not valid CSV ({error}): check the quotes") from error


def _position(path: Path, columns: Sequence[str], name: str) -> int:
    if columns.count(name) != 1:
        raise wrong_column(str(path), columns, name)
    return columns.index(name)


def wrong_column(where: str, columns: Sequence[str], name: str) -> UserError:
    """The error for a column that is missing, or there twice, with the columns that `where` has."""
    number = "no column" if name not in columns else "more than one column"
    found = ", ".join(columns) or "none"
    return UserError(
        f"{where} has {number} {name!r} among {found}: rename it, or set --data.text_column and --data.label_column"
    )


def _decode(path: Path) -> str:
    try:
        content = path.read_bytes().removeprefix(UTF8_BOM)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): check its permissions") from error
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}:{line}: not UTF-8 (byte {content[error.start]:#04x}): save it as UTF-8") from error


def _read_jsonl(path: Path, text_column: str, label_column: str) -> Iterator[Row]:
    for number, line in enumerate(_decode(path).split("\n"), start=1):
        if not line.strip():
            continue
        place = f"{path}:{number}"
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{place}: not valid JSON ({error}): write one object a line") from error
        if not isinstance(record, dict):
            raise UserError(f"{place}: not a JSON object, but {type(record).__name__}: write one object a line")
        for name in (text_column, label_column):
            if name not in record:
                raise wrong_column(place, list(record), name)
        yield Row(record[text_column], record[label_column], place)


def _read_parquet(path: Path, text_column: str, label_column: str) -> Iterator[Row]:
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            for name in (text_column, label_column):
                _position(path, names, name)
            table = file.read(columns=[text_column, label_column])
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path} is not a readable Parquet file: {' '.join(str(error).split())}") from error
    columns = (table[text_column].to_pylist(), table[label_column].to_pylist())
    for number, (text, label) in enumerate(zip(*columns, strict=True), start=1):
        yield Row(text, label, f"{path}, row {number}")


READERS: dict[str, Callable[[Path, str, str], Iterable[Row]]] = {
    ".csv": read_csv,
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
}
"""How each kind of file is read, by the end of its name."""
