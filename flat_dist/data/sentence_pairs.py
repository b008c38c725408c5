"""Pairs of sentences: a pair is one text, so that it is one example everywhere, from the file to the report.

The first sentence (the premise of an inference) is fixed; the second one (the hypothesis) is attacked and explained.
Between both stands a mark that no cleaned text has.
"""

MARK = "‖"
"""Stands between the sentences of a pair."""

SEPARATOR = f" {MARK} "


def join(first: str, second: str) -> str:
    """The pair of two sentences as one text."""
    return f"{first}{SEPARATOR}{second}"


def split(text: str) -> tuple[str, str] | None:
    """The sentences of a pair; None for a single text."""
    first, found, second = text.partition(SEPARATOR)
    return (first, second) if found else None


def is_pair(text: str) -> bool:
    """Whether a text is a pair of sentences."""
    return SEPARATOR in text


def attacked(text: str) -> str:
    """The part of a text that attacks may change: the second sentence of a pair, or a whole single text."""
    return text.partition(SEPARATOR)[2] if is_pair(text) else text


def without_mark(text: str) -> str:
    """A text with only a space between its sentences, for programs that read it as one."""
    return text.replace(SEPARATOR, " ")
