from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau

from flat_dist.evaluation.consistency import Consistency, align, compare, consistency, kendall_tau, top_k_intersection

attributions = st.integers(2, 8).flatmap(
    lambda n: st.tuples(*[st.lists(st.integers(-3, 3), min_size=n, max_size=n).map(np.array)] * 2)
)


def over(
    original: list[np.ndarray], perturbed: list[np.ndarray], alignments: list[list[tuple[int, int]]]
) -> Consistency:
    pairs = [pair for pair in zip(original, perturbed, alignments, strict=True) if pair[2]]
    compared = [compare(*pair) for pair in pairs]
    return consistency([taus for taus, _ in compared], [tops for _, tops in compared], len(original) - len(pairs))


def same(words: int) -> list[tuple[int, int]]:
    return [(index, index) for index in range(words)]


@given(attributions)
def test_kendall_tau_is_tau_b_by_its_definition(pair: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = pair
    signs = [(np.sign(a[j] - a[i]), np.sign(b[j] - b[i])) for i, j in combinations(range(len(a)), 2)]
    x, y = np.array(signs).T
    tau = kendall_tau(a, b)
    if not x.any() or not y.any():
        assert tau is None
    else:
        assert tau == pytest.approx((x * y).sum() / np.sqrt((x**2).sum() * (y**2).sum()))


def test_kendall_tau_by_hand() -> None:
    a = np.array([0.1, 0.2, 0.3, 0.4])
    assert kendall_tau(a, a) == pytest.approx(1)
    assert kendall_tau(a, -a) == pytest.approx(-1)
    assert kendall_tau(a, np.array([0.2, 0.1, 0.3, 0.4])) == pytest.approx(4 / 6)  # 5 pairs agree, 1 does not


@pytest.mark.parametrize("words", [[], [0.3], [0.5, 0.5, 0.5]])
def test_kendall_tau_needs_an_order(words: list[float]) -> None:
    assert kendall_tau(np.array(words), np.arange(len(words))) is None


@pytest.mark.parametrize(("k", "expected"), [(1, 0.0), (2, 0.5), (3, 2 / 3), (4, 1.0), (5, 1.0)])
def test_top_k_intersection_by_hand(k: int, expected: float) -> None:
    a = np.array([0.9, 0.5, 0.1, -0.8])  # order 0 1 2 3
    b = np.array([-0.1, 0.7, 0.2, 0.8])  # order 3 1 2 0
    assert top_k_intersection(a, b, k) == pytest.approx(expected)


@given(attributions, st.integers(1, 10))
def test_top_k_intersection_by_sets(pair: tuple[np.ndarray, np.ndarray], k: int) -> None:
    tops = [{index for _, index in sorted(zip(-a, range(len(a)), strict=True))[:k]} for a in pair]
    assert top_k_intersection(*pair, k) == pytest.approx(len(tops[0] & tops[1]) / len(tops[0]))


def test_top_k_intersection_of_nothing() -> None:
    with pytest.raises(ValueError, match="top 5 of 0 words"):
        top_k_intersection(np.array([]), np.array([]), 5)


def test_align_by_position_when_words_were_only_replaced() -> None:
    assert align(["a", "good", "good", "film"], ["good", "a", "fine", "movie"]) == same(4)


@pytest.mark.parametrize(
    ("original", "perturbed", "expected"),
    [
        ("a good film", "a very good film", [(0, 0), (1, 2), (2, 3)]),
        ("a very good film", "a good film", [(0, 0), (2, 1), (3, 2)]),
        ("the movie was good and short", "the film was good and rather short", [*same(5), (5, 6)]),
        ("not so good", "bad indeed", []),
        ("", "new words", []),
    ],
)
def test_align_when_words_were_inserted_or_merged(
    original: str, perturbed: str, expected: list[tuple[int, int]]
) -> None:
    assert align(original.split(), perturbed.split()) == expected


def test_consistency_averages_over_pairs_then_classes() -> None:
    # The first class has a tau in both pairs (1 and -1), the second in the first pair alone (1/3): its attributions are
    # all equal in the second. Mean over classes (0 + 1/3) / 2; a mean over all three comparisons would be 1/9.
    original = [np.array([[3.0, 2, 1], [3, 2, 1]]), np.array([[1.0, 2], [0, 0]])]
    perturbed = [np.array([[9.0, 5, 4], [2, 3, 1]]), np.array([[2.0, 1], [1, 0]])]
    result = over(original, perturbed, [same(3), same(2)])
    assert result.kendall_tau == pytest.approx(1 / 6)
    assert (result.pairs, result.undefined) == (2, 1)
    assert result.top_k == pytest.approx({1: (1 + 0 + 0 + 1) / 4} | dict.fromkeys(range(2, 11), 1.0))
    assert result.top == result.top_k[5]


def test_consistency_compares_only_aligned_words() -> None:
    original, perturbed = np.array([[0.1, 0.3, 0.2]]), np.array([[0.1, 9.0, 0.3, 0.2]])
    result = over([original], [perturbed], [[(0, 0), (1, 2), (2, 3)]])
    assert (result.kendall_tau, result.top_k[1]) == (1.0, 1.0)


def test_consistency_matches_scipy_on_random_pairs() -> None:
    random = np.random.default_rng(0)
    lengths = (4, 9, 20)
    original, perturbed = ([random.normal(size=(3, words)) for words in lengths] for _ in range(2))
    result = over(original, perturbed, [same(words) for words in lengths])
    taus = [kendalltau(a, b)[0] for x, y in zip(original, perturbed, strict=True) for a, b in zip(x, y, strict=True)]
    assert result.kendall_tau == pytest.approx(np.mean(taus))
    assert list(result.top_k) == list(range(1, 11))


def test_undefined_consistency() -> None:
    one_word = over([np.array([[0.2], [0.1]])], [np.array([[0.3], [0.4]])], [same(1)])
    assert (one_word.kendall_tau, one_word.undefined, one_word.top) == (None, 2, 1.0)
    unaligned = over([np.ones((2, 3))], [np.ones((2, 2))], [[]])
    assert (unaligned.kendall_tau, unaligned.top_k, unaligned.pairs, unaligned.top) == (None, {}, 0, None)
    assert unaligned.unaligned == 1
