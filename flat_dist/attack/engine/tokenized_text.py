"""A text as TextAttack reads it: words, and what stands between them, without its text objects.

The rules are those of `textattack.shared.AttackedText` (0.3.11) for a change of one word. Importing this imports
TextAttack: call `flat_dist.resources.textattack_setup.activate` before.
"""

import math
import re
from dataclasses import dataclass

from textattack.shared.utils import words_from_text

_CHINESE = re.compile("[\u4e00-\u9fff]")


class UnusualTextError(Exception):
    """Words that depend on more than themselves: TextAttack's own text objects must take the text apart."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """What may stand in the place of a word."""

    written: str
    """As it is put into the text."""
    word: str
    """The one word that TextAttack then reads there: `Mr` where `Mr.` is written."""
    offset: int
    """Where in `written` the word begins."""

    @classmethod
    def read(cls, written: str) -> "Candidate":
        """The candidate that is written so.

        Raises:
            UnusualTextError: it is not one word, or its words depend on what surrounds it.
        """
        if written.isascii() and written.isalnum():
            return cls(written, written, 0)
        words = words_from_text(written)
        if len(words) != 1 or _CHINESE.search(written) or len(written.lower()) != len(written):
            raise UnusualTextError(written)
        return cls(written, words[0], written.index(words[0]))


@dataclass(frozen=True, slots=True)
class TokenizedText:
    """A text, its words, and where each of them starts."""

    text: str
    words: tuple[str, ...]
    starts: tuple[int, ...]

    @classmethod
    def read(cls, text: str) -> "TokenizedText":
        """Take a text apart.

        Raises:
            UnusualTextError: it holds Chinese characters, whose words TextAttack guesses from the whole text, or
                letters that change their number in lower case, which shifts the windows of its sentence encoder.
        """
        if _CHINESE.search(text):
            raise UnusualTextError(text)
        words = tuple(words_from_text(text))
        starts = _find(text, words)
        if starts != _find(text.lower(), tuple(word.lower() for word in words)):
            raise UnusualTextError(text)
        return cls(text, words, starts)

    def end(self, index: int) -> int:
        """Where a word ends."""
        return self.starts[index] + len(self.words[index])

    def with_written(self, index: int, written: str) -> str:
        """The text with something else in the place of a word."""
        return self.text[: self.starts[index]] + written + self.text[self.end(index) :]

    def without(self, index: int) -> str:
        """The text without a word, and without the space before it (after it, where it is the first)."""
        before, after = self.text[: self.starts[index]], self.text[self.end(index) :]
        if after:
            if index == 0:
                after = after.removeprefix(" ")
            else:
                before = before.removesuffix(" ")
        return before + after

    def swap(self, index: int, candidate: Candidate) -> "TokenizedText":
        """The text with a candidate in the place of a word."""
        shift = len(candidate.written) - len(self.words[index])
        return TokenizedText(
            self.with_written(index, candidate.written),
            (*self.words[:index], candidate.word, *self.words[index + 1 :]),
            (
                *self.starts[:index],
                self.starts[index] + candidate.offset,
                *(start + shift for start in self.starts[index + 1 :]),
            ),
        )

    def windows(self, index: int, size: int, candidates: list[Candidate]) -> tuple[str, list[str]]:
        """The `size` words around a word: as they stand, and with each candidate in its place."""
        first, last = self._window(index, size)
        start, end = self.starts[first], self.end(last)
        before = self.text[start : self.starts[index]]
        after = self.text[self.end(index) : end]
        swapped = []
        for candidate in candidates:
            written = candidate.written
            if last == index:
                written = written[: candidate.offset + len(candidate.word)]
            if first == index:
                written = written[candidate.offset :]
            swapped.append(before + written + after)
        return self.text[start:end], swapped

    def _window(self, index: int, size: int) -> tuple[int, int]:
        half, length = (size - 1) / 2, len(self.words)
        if index - half < 0:
            return 0, min(size - 1, length - 1)
        if index + half >= length:
            return max(0, length - size), length - 1
        return index - math.ceil(half), index + math.floor(half)


def _find(text: str, words: tuple[str, ...]) -> tuple[int, ...]:
    starts = []
    position = 0
    for word in words:
        position = text.find(word, position)
        starts.append(position)
        position += len(word)
    return tuple(starts)
