"""Texts to predict, one after another with the other columns of their rows: files of any size need little memory."""

import csv
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from flat_dist.config.errors import UserError
from flat_dist.data.readers import (
    COMMA,
    SEPARATORS,
    TAB,
    ColumnError,
    check_separator,
    column_problem,
    csv_header,
    csv_records,
    ending,
    json_object,
)
from flat_dist.data.sentence_pairs import MARK, join
from flat_dist.data.text_files import GZIP, UTF8_BOM, stream_lines

OPTIONS = ("--data.text-column", "--data.text-pair-column")
"""Options that name the columns of texts and of second sentences."""


@dataclass(frozen=True)
class TextRow:
    """A text, where it is, and the columns of its row."""

    text: str
    """Of a pair of sentences, both, as `flat_dist.data.sentence_pairs` joins them."""
    place: str = ""
    """File and line, such as `texts.csv:7`, for messages."""
    columns: Mapping[str, Any] = field(default_factory=dict)
    """All columns, the text included, as the file has them. Values of JSON may be of any type."""
    fault: str = ""
    """Why the row cannot be used; empty if it can."""


def stream_file(path: Path, text_column: str, pair_column: str | None = None) -> Iterator[TextRow]:
    """The rows of a .csv or .tsv (with a header) or .jsonl file, also with .gz after it, without blank lines.

    Args:
        path: the file, or a named pipe.
        text_column: column of the texts.
        pair_column: column of the second sentences, if the texts are the first sentences of pairs.

    Raises:
        UserError: there is no such file or column, or the file is damaged, not UTF-8, or of another format. What can be
            found only in the middle of the file is raised when its line is reached.
    """
    reader = READERS.get(ending(path).removesuffix(GZIP))
    if path.is_dir():
        raise UserError(f"--input {path} is a folder: name a file")
    if reader is None:
        raise UserError(f"--input {path} is not a file of texts: its name must end in {KINDS}")
    if not path.exists():
        raise UserError(f"--input {path} does not exist: name a file with a text in each row")
    return _not_empty(path, reader(path, (text_column, *filter(None, [pair_column]))))


def _not_empty(path: Path, rows: Iterator[TextRow]) -> Iterator[TextRow]:
    """The rows of a file, which has at least one."""
    first = next(rows, None)
    if first is None:
        raise UserError(f"{path} has no rows: give it at least one")
    yield first
    yield from rows


def stream_lines_of(file: Iterable[bytes]) -> Iterator[TextRow]:
    """The lines of standard input in UTF-8; each is a text.

    Raises:
        UserError: a line is not UTF-8, or contains a NUL byte.
    """
    for number, line in enumerate(file, 1):
        if number == 1:
            line = line.removeprefix(UTF8_BOM)
        place = f"standard input, line {number}"
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            raise UserError(f"{place}: not UTF-8 (byte {line[error.start]:#04x}): convert it, as with iconv") from error
        if "\0" in text:
            raise UserError(f"{place}: contains a NUL byte: give one text per line")
        yield TextRow(text.rstrip("\r\n"), place)


def _read_csv(path: Path, names: Sequence[str], separator: str = COMMA) -> Iterator[TextRow]:
    csv.field_size_limit(sys.maxsize)  # a text may be longer than the 131,072 characters of the default
    lines = stream_lines(path)
    first: list[str] = []
    while sum(map(bool, map(str.strip, first))) < 2 and (line := next(lines, None)) is not None:
        first.append(line)
    if not "".join(first).strip():
        raise UserError(f"{path} is empty: give it at least one row")
    check_separator(path, "".join(first), names, separator)
    records = csv_records(path, csv.reader(itertools.chain(first, lines), delimiter=separator, strict=True))
    columns = csv_header(path, records, separator)
    for name in (*names, *columns):
        if columns.count(name) != 1:
            raise _wrong_column(str(path), columns, names, name)
    for number, fields in records:
        place = f"{path}:{number}"
        if isinstance(fields, str):
            yield TextRow("", place, dict.fromkeys(columns, ""), fields)
        elif len(fields) != len(columns):
            advice = f"quote {SEPARATORS[separator]}" if len(fields) > len(columns) else "fill in the others"
            fault = f"{len(fields)} fields, but there are {len(columns)} columns: {advice}"
            yield TextRow("", place, dict(itertools.zip_longest(columns, fields[: len(columns)], fillvalue="")), fault)
        else:
            yield _text_row(dict(zip(columns, fields, strict=True)), names, place)


def _read_jsonl(path: Path, names: Sequence[str]) -> Iterator[TextRow]:
    found = False
    for number, line in enumerate(stream_lines(path), 1):
        if not line.strip():
            continue
        place, record = f"{path}:{number}", json_object(line)
        if isinstance(record, str):
            if not found and line.lstrip().startswith("["):
                raise UserError(f"{path} is a JSON array: write one object a line")
            yield TextRow("", place, fault=record)
            continue
        if not found and (missing := [name for name in names if name not in record]):
            raise _wrong_column(place, list(record), names, missing[0])
        found = True
        yield _text_row(record, names, place)


def _text_row(columns: Mapping[str, Any], names: Sequence[str], place: str) -> TextRow:
    """The text of a row, or the pair of sentences if there are two names; or what is wrong with it."""
    values: list[Any] = [columns.get(name) for name in names]
    faults = filter(None, (_fault(value, name, len(names) > 1) for value, name in zip(values, names, strict=True)))
    if fault := next(faults, ""):
        return TextRow("", place, columns, fault)
    return TextRow(join(*values) if len(values) > 1 else values[0], place, columns)


def _fault(text: Any, column: str, of_pair: bool) -> str:
    """What is wrong with a value that should be a text, or a sentence of a pair; empty if nothing is."""
    if text is None:
        return f"no text in the column {column!r}"
    if not isinstance(text, str):
        return f"the text is {repr(text)[:60]}, not a string"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "the text has half of a character (a lone surrogate)"
    if of_pair and MARK in text:
        return f"the column {column!r} has the character {MARK}, which stands between the sentences of a pair"
    return ""


def _wrong_column(where: str, columns: Sequence[str], names: Sequence[str], name: str) -> ColumnError:
    advice = "give each another name" if name in columns else f"rename it, or set {OPTIONS[names.index(name)]}"
    return ColumnError(f"{column_problem(where, columns, name)}: {advice}")


READERS: dict[str, Callable[[Path, Sequence[str]], Iterator[TextRow]]] = {
    ".csv": _read_csv,
    ".tsv": partial(_read_csv, separator=TAB),
    ".jsonl": _read_jsonl,
}
"""How each kind of file is read, by the end of its name."""

KINDS = ".csv, .tsv or .jsonl (also with .gz after it)"
"""The ends of names, for messages."""
