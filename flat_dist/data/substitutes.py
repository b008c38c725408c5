"""Substitutes for the words of the training texts: the table that an attack's candidates make, and its words as pieces.

Shapes: R words, K candidates of a word.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from flat_dist.data.encoder import Encoder

NAME = "substitutes"
"""Name of the file with the table."""

SCHEMA = pa.schema([("word", pa.string()), ("candidates", pa.list_(pa.string()))])
"""Words, each with its candidates, the nearest first. Words without candidates are left out."""

NONE = -1
"""Row of a word without candidates, and what fills a row that has fewer candidates than others."""

Pieces = tuple[int, ...]
"""The pieces of one word."""


@dataclass(frozen=True)
class TextWords:
    """The words of one text that the model reads."""

    pieces: tuple[Pieces, ...]
    rows: np.ndarray
    """Row of each word in `Substitutes.candidates_RK`; NONE if it has no candidates."""
    before: Pieces
    """What the model reads before the first word."""


@dataclass(frozen=True)
class Substitutes:
    """The words of the training texts, and their candidates as the model reads them."""

    texts: tuple[TextWords, ...]
    pieces: tuple[Pieces, ...]
    """Every distinct candidate."""
    candidates_RK: np.ndarray
    """Candidates of each word as indices of `pieces`, the nearest first, then NONE."""
    encoder: Encoder

    def ids(self, before: Pieces, words: Sequence[Pieces]) -> tuple[int, ...]:
        """Ids of a text of these words; words at its end that do not fit are left out.

        Args:
            before: what the model reads before the first word.
            words: the pieces of each.
        """
        vocabulary, ends = self.encoder.vocabulary, itertools.accumulate(map(len, words), initial=len(before))
        fitting = sum(end <= self.end for end in ends) - 1
        pieces = tuple(itertools.chain.from_iterable(words[:fitting])) or (vocabulary.unknown,)
        return (*before, *pieces, *vocabulary.suffix)

    @property
    def end(self) -> int:
        """Where the last word of the longest text ends."""
        return self.encoder.max_length - len(self.encoder.vocabulary.suffix)


def build(table: pa.Table, texts: Sequence[str], encoder: Encoder, count: int) -> Substitutes:
    """The candidates of the words of texts.

    A candidate is left out if the model reads it as the word itself, as another candidate, or not at all.

    Args:
        table: rows of `SCHEMA`.
        texts: the training texts.
        encoder: words to pieces.
        count: maximum number of candidates of a word.
    """
    known = dict(zip(table["word"].to_pylist(), table["candidates"].to_pylist(), strict=True))
    number_of: dict[Pieces, int] = {}
    row_of: dict[str, int] = {}
    rows: list[list[int]] = []
    read: list[TextWords] = []
    for text in texts:
        words, ids = encoder.words(text), encoder.encode(text)
        pieces = tuple(ids[start:end] for start, end in encoder.spans(text))
        for word, own in zip(words, pieces, strict=True):
            if word not in row_of:
                candidates = _distinct(known, word, own, encoder)[:count]
                row_of[word] = len(rows) if candidates else NONE
                if candidates:
                    rows.append([number_of.setdefault(candidate, len(number_of)) for candidate in candidates])
        rows_of_words = np.array([row_of[word] for word in words], dtype=np.int64)
        read.append(TextWords(pieces, rows_of_words, encoder.before(text)))
    candidates_RK = np.full((len(rows), max(map(len, rows), default=1)), NONE, dtype=np.int64)
    for row, numbers in enumerate(rows):
        candidates_RK[row, : len(numbers)] = numbers
    return Substitutes(tuple(read), tuple(number_of), candidates_RK, encoder)


def _distinct(known: Mapping[str, Sequence[str]], word: str, own: Pieces, encoder: Encoder) -> list[Pieces]:
    """The candidates of a word as pieces, without the word itself, each once. A word that is not read has none."""
    single = encoder.for_words
    read = dict.fromkeys(single.inner_pieces(candidate) for candidate in known.get(word, ()) if own)
    return [pieces for pieces in read if pieces and pieces != own]
