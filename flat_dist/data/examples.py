"""Rows of files as cleaned, labelled examples, and what is wrong with rows that cannot be used."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from flat_dist.config.errors import UserError
from flat_dist.data import labels
from flat_dist.data.labels import UnusableError
from flat_dist.data.preprocessing import clean, lost_symbols
from flat_dist.data.readers import Row, Rows
from flat_dist.data.sentence_pairs import MARK, join

MAX_NAMED_FAULTS = 10
"""Bad rows that a message names."""


class CleanRow(NamedTuple):
    """A row whose text can be used, as a rule cleaned, and whose label is text."""

    text: str
    label: str
    place: str
    lost: str = ""
    """Symbols, such as emoji, that cleaning left out."""


class Fault(NamedTuple):
    """A row that cannot be used."""

    place: str
    reason: str


class Example(NamedTuple):
    """A row whose class is known."""

    text: str
    label: int
    lost: str = ""
    """Symbols, such as emoji, that cleaning left out."""


def to_examples(rows: Rows, label_names: Sequence[str]) -> list[Example | Fault]:
    """Rows as cleaned, labelled examples, or as faults."""
    return [classify(read_row(row), label_names) for row in rows.rows]


def read_row(row: Row, as_written: bool = False) -> CleanRow | Fault:
    """A row with cleaned text, or with its text as it is written, and its label as text."""
    try:
        text, label = _text(row, as_written), labels.normalize(row.label)
    except UnusableError as error:
        return Fault(row.place, str(error))
    sentences = row.text if isinstance(row.text, tuple) else (row.text,)
    return CleanRow(text, label, row.place, "" if as_written else "".join(map(lost_symbols, sentences)))


def classify(row: CleanRow | Fault, label_names: Sequence[str]) -> Example | Fault:
    """A row with the number of its class."""
    if isinstance(row, Fault):
        return row
    try:
        return Example(row.text, labels.class_number(row.label, label_names), row.lost)
    except UnusableError as error:
        return Fault(row.place, str(error))


def _text(row: Row, as_written: bool) -> str:
    if row.fault:
        raise UnusableError(row.fault)
    if isinstance(row.text, tuple):
        first, second = row.text
        return join(_value(first, "first sentence", as_written), _value(second, "second sentence", as_written))
    return _value(row.text, "text", as_written)


def _value(value: Any, what: str, as_written: bool) -> str:
    if value is None or (isinstance(value, str) and not value.strip()):
        raise UnusableError(f"the {what} is empty")
    if not isinstance(value, str):
        raise UnusableError(f"the {what} is {repr(value)[:60]}, not a string")
    if as_written:
        if MARK in value:
            raise UnusableError(f"the {what} has the character {MARK}, which stands between pairs: write another one")
        return value
    if not (text := clean(value)):
        raise UnusableError(f"the {what} {value[:40]!r} is empty after cleaning, which leaves out symbols and emoji")
    return text


def split_faults(splits: Sequence[Sequence[tuple]], drop: bool) -> tuple[list[list[Any]], tuple[int, ...]]:
    """The usable rows of each split, and the number of dropped rows of each.

    Raises:
        UserError: there are bad rows and `drop` is off; the message names the first ones.
    """
    faults = list(
        dict.fromkeys(row for split in splits for row in split if isinstance(row, Fault))
    )  # one file may be two splits
    if faults and not drop:
        raise _bad_rows(faults)
    kept = [[row for row in split if not isinstance(row, Fault)] for split in splits]
    return kept, tuple(len(split) - len(usable) for split, usable in zip(splits, kept, strict=True))


def _bad_rows(faults: Sequence[Fault]) -> UserError:
    named = "; ".join(f"{fault.place}: {fault.reason}" for fault in faults[:MAX_NAMED_FAULTS])
    if len(faults) == 1:
        return UserError(f"{named}: fix the row, or drop bad rows with --data.drop-bad-rows")
    more = f"; and {len(faults) - MAX_NAMED_FAULTS:,} more" if len(faults) > MAX_NAMED_FAULTS else ""
    return UserError(f"{len(faults):,} bad rows: {named}{more}: fix them, or drop them with --data.drop-bad-rows")


def check_label_kinds(splits: Sequence[Sequence[CleanRow | Fault]]) -> list[list[CleanRow | Fault]]:
    """Rows of train, dev and test, for classes that the training labels name.

    Integers among names, or names among integers, become faults: the order of names is alphabetical, and not
    necessarily that of the integers.
    """
    first = next((row.label for row in splits[0] if isinstance(row, CleanRow)), None)
    if first is None:
        return list(map(list, splits))

    def checked(row: CleanRow | Fault, training: bool) -> CleanRow | Fault:
        reason = "" if isinstance(row, Fault) else labels.kind_error(row.label, first, training)
        return Fault(row.place, reason) if reason else row

    return [[checked(row, number == 0) for row in split] for number, split in enumerate(splits)]
