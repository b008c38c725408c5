"""Errors that the user can fix."""

import difflib
import unicodedata
from collections.abc import Iterable


class UserError(Exception):
    """An error that the user can fix. Its message says what was wrong, where, and what to do."""


class IncompleteError(UserError):
    """A part of a run failed, and the rest of it has results."""


def unknown(what: str, value: str, known: Iterable[str]) -> UserError:
    """The error for an unknown name. Its message lists the known names, and suggests the nearest one."""
    names = sorted(known)
    near = difflib.get_close_matches(value, names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return UserError(f"unknown {what} {quoted(value)}: choose one of {', '.join(names)}{hint}")


def option(name: str) -> str:
    """A field of the config, as its option is written: --model.embedding-dim for model.embedding_dim."""
    return f"--{name.replace('_', '-')}"


def quoted(value: str) -> str:
    """A value of the user for a message: in quotes, without line breaks, and shortened if it is long."""
    return repr(value if len(value) <= 80 else f"{value[:60]}…{value[-19:]}")


def first_line(error: BaseException) -> str:
    """The first line of a library's error that is not empty; its type, if it has no text."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def check_text(name: str, value: str) -> None:
    """Check that a text can be a path, an address or a name.

    Args:
        name: the option, for the message.
        value: its value.

    Raises:
        UserError: it is empty, not UTF-8, or contains a control character.
    """
    if not value.strip():
        raise UserError(f"{name} is empty: give it a value, or leave it out")
    if any("\ud800" <= letter <= "\udfff" for letter in value):
        raise UserError(f"{name} is {quoted(value)}, which is not UTF-8: use another name")
    if any(unicodedata.category(letter) == "Cc" for letter in value):
        raise UserError(f"{name} is {quoted(value)}, which contains a control character: remove it")
