"""The bigram model against values derived by hand, and against exact fractions."""

from collections import Counter
from fractions import Fraction
from functools import cache
from itertools import pairwise

import numpy as np
import pytest

from flat_dist.resources.kneser_ney import END, START, BigramModel, count_bigrams, discounts

DRAWN = np.random.default_rng(3).zipf(1.5, size=(200, 6)) % 301
SENTENCES = [[f"w{number}" for number in row] for row in DRAWN.tolist()]


def model(sentences: list[list[str]] = SENTENCES) -> BigramModel:
    return BigramModel(*count_bigrams(sentences))


def test_discounts_are_chen_and_goodmans() -> None:
    # n1 = 4, n2 = 2, n3 = 1, n4 = 1: Y = 4 / (4 + 2 * 2) = 1/2
    # D1 = 1 - 2 * 1/2 * 2/4 = 1/2; D2 = 2 - 3 * 1/2 * 1/2 = 5/4; D3 = 3 - 4 * 1/2 * 1/1 = 1
    assert discounts(np.array([1, 1, 1, 1, 2, 2, 3, 4, 9])).tolist() == [0, 0.5, 1.25, 1]
    with pytest.raises(ValueError, match="too little text for Kneser-Ney: 2, 0 and 0"):
        discounts(np.array([1, 1]))


def test_bigrams_are_counted_with_the_ends_of_sentences() -> None:
    words, keys, counts = count_bigrams([["b", "a"], ["a"]])
    assert words == [START, END, "a", "b"]
    pairs = [(words[key // 4], words[key % 4]) for key in keys]
    assert dict(zip(pairs, counts.tolist(), strict=True)) == {
        (START, "a"): 1,
        (START, "b"): 1,
        ("a", END): 2,
        ("b", "a"): 1,
    }
    assert keys.tolist() == sorted(keys.tolist())


def test_probabilities_are_those_of_exact_fractions() -> None:
    """A second implementation, word by word, from the formulas."""
    pairs = Counter(pair for sentence in SENTENCES for pair in pairwise((START, *sentence, END)))
    before = Counter(second for _, second in pairs)
    outcomes = [*sorted(before), "unseen"]

    def taken_from(counts: Counter) -> dict[int, Fraction]:
        """The discount of each count."""
        n = Counter(counts.values())
        y = Fraction(n[1], n[1] + 2 * n[2])
        sizes = {count: min(count, 3) for count in n}
        return {0: Fraction(0)} | {count: k - (k + 1) * y * Fraction(n[k + 1], n[k]) for count, k in sizes.items()}

    of_pairs, of_words = taken_from(pairs), taken_from(before)

    @cache
    def lower(word: str) -> Fraction:
        total = sum(before.values())
        rest = sum((of_words[count] for count in before.values()), Fraction()) / total
        return (before[word] - of_words[before[word]]) / total + rest / len(outcomes)

    @cache
    def rest_after(first: str) -> tuple[int, Fraction]:
        after = [count for pair, count in pairs.items() if pair[0] == first]
        return sum(after), sum((of_pairs[count] for count in after), Fraction()) / sum(after)

    def expected(first: str, second: str) -> Fraction:
        total, rest = rest_after(first)
        return (pairs[first, second] - of_pairs[pairs[first, second]]) / total + rest * lower(second)

    found = model()
    for first in sorted({first for first, _ in pairs}):
        values = found.probabilities(first, outcomes)
        np.testing.assert_allclose(values, [float(expected(first, word)) for word in outcomes], rtol=1e-14)
        assert values.sum() == pytest.approx(1, abs=1e-14)
        assert values.min() > 0
    np.testing.assert_allclose(
        found.probabilities("unseen", outcomes), [float(lower(word)) for word in outcomes], rtol=1e-14
    )


def test_a_distribution_by_hand() -> None:
    words = [START, END, "a", "b", "c", "d"]
    counts = {
        **{(START, "a"): 1, (START, "b"): 1, (START, "c"): 1},
        **{("a", END): 1, ("a", "b"): 2, ("a", "c"): 3, ("a", "d"): 4},
        **{("b", "c"): 2, ("b", "d"): 5, ("c", "d"): 6, ("d", "d"): 7},
    }
    keys = {words.index(first) * 6 + words.index(second): count for (first, second), count in counts.items()}
    found = BigramModel(words, np.array(sorted(keys)), np.array([keys[key] for key in sorted(keys)]))
    # Bigrams: n1 = 4, n2 = 2, n3 = 1, n4 = 1, so Y = 1/2 and the discounts are 1/2, 5/4 and 1.
    # After a, 10 bigrams: the rest is (1/2 + 5/4 + 1 + 1) / 10 = 0.375.
    # Distinct words before </s> and a: 1 each; before b: 2; c: 3; d: 4. So n1 = 2, n2 = n3 = n4 = 1, Y = 1/2, and the
    # discounts are 1/2, 1/2 and 1. Of 11, the rest is (1/2 + 1/2 + 1/2 + 1 + 1) / 11 for 6 outcomes: 7/132 each.
    lower = np.array([0.5, 0.5, 1.5, 2, 3, 0]) / 11 + 7 / 132
    after_a = np.array([0.5, 0, 0.75, 2, 3, 0]) / 10 + 0.375 * lower
    np.testing.assert_allclose(found.probabilities("unseen", [END, "a", "b", "c", "d", "unseen"]), lower, rtol=1e-15)
    np.testing.assert_allclose(found.probabilities("a", [END, "a", "b", "c", "d", "unseen"]), after_a, rtol=1e-15)
    assert lower.sum() == pytest.approx(1) and after_a.sum() == pytest.approx(1)


def test_the_perplexity_of_held_out_text_is_the_geometric_mean() -> None:
    found = model()
    first, second = found.probabilities(START, ["w1"])[0], found.probabilities("w1", [END])[0]
    assert found.perplexity([["w1"]]) == pytest.approx((first * second) ** -0.5)
    assert np.isnan(found.perplexity([]))
