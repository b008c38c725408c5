"""Reading labelled texts from CSV, TSV, JSONL and Parquet files, with errors that name the file and the line."""

import csv
import difflib
import io
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from flat_dist.config.errors import UserError
from flat_dist.data.text_files import GZIP, LINE_END, read_text

COMMA, TAB = ",", "\t"

SEPARATORS = {COMMA: "commas", TAB: "tabs", ";": "semicolons", "|": "bars"}
"""Characters that separate columns, and their names in messages."""

ENDINGS = {COMMA: ".csv", TAB: ".tsv"}
"""End of the name of files with a separator."""

SHOWN = 20
"""Columns that a message lists."""


class ColumnError(UserError):
    """A file lacks a column."""


class Row(NamedTuple):
    """One example of a file, before cleaning."""

    text: Any
    """Of a pair of sentences, a tuple of both."""
    label: Any
    place: str
    """File and line, such as `train.csv:7`, for messages."""
    fault: str = ""
    """Why the row cannot be read; empty if it can."""


@dataclass(frozen=True)
class Rows:
    """The examples of one split."""

    source: str
    """File, or split of a dataset on the hub."""
    rows: list[Row]


def read(path: Path, text_column: str, label_column: str, pair_column: str | None = None) -> Rows:
    """The rows of a .csv or .tsv (with a header), .jsonl or .parquet file, without blank lines.

    All but .parquet may be compressed: .csv.gz.

    A malformed row has a `fault`, if the rows after it can still be read.

    Args:
        path: the file.
        text_column: name of the column of texts.
        label_column: name of the column of labels.
        pair_column: name of the column of second sentences; None: there are none.

    Raises:
        ColumnError: a column is missing.
        UserError: the file is missing, empty, damaged, not UTF-8, or of another format.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder: name a file, or a folder with train, dev and test files as --data.folder")
    reader = READERS.get(ending(path))
    if reader is None:
        packed = "unpack it first: " if Path(path.stem).suffix.lower() in READERS else ""
        raise UserError(f"{path} is not a data file: {packed}its name must end in {KINDS}")
    if not path.is_file():
        what = "is not a regular file" if os.path.lexists(path) else "does not exist"
        raise UserError(f"{path} {what}: name a file that holds the data")
    return Rows(str(path), list(reader(path, (text_column, label_column, *filter(None, [pair_column])))))


def ending(path: Path) -> str:
    """End of a file's name in lower case, which says how it is read: .csv, or .csv.gz."""
    last = path.suffix.lower()
    return Path(path.stem).suffix.lower() + last if last == GZIP else last


def read_csv(path: Path, names: Sequence[str], header: Sequence[str] = (), separator: str = COMMA) -> Iterator[Row]:
    """The rows of a CSV or TSV file in UTF-8. Fields are quoted as in CSV with both separators.

    Args:
        path: the file.
        names: of the columns of texts and of labels, and of second sentences, if there are any.
        header: names of the columns of a file whose first line is data.
        separator: of the columns.

    Raises:
        UserError: as in `read`.
    """
    csv.field_size_limit(sys.maxsize)  # a text may be longer than the 131,072 characters of the default
    content = read_text(path)
    if not header:
        check_separator(path, content, names, separator)
    records = csv_records(path, csv.reader(io.StringIO(content, newline=""), delimiter=separator, strict=True))
    columns = list(header) or csv_header(path, records, separator)
    positions = [_position(path, columns, names, name) for name in names]
    records_read = list(records)
    if records_read and all(
        not isinstance(fields, str) and len(fields) == len(columns) + 1 for _, fields in records_read
    ):
        raise UserError(
            f"{path}: every row has one field more than the header, such as row names from R: save it without them "
            "(row.names = FALSE), or name their column in the header"
        )
    for line, fields in records_read:
        place = f"{path}:{line}"
        if isinstance(fields, str):
            yield Row(None, None, place, fields)
        elif len(fields) != len(columns):
            advice = f"quote {SEPARATORS[separator]}" if len(fields) > len(columns) else "fill in the others"
            fault = f"{len(fields)} fields, but there are {len(columns)} columns: {advice}"
            yield Row(None, None, place, fault)
        else:
            yield to_row([fields[position] for position in positions], place)


def csv_records(path: Path, lines: Any) -> Iterator[tuple[int, list[str] | str]]:
    """Line and fields of each record of a CSV reader; for a malformed record, what is wrong instead of fields."""
    while True:
        line = lines.line_num + 1
        try:
            fields = next(lines)
        except StopIteration:
            return
        except csv.Error as error:
            if "end of data" in str(error):
                raise UserError(f"{path}:{line}: not valid CSV: an opening quote is never closed: close it") from error
            yield line, f"not valid CSV ({error}): check the quotes"
            continue
        if fields:
            yield line, fields


def csv_header(path: Path, records: Iterator[tuple[int, list[str] | str]], separator: str) -> list[str]:
    """Names of the columns, from the first record.

    Raises:
        UserError: it is malformed.
    """
    line, columns = next(records)
    if columns in (["sep=", ""], [f"sep={separator}"]):  # a line for Excel
        line, columns = next(records, (line + 1, []))
    if isinstance(columns, str):
        raise UserError(f"{path}:{line}: {columns}")
    return columns


