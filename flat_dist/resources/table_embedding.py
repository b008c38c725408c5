"""A table of synonyms as a TextAttack embedding. Importing this imports TextAttack: call `activate` before."""

from collections.abc import Mapping, Sequence

import numpy as np
from textattack.shared import WordEmbedding


class TableEmbedding(WordEmbedding):
    """A table of neighbours, best first; listed pairs have cosine similarity 1, other pairs 0.

    A word that is not in the table raises KeyError, as TextAttack expects. The class is a `WordEmbedding` without
    vectors, because TextAttack's recipes accept no other class.
    """

    def __init__(self, table: Mapping[str, Sequence[str]]):
        listed = (other for others in table.values() for other in others)
        self._words = list(dict.fromkeys((*table, *listed)))
        self._index = {word: index for index, word in enumerate(self._words)}
        super().__init__(np.empty((len(self._words), 0)), self._index, dict(enumerate(self._words)))
        self._neighbours = {
            self._index[word]: [self._index[other] for other in others] for word, others in table.items()
        }

    def __getitem__(self, index: str | int) -> None:
        """None: words have no vectors here."""
        return

    def word2index(self, word: str) -> int:
        """Index of a word."""
        return self._index[word]

    def index2word(self, index: int) -> str:
        """Word at an index."""
        return self._words[index]

    def nearest_neighbours(self, index: int, topn: int) -> list[int]:
        """Indices of the first `topn` neighbours."""
        return self._neighbours.get(index, [])[:topn]

    def get_cos_sim(self, a: str | int, b: str | int) -> float:
        """1 for a word and itself or a listed neighbour, in either order; else 0."""
        first, second = (self._index[word] if isinstance(word, str) else word for word in (a, b))
        listed = second in self._neighbours.get(first, ()) or first in self._neighbours.get(second, ())
        return float(first == second or listed)

    def get_mse_dist(self, a: str | int, b: str | int) -> float:
        """Squared distance of unit vectors with that cosine: 0 or 2."""
        return 2 - 2 * self.get_cos_sim(a, b)
