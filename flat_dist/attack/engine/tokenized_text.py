"""A text split into words as TextAttack splits it, without its text objects.

The rules are those of `textattack.shared.AttackedText` (0.3.11) for a change of one word. This module imports
TextAttack: call `flat_dist.resources.textattack_setup.activate` first.
"""

import bisect
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from textattack.shared.utils import words_from_text

from flat_dist.data.sentence_pairs import SEPARATOR, without_mark

_CHINESE = re.compile("[\u4e00-\u9fff]")


class UnusualTextError(Exception):
    """A text whose words depend on their context: only TextAttack's own text objects can split it."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A replacement for a word."""

    replacement: str
    """The characters that are put into the text."""
    word: str
    """The one word that TextAttack finds in them: `Mr` in `Mr.`."""
    offset: int
    """Where the word begins in `replacement`."""

    @classmethod
    def parse(cls, replacement: str) -> "Candidate":
        """The candidate with these characters.

        Raises:
            UnusualTextError: they are not one word, or their words depend on the context.
        """
        if replacement.isascii() and replacement.isalnum():
            return cls(replacement, replacement, 0)
        words = words_from_text(replacement)
        if len(words) != 1 or _CHINESE.search(replacement) or len(replacement.lower()) != len(replacement):
            raise UnusualTextError(replacement)
        return cls(replacement, words[0], replacement.index(words[0]))


@lru_cache(2**15)
def parsed(replacement: str) -> Candidate:
    """`Candidate.parse`, once for each word."""
    return Candidate.parse(replacement)


@dataclass(frozen=True, slots=True)
class TokenizedText:
    """A text, its words, and the position where each of them starts."""

    text: str
    words: tuple[str, ...]
    starts: tuple[int, ...]

    @classmethod
    def parse(cls, text: str) -> "TokenizedText":
        """Split a text into words.

        Raises:
            UnusualTextError: it has Chinese characters, which TextAttack splits by the whole text, or letters whose
                lower case has another length, which shifts the windows of TextAttack's sentence encoder.
        """
        if _CHINESE.search(text):
            raise UnusualTextError(text)
        words = tuple(words_from_text(text))
        starts = find_words(text, words)
        if starts != find_words(text.lower(), tuple(word.lower() for word in words)):
            raise UnusualTextError(text)
        return cls(text, words, starts)

    def end(self, index: int) -> int:
        """Position where a word ends."""
        return self.starts[index] + len(self.words[index])

    def words_before(self, position: int) -> int:
        """Number of words that start before a position."""
        return bisect.bisect_left(self.starts, position)

    def with_replacement(self, index: int, replacement: str) -> str:
        """The text with a word replaced."""
        return self.text[: self.starts[index]] + replacement + self.text[self.end(index) :]

    def without(self, index: int) -> str:
        """The text without a word and without the space before it (after it, for the first word)."""
        before, after = self.text[: self.starts[index]], self.text[self.end(index) :]
        if after:
            if index == 0:
                after = after.removeprefix(" ")
            elif not before.endswith(SEPARATOR):
                before = before.removesuffix(" ")
        return before + after

    def swap(self, index: int, candidate: Candidate) -> "TokenizedText":
        """The text with a word replaced by a candidate."""
        shift = len(candidate.replacement) - len(self.words[index])
        return TokenizedText(
            self.with_replacement(index, candidate.replacement),
            (*self.words[:index], candidate.word, *self.words[index + 1 :]),
            (
                *self.starts[:index],
                self.starts[index] + candidate.offset,
                *(start + shift for start in self.starts[index + 1 :]),
            ),
        )

    def with_words(self, words: Sequence[str]) -> "TokenizedText":
        """The text with all words replaced, by words that TextAttack reads as they are."""
        parts: list[str] = []
        starts: list[int] = []
        position = length = 0
        for old, start, new in zip(self.words, self.starts, words, strict=True):
            parts += self.text[position:start], new
            length += start - position
            starts.append(length)
            position, length = start + len(old), length + len(new)
        return TokenizedText("".join(parts) + self.text[position:], tuple(words), tuple(starts))

    def window(self, index: int, size: float) -> str:
        """The `size` words around a word; the last ones, if the text has no word with this index."""
        first, last = self._window(index, size)
        return without_mark(self.text[self.starts[first] : self.end(last)])

    def windows(self, index: int, size: float, candidates: list[Candidate]) -> tuple[str, list[str]]:
        """The `size` words around a word, and the same window with each candidate in its place."""
        first, last = self._window(index, size)
        start, end = self.starts[first], self.end(last)
        before = self.text[start : self.starts[index]]
        after = self.text[self.end(index) : end]
        swapped = []
        for candidate in candidates:
            replacement = candidate.replacement
            if last == index:
                replacement = replacement[: candidate.offset + len(candidate.word)]
            if first == index:
                replacement = replacement[candidate.offset :]
            swapped.append(before + replacement + after)
        if SEPARATOR in self.text:
            return without_mark(self.text[start:end]), [without_mark(window) for window in swapped]
        return self.text[start:end], swapped

    def _window(self, index: int, size: float) -> tuple[int, int]:
        half, length = (size - 1) / 2, len(self.words)
        if index - half < 0:
            return 0, int(min(size - 1, length - 1))
        if index + half >= length:
            return int(max(0, length - size)), length - 1
        return index - math.ceil(half), index + math.floor(half)


def find_words(text: str, words: tuple[str, ...]) -> tuple[int, ...]:
    """Position in a text where each of its words starts."""
    starts = []
    position = 0
    for word in words:
        position = text.find(word, position)
        starts.append(position)
        position += len(word)
    return tuple(starts)
