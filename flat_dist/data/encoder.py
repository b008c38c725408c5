"""Texts to the ids that a model reads."""

import bisect
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, ClassVar

from flat_dist.config.errors import UserError
from flat_dist.data import sentence_pairs
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
    reads_texts: ClassVar[bool] = True
    """Whether it reads single texts."""
    reads_pairs: ClassVar[bool] = False
    """Whether it reads pairs of sentences."""
    cleans: ClassVar[bool] = True
    """Whether it reads texts cleaned."""

    def encode(self, text: str) -> tuple[int, ...]:
        """Ids of a text, with special pieces if the model has them; a text without words is one unknown word."""
        return (*self.vocabulary.prefix, *self._pieces(text, self.max_word_pieces)[0], *self.vocabulary.suffix)

    def before(self, text: str) -> tuple[int, ...]:
        """The ids of a text before its first word."""
        return self.vocabulary.prefix

    def spans(self, text: str) -> list[tuple[int, int]]:
        """For each word that the model reads, start and end of its pieces in the result of `encode`."""
        sizes = self._pieces(text, self.max_word_pieces)[1]
        return list(itertools.pairwise(itertools.accumulate(sizes, initial=len(self.vocabulary.prefix))))

    def end_of_pieces(self, text: str, position: int) -> int:
        """Number of ids in the result of `encode` that are of the characters of a text before a position."""
        spans = self.spans(text[:position])
        return spans[-1][1] if spans else len(self.vocabulary.prefix)

    @property
    def for_words(self) -> "Encoder":
        """An encoder of single words with the same pieces."""
        return self

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

    def _pieces(self, text: str, room: int) -> tuple[list[int], list[int]]:
        """Pieces of the words that fit into `room` pieces, and the number of pieces of each word."""
        if SPANNING.search(text):
            pieces, sizes = self._encode(text)
        else:
            # Part by part, with a cache: texts under attack differ in one word.
            pieces, sizes = [], []
            for part in text.split(" "):
                more, more_sizes = self._encode_part(part)
                pieces += more
                sizes += more_sizes
                if len(pieces) >= room:
                    break
        return _cut(pieces, sizes, room) if len(pieces) > room else (pieces or [self.vocabulary.unknown], sizes)

    def _encode(self, text: str) -> tuple[list[int], list[int]]:
        words = [self.vocabulary.pieces(word) for word in tokenize(clean(text))]
        return [piece for pieces in words for piece in pieces], [len(pieces) for pieces in words]

    @cached_property
    def _encode_part(self) -> Callable[[str], tuple[list[int], list[int]]]:
        return lru_cache(CACHE_SIZE)(self._encode)


def _cut(pieces: list[int], sizes: list[int], room: int) -> tuple[list[int], list[int]]:
    fitting = bisect.bisect_right(list(itertools.accumulate(sizes)), room)
    if not fitting:
        return pieces[:room], [room]
    return pieces[: sum(sizes[:fitting])], sizes[:fitting]


@dataclass(frozen=True)
class PairEncoder(Encoder):
    """Turns pairs of sentences into ids; `words` and `spans` are those of the second sentence, which is attacked.

    If both sentences do not fit, words are left out at the end of the longer one. `vocabulary` has pieces between two
    texts.
    """

    vocabulary: WordPieces
    reads_texts: ClassVar[bool] = False
    reads_pairs: ClassVar[bool] = True

    def encode(self, text: str) -> tuple[int, ...]:
        """Ids of a pair, with special pieces.

        Raises:
            UserError: it is a single text.
        """
        before, pieces, _ = self._read(text)
        return (*before, *pieces, *self.vocabulary.suffix)

    def before(self, text: str) -> tuple[int, ...]:
        """The ids of a pair before the first word of its second sentence."""
        return self._read(text)[0]

    def spans(self, text: str) -> list[tuple[int, int]]:
        """For each word of the second sentence that the model reads, start and end of its pieces."""
        before, _, sizes = self._read(text)
        return list(itertools.pairwise(itertools.accumulate(sizes, initial=len(before))))

    def words(self, text: str) -> list[str]:
        """The words of the second sentence that the model reads."""
        return tokenize(clean(sentence_pairs.attacked(text)))[: len(self.spans(text))]

    def end_of_pieces(self, text: str, position: int) -> int:
        """Number of ids in the result of `encode` that are of the characters of a pair before a position in its second
        sentence."""
        before, pieces, _ = self._read(text)
        _, sizes = self._pieces(sentence_pairs.attacked(text[:position]), self.max_word_pieces)
        return len(before) + min(sum(sizes), len(pieces))

    @property
    def for_words(self) -> Encoder:
        """An encoder of single words with the same pieces."""
        return Encoder(self.vocabulary, self.max_length)

    @cached_property
    def max_word_pieces(self) -> int:
        """Maximum number of pieces of one sentence, without special ones; the other one then has one piece."""
        special = (*self.vocabulary.prefix, *self.vocabulary.between, *self.vocabulary.suffix)
        return self.max_length - len(special) - 1

    def _read(self, text: str) -> tuple[tuple[int, ...], list[int], list[int]]:
        """Ids before the second sentence, pieces of that sentence, and the number of pieces of each of its words."""
        pair = sentence_pairs.split(text)
        if pair is None:
            raise UserError(
                f"the model reads pairs of sentences, but {text[:40]!r} is a single text: give pairs, as with "
                "--data.text-pair-column"
            )
        (first, first_sizes), (second, sizes) = (self._pieces(sentence, self.max_word_pieces) for sentence in pair)
        room = self.max_word_pieces + 1
        if len(first) + len(second) > room:
            first_room = max(room - len(second), room - room // 2)
            if len(first) > first_room:
                first, _ = _cut(first, first_sizes, first_room)
            if len(second) > room - len(first):
                second, sizes = _cut(second, sizes, room - len(first))
        return (*self.vocabulary.prefix, *first, *self.vocabulary.between), second, sizes


def encoder_of(vocabulary: Vocabulary | WordPieces, max_length: int) -> Encoder:
    """The encoder of a model with a vocabulary: of pairs, if it has pieces between two texts."""
    if isinstance(vocabulary, WordPieces) and vocabulary.between:
        return PairEncoder(vocabulary, max_length)
    return Encoder(vocabulary, max_length)
