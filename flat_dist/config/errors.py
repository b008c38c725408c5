"""Mistakes of users, and the sentences that say what is wrong."""

import difflib
import unicodedata
from collections.abc import Iterable


class UserError(Exception):
    """A mistake that the user can mend; its message says what was wrong, where, and what to do."""


def unknown(what: str, value: str, known: Iterable[str]) -> UserError:
    """The error for a name that is none of the known ones, with the nearest of them."""
    names = sorted(known)
    near = difflib.get_close_matches(value, names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return UserError(f"unknown {what} {quoted(value)}: choose one of {', '.join(names)}{hint}")


def quoted(value: str) -> str:
    """A value of the user as messages show it: in quotes, without what would break a line, and not too long."""
    return repr(value if len(value) <= 80 else f"{value[:60]}…{value[-19:]}")


def check_text(name: str, value: str) -> None:
    """Raise UserError if a text is none that a path, an address or a name could be; `name` is the option's."""
    if not value.strip():
        raise UserError(f"{name} is empty: give it a value, or leave it out")
    if any("\ud800" <= letter <= "\udfff" for letter in value):
        raise UserError(f"{name} is {quoted(value)}, which is not UTF-8: give it another name")
    if any(unicodedata.category(letter) == "Cc" for letter in value):
        raise UserError(f"{name} is {quoted(value)}, which holds a control character: leave that out")
