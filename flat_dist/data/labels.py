"""Labels as files have them, and the classes that they stand for."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from flat_dist.config.errors import UserError

INTEGER = re.compile(r"-?\d{1,9}", re.ASCII)
_WHOLE = re.compile(r"(-?\d{1,9})(\.0*)?", re.ASCII)
"""An integer, also as a column of floats has it, which pandas makes of integers with a gap."""

SHOWN = 10
"""Classes that a message lists."""


class UnusableError(Exception):
    """A row cannot be used; its message says why, but not where the row is."""


def read(value: Any) -> str:
    """A label, or the name of a class, as text: an integer (`1`, `01`, `1.0` and `1.` are the same), `true` or `false`,
    or a name.

    Raises:
        UnusableError: it is nothing of these.
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float | Decimal) and value == value // 1:  # not NaN, nor infinite
        return str(int(value))
    text = " ".join(value.split()) if isinstance(value, str) else ""
    if not text or (not text.isascii() and any(unicodedata.category(letter) == "Cs" for letter in text)):
        raise UnusableError(f"label {_cut(value)} is neither an integer nor a name")
    whole = _WHOLE.fullmatch(text)
    return str(int(whole[1])) if whole else text


def find(label: str, names: Sequence[str]) -> int:
    """The number of the class that a label, as `read` made it, stands for: by its name, or by its number.

    Where names are integers, an integer is a name and never a number: labels counted from 1 and from 0 are not mixed.

    Raises:
        UnusableError: it is none of the classes.
    """
    if label in names:
        return names.index(label)
    numbered = not any(map(INTEGER.fullmatch, names))
    if numbered and INTEGER.fullmatch(label) and 0 <= int(label) < len(names):
        return int(label)
    alike = [name for name in names if fold(name) == fold(label)]
    if alike and fold(label) in ("true", "false"):  # as JSON, pandas and R write them
        return names.index(alike[0])
    numbers = f" (or 0 to {len(names) - 1})" if numbered else ""
    meant = f" (is {alike[0]!a} meant?)" if alike else ""
    shown = ascii(label) if alike else _cut(label)
    raise UnusableError(f"label {shown} is none of the classes {listed(names)}{numbers}{meant}")


def found(labels: Sequence[str], source: str) -> tuple[str, ...]:
    """The classes of a training file: "0", "1", ... where labels are integers, else the names, sorted.

    Raises:
        UserError: there is no label, integers leave gaps, or there is one class only, or classes that look the same.
    """
    if not labels:
        raise UserError(f"{source} has no row that can be used: give it at least one")
    names = set(labels)
    if len(names) == 1:
        raise UserError(f"{source} has only the class {names.pop()!r}: give it examples of at least two classes")
    if not all(map(INTEGER.fullmatch, names)):
        _check_alike(names, source)
        return tuple(sorted(names))
    numbers = sorted(map(int, names))
    if numbers != list(range(len(numbers))):
        raise UserError(
            f"{source} has the labels {listed(list(map(str, numbers)))}: number classes 0, 1, ... without gaps, or "
            f"name them: --data.label_names {' '.join(map(str, numbers[:SHOWN]))}{' ...' * (len(numbers) > SHOWN)}"
        )
    return tuple(map(str, numbers))


def other_kind(label: str, first: str) -> str:
    """What is wrong with a training label where the first one is an integer and it a name, or the reverse."""
    kinds = ("an integer", "a name") if INTEGER.fullmatch(label) else ("a name", "an integer")
    return "" if _same_kind(label, first) else f"label {_cut(label)} is {kinds[0]}, but the first is {kinds[1]}"


def _same_kind(label: str, other: str) -> bool:
    return (INTEGER.fullmatch(label) is None) == (INTEGER.fullmatch(other) is None)


def _check_alike(names: Iterable[str], source: str) -> None:
    by_fold: dict[str, str] = {}
    for name in sorted(names):
        other = by_fold.setdefault(fold(name), name)
        if other != name:
            raise UserError(
                f"{source} has the classes {other!a} and {name!a}, which differ in case, spaces or invisible "
                "characters alone: write them alike, or name all classes with --data.label_names"
            )


def fold(name: str) -> str:
    """A name without case, spaces, and characters that are not seen."""
    text = unicodedata.normalize("NFKC", name).casefold()
    return "".join(letter for letter in text if not unicodedata.category(letter).startswith(("C", "Z")))


def shown(name: str) -> str:
    """A name as it is printed: characters that are not seen as escapes."""
    return name if name.isprintable() else ascii(name)


def listed(names: Sequence[str]) -> str:
    """Some names, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(map(shown, names[:SHOWN])) + more


def _cut(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