def check_separator(path: Path, content: str, names: Sequence[str], expected: str) -> None:
    """Raise UserError if the columns are separated by another character than expected."""
    lines = [line for line in LINE_END.split(content[:10_000]) if line.strip()][:2] or [""]
    given = re.fullmatch('"?sep=(.)"?', lines[0].strip("\n\r"))
    header = lines[1] if given and len(lines) > 1 else lines[0]
    for separator, name in SEPARATORS.items():
        if separator == expected:
            continue
        columns = next(csv.reader([header], delimiter=separator), [])
        if (given and given[1] == separator) or (len(columns) > 1 and set(names) <= set(columns)):
            renamed = f", or let its name end in {ENDINGS[separator]}" if separator in ENDINGS else ""
            raise UserError(
                f"{path}: its columns are separated by {name}: save it with {SEPARATORS[expected]}{renamed}"
            )


def to_row(values: Sequence[Any], place: str) -> Row:
    """The row of a text, its label, and its second sentence, if it has one."""
    text, label, *second = values
    return Row((text, *second) if second else text, label, place)


def _position(path: Path, columns: Sequence[str], names: Sequence[str], name: str) -> int:
    if columns.count(name) != 1:
        raise wrong_column(str(path), columns, names, name)
    return columns.index(name)


def wrong_column(where: str, columns: Sequence[str], names: Sequence[str], name: str) -> ColumnError:
    """The error for a missing or duplicate column; it lists the columns and the most similar name.

    Args:
        where: the file.
        columns: that it has.
        names: of the columns of texts, labels, and second sentences, if there are any.
        name: the one that is wrong.
    """
    options = "--data.text-column and --data.label-column"
    if len(names) > 2:
        options = "--data.text-column, --data.text-pair-column and --data.label-column"
    return ColumnError(f"{column_problem(where, columns, name)}: rename it, or set {options}")


def column_problem(where: str, columns: Sequence[str], name: str) -> str:
    """Says that a column is missing, or there twice; it lists the columns and the most similar name."""
    number = "no column" if name not in columns else "more than one column"
    listed = ", ".join(_shown(column) for column in columns[:SHOWN]) or "none"
    more = f" and {len(columns) - SHOWN} more" if len(columns) > SHOWN else ""
    plain = {_plain(column): column for column in columns}
    near = difflib.get_close_matches(_plain(name), plain, n=1) if name not in columns else []
    meant = f" (is {plain[near[0]]!a} meant?)" if near else ""
    return f"{where} has {number} {name!r} among {listed}{more}{meant}"


def _plain(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def _shown(column: str) -> str:
    cut = column if len(column) <= 40 else f"{column[:40]}..."
    return cut if cut.isprintable() and cut == cut.strip() else ascii(cut)


def _read_jsonl(path: Path, names: Sequence[str]) -> Iterator[Row]:
    content = read_text(path)
    if content.lstrip().startswith("[") and not content.lstrip().partition("\n")[0].rstrip().endswith("]"):
        raise UserError(f"{path} is one JSON array over several lines: write one object a line")
    lines = [(number, line) for number, line in enumerate(LINE_END.split(content), start=1) if line.strip()]
    records = [(f"{path}:{number}", json_object(line)) for number, line in lines]
    objects = [(place, record) for place, record in records if isinstance(record, dict)]
    for name in names:
        if objects and not any(name in record for _, record in objects):
            raise wrong_column(objects[0][0], list(objects[0][1]), names, name)
    for place, record in records:
        if isinstance(record, str):
            yield Row(None, None, place, record)
        elif missing := [name for name in names if name not in record]:
            yield Row(None, None, place, f"no column {missing[0]!r} among {', '.join(map(_shown, record)) or 'none'}")
        else:
            yield to_row([record[name] for name in names], place)


def json_object(line: str) -> dict[str, Any] | str:
    """The JSON object of a line, or what is wrong with it."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        return f"not valid JSON ({error}): write one object a line"
    if not isinstance(record, dict):
        return f"not a JSON object, but {type(record).__name__}: write one object a line"
    return record


def _read_parquet(path: Path, names: Sequence[str]) -> Iterator[Row]:
    try:
        with pq.ParquetFile(path) as file:
            for name in names:
                _position(path, file.schema_arrow.names, names, name)
            table = file.read(columns=list(names))
        columns = [table[name].to_pylist() for name in names]
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UserError(f"{path} is not a readable Parquet file: {' '.join(str(error).split())[:200]}") from error
    for number, values in enumerate(zip(*columns, strict=True), start=1):
        yield to_row(values, f"{path}, row {number}")


TEXT_READERS: dict[str, Callable[[Path, Sequence[str]], Iterable[Row]]] = {
    ".csv": read_csv,
    ".tsv": partial(read_csv, separator=TAB),
    ".jsonl": _read_jsonl,
}

READERS: dict[str, Callable[[Path, Sequence[str]], Iterable[Row]]] = {
    **TEXT_READERS,
    ".parquet": _read_parquet,
    **{f"{name}{GZIP}": reader for name, reader in TEXT_READERS.items()},
}
"""How each kind of file is read, by the end of its name."""

KINDS = ".csv, .tsv, .jsonl (also with .gz after it) or .parquet"
"""The ends of names, for messages."""
