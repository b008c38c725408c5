"""Texts to the ids that a model reads."""

import bisect
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from flat_dist.data.preprocessing import SPANNING, Vocabulary, clean, tokenize
from flat_dist.data.wordpieces import WordPieces

CACHE_SIZE = 2**14
"""Words whose pieces an encoder caches."""


@dataclass(frozen=True)
class Encoder:
    """Turns texts into ids of pieces: whole words, or a transformer's word pieces."""

    vocabulary: Vocabulary | WordPieces
    max_length: int
    """Maximum number of pieces, with special ones. A word that does not fit is dropped, unless it is the only one."""

    def encode(self, text: str) -> tuple[int, ...]:
        """Ids of a text, with special pieces if the model has them; a text without words is one unknown word."""
        return (*self.vocabulary.prefix, *self._pieces(text)[0], *self.vocabulary.suffix)

    def spans(self, text: str) -> list[tuple[int, int]]:
        """For each word that the model reads, start and end of its pieces in the result of `encode`."""
        ends = list(itertools.accumulate(self._pieces(text)[1], initial=len(self.vocabulary.prefix)))
        return list(itertools.pairwise(ends))

    def words(self, text: str) -> list[str]:
        """The words of a text that the model reads."""
        return tokenize(clean(text))[: len(self.spans(text))]

    def inner_pieces(self, words: str) -> tuple[int, ...]:
        """Pieces of words inside a text."""
        ids = self.encode(words)
        return ids[len(self.vocabulary.prefix) : len(ids) - len(self.vocabulary.suffix)]

    def to_json(self) -> Any:
        """The vocabulary as plain values, ready for JSON."""
        return self.vocabulary.to_json()

    @cached_property
    def max_word_pieces(self) -> int:
        """Maximum number of pieces without special ones."""
        return self.max_length - len(self.vocabulary.prefix) - len(self.vocabulary.suffix)

    def _pieces(self, text: str) -> tuple[list[int], list[int]]:
        """Pieces of all words that the model reads, and the number of pieces of each word."""
        if SPANNING.search(text):
            pieces, sizes = self._encode(text)
        else:
            # Part by part, with a cache: texts under attack differ in one word.
            pieces, sizes = [], []
            for part in text.split(" "):
                more, more_sizes = self._encode_part(part)
                pieces += more
                sizes += more_sizes
                if len(pieces) >= self.max_word_pieces:
                    break
        return (
            self._cut(pieces, sizes)
            if len(pieces) > self.max_word_pieces
            else (pieces or [self.vocabulary.unknown], sizes)
        )

    def _cut(self, pieces: list[int], sizes: list[int]) -> tuple[list[int], list[int]]:
        fitting = bisect.bisect_right(list(itertools.accumulate(sizes)), self.max_word_pieces)
        if not fitting:
            return pieces[: self.max_word_pieces], [self.max_word_pieces]
        return pieces[: sum(sizes[:fitting])], sizes[:fitting]

    def _encode(self, text: str) -> tuple[list[int], list[int]]:
        words = [self.vocabulary.pieces(word) for word in tokenize(clean(text))]
        return [piece for pieces in words for piece in pieces], [len(pieces) for pieces in words]

    @cached_property
    def _encode_part(self) -> Callable[[str], tuple[list[int], list[int]]]:
        return lru_cache(CACHE_SIZE)(self._encode)
