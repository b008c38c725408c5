"""Labels in files, and their classes."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from flat_dist.config.errors import UserError

INTEGER = re.compile(r"-?\d{1,9}", re.ASCII)
_INTEGER_OR_FLOAT = re.compile(r"(-?\d{1,9})(\.0*)?", re.ASCII)
"""An integer, also written as a float, as pandas writes integer columns with missing values."""

MAX_LISTED = 10
"""Classes that a message lists."""


class UnusableError(Exception):
    """A row cannot be used; the message says why, but not where the row is."""


def normalize(value: Any) -> str:
    """A label or class name as text: an integer (`1`, `01`, `1.0` and `1.` are the same), `true`, `false`, or a name.

    Raises:
        UnusableError: it is none of these.
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float | Decimal) and value == value // 1:  # not NaN or infinite
        return str(int(value))
    text = " ".join(value.split()) if isinstance(value, str) else ""
    if not text or (not text.isascii() and any(unicodedata.category(letter) == "Cs" for letter in text)):
        raise UnusableError(f"label {_shorten(value)} is neither an integer nor a name")
    match = _INTEGER_OR_FLOAT.fullmatch(text)
    return str(int(match[1])) if match else text


def class_number(label: str, names: Sequence[str]) -> int:
    """Number of a label's class, by name or by number.

    If names are integers, an integer is always a name, so that labels from 1 and labels from 0 are not mixed.

    Raises:
        UnusableError: it is none of the classes.
    """
    if label in names:
        return names.index(label)
    numbered = not any(map(INTEGER.fullmatch, names))
    if numbered and INTEGER.fullmatch(label) and 0 <= int(label) < len(names):
        return int(label)
    similar = [name for name in names if fold(name) == fold(label)]
    if similar and fold(label) in ("true", "false"):  # as JSON, pandas and R write them
        return names.index(similar[0])
    numbers = f" (or 0 to {len(names) - 1})" if numbered else ""
    meant = f" (is {similar[0]!a} meant?)" if similar else ""
    printable = ascii(label) if similar else _shorten(label)
    raise UnusableError(f"label {printable} is none of the classes {listed(names)}{numbers}{meant}")


def infer_classes(labels: Sequence[str], source: str) -> tuple[str, ...]:
    """The classes of a training file: "0", "1", ... for integer labels, else the sorted names.

    Raises:
        UserError: there is no label, only one class, a gap between integers, or names that look the same.
    """
    if not labels:
        raise UserError(f"{source} has no usable row: give it at least one")
    names = set(labels)
    if len(names) == 1:
        raise UserError(f"{source} has only the class {names.pop()!r}: give it examples of at least two classes")
    if not all(map(INTEGER.fullmatch, names)):
        _check_alike(names, source)
        return tuple(sorted(names))
    numbers = sorted(map(int, names))
    if numbers != list(range(len(numbers))):
        example = " ".join(map(str, numbers[:MAX_LISTED])) + " ..." * (len(numbers) > MAX_LISTED)
        raise UserError(
            f"{source} has the labels {listed(list(map(str, numbers)))}: number classes 0, 1, ... without gaps, or "
            f"name them: --data.label-names {example}"
        )
    return tuple(map(str, numbers))


def kind_error(label: str, first: str, training: bool) -> str:
    """Error of a label that is a name while the first training label is an integer, or the reverse; else empty.

    Outside training rows, the integers 0 and 1 stand for `false` and `true`.
    """
    if _same_kind(label, first):
        return ""
    kinds = ("an integer", "a name") if INTEGER.fullmatch(label) else ("a name", "an integer")
    if training:
        return f"label {_shorten(label)} is {kinds[0]}, but the first is {kinds[1]}"
    if label in ("0", "1") and fold(first) in ("true", "false"):
        return ""
    return (
        f"label {_shorten(label)} is {kinds[0]}, but the first training label is {kinds[1]} (if that is meant, list "
        "the names in the order of their integers with --data.label-names)"
    )


def _same_kind(label: str, other: str) -> bool:
    return (INTEGER.fullmatch(label) is None) == (INTEGER.fullmatch(other) is None)


def _check_alike(names: Iterable[str], source: str) -> None:
    by_fold: dict[str, str] = {}
    for name in sorted(names):
        other = by_fold.setdefault(fold(name), name)
        if other != name:
            raise UserError(
                f"{source} has the classes {other!a} and {name!a}, which differ only in case, spaces or "
                "invisible characters: write them alike, or name all classes with --data.label-names"
            )


def fold(name: str) -> str:
    """A name in lower case, without spaces and invisible characters."""
    text = unicodedata.normalize("NFKC", name).casefold()
    return "".join(letter for letter in text if not unicodedata.category(letter).startswith(("C", "Z")))


def printable(name: str) -> str:
    """A printable name: invisible characters become escapes."""
    return name if name.isprintable() else ascii(name)


def listed(names: Sequence[str]) -> str:
    """The first names, and the number of further ones."""
    more = f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
    return ", ".join(map(printable, names[:MAX_LISTED])) + more


def _shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
