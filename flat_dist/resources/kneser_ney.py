"""A bigram language model with interpolated modified Kneser-Ney smoothing (Chen and Goodman 1999, Section 4.1.6).

All that is estimated are ratios of integer counts, in double precision, by operations that every processor rounds
alike. So equal texts give equal probabilities everywhere.

Shape letters: V words of the vocabulary, N distinct bigrams, Q words that are asked for.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np

START, END = "<s>", "</s>"
"""Around each sentence; no word of a text is equal to them."""

MODELLED = 3
"""Counts from this on share one discount."""


def discounts(counts_N: np.ndarray) -> np.ndarray:
    """What is subtracted from a count of 0, 1, 2, and of 3 or more: (4,) float64.

    With n_k the number of counts that are exactly k, and Y = n_1 / (n_1 + 2 n_2), it is k - (k + 1) Y n_(k+1) / n_k.

    Raises:
        ValueError: no count is 1, or none is 2, or none is 3: there is too little text.
    """
    n1, n2, n3, n4 = (int((counts_N == count).sum()) for count in range(1, MODELLED + 2))
    if not n1 * n2 * n3:
        raise ValueError(f"too little text for Kneser-Ney: {n1}, {n2} and {n3} n-grams occur once, twice, three times")
    y = n1 / (n1 + 2 * n2)
    return np.array([0.0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3])


def count_bigrams(sentences: Iterable[Sequence[str]]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """The vocabulary in alphabetical order after the marks, the key of each bigram (N) in ascending order, and how
    often it occurs (N).

    The key of two words with the indices i and j in a vocabulary of V words is i V + j.
    """
    counts = Counter(pair for sentence in sentences for pair in pairwise((START, *sentence, END)))
    words = [START, END, *sorted({word for pair in counts for word in pair} - {START, END})]
    index = {word: position for position, word in enumerate(words)}
    found = sorted((index[first] * len(words) + index[second], count) for (first, second), count in counts.items())
    keys_N, counts_N = np.array(found, np.int64).reshape(-1, 2).T
    return words, keys_N.copy(), counts_N.copy()


class BigramModel:
    """The probability of a word after another. What it has not seen shares the probability of one unknown word.

    Args:
        words: the vocabulary, beginning with the two marks.
        keys_N: bigrams, as from `count_bigrams`.
        counts_N: how often each occurs.

    Raises:
        ValueError: there is too little text.
    """

    def __init__(self, words: Sequence[str], keys_N: np.ndarray, counts_N: np.ndarray):
        self._index = {word: position for position, word in enumerate(words)}
        self._keys_N, self._counts_N = keys_N, counts_N
        size = len(words)
        first_N, second_N = np.divmod(keys_N, size)
        self._discounts = discounts(counts_N)
        self._totals_V = np.bincount(first_N, counts_N, size)
        self._rest_V = _rest(first_N, counts_N, self._discounts, size) / np.maximum(self._totals_V, 1)
        # The lower order counts distinct words before a word. All words but the start may follow, and an unknown one.
        before_V = np.bincount(second_N, minlength=size)
        lower, total = discounts(before_V[before_V > 0]), int(before_V.sum())
        seen = before_V[before_V > 0]
        self._unknown = float(_rest(np.zeros_like(seen), seen, lower, 1)[0] / total / size)
        self._lower_V = (before_V - lower[np.minimum(before_V, MODELLED)]) / total + self._unknown

    def probabilities(self, previous: str, words: Sequence[str]) -> np.ndarray:
        """Probability of each word (Q) after the previous one; float64."""
        found = [self._index.get(word, -1) for word in words]
        index_Q = np.array(found, np.int64)
        lower_Q = np.where(index_Q < 0, self._unknown, self._lower_V[index_Q])
        first = self._index.get(previous, -1)
        if first < 0 or not self._totals_V[first]:
            return lower_Q
        counts_Q = np.where(index_Q < 0, 0, self._counts(first * len(self._index) + index_Q))
        left_Q = counts_Q - self._discounts[np.minimum(counts_Q, MODELLED)]
        return left_Q / self._totals_V[first] + self._rest_V[first] * lower_Q

    def _counts(self, keys_Q: np.ndarray) -> np.ndarray:
        place_Q = np.minimum(np.searchsorted(self._keys_N, keys_Q), len(self._keys_N) - 1)
        return np.where(self._keys_N[place_Q] == keys_Q, self._counts_N[place_Q], 0)

    def perplexity(self, sentences: Iterable[Sequence[str]]) -> float:
        """Perplexity of sentences with their ends; NaN without any."""
        logs = [
            math.log(self.probabilities(first, [second])[0])
            for sentence in sentences
            for first, second in pairwise((START, *sentence, END))
        ]
        return math.exp(-math.fsum(logs) / len(logs)) if logs else math.nan


def _rest(context_N: np.ndarray, counts_N: np.ndarray, discounted: np.ndarray, contexts: int) -> np.ndarray:
    """Sum of the discounts of each context's counts (contexts,)."""
    rest = np.zeros(contexts)
    for count in range(1, MODELLED + 1):
        rest += discounted[count] * np.bincount(context_N[np.minimum(counts_N, MODELLED) == count], minlength=contexts)
    return rest
