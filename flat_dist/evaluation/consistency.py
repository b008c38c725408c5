"""Interpretation consistency under attack (paper, Section 5.2).

For each original/adversarial pair and class, the word attributions of the two texts are compared by Kendall's tau and
by the intersection of their k top words. A substitute counts as the word that it replaces, as in the paper. Shape
letters: P pairs, C classes, T words, K sizes k.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import kendalltau

from flat_dist.data.alignment import align_spans
from flat_dist.evaluation.top_k import KS, TOP

Alignment = Sequence[tuple[int, int]]
"""Pairs (word index in the original, word index in the perturbed text) of words that count as the same."""


@dataclass(frozen=True)
class Consistency:
    """Agreement of attributions: the mean over pairs within each class, then over classes."""

    kendall_tau: float | None
    """Kendall's tau-b over all aligned words, in [-1, 1]; None if no pair has one."""
    top_k: dict[int, float]
    """Share of common words among the k top words, in [0, 1], by k from 1 to 10; empty if no pair has aligned words."""
    pairs: int
    """Number of compared pairs: those with at least one aligned word."""
    undefined: int
    """Number of comparisons (a pair and a class) without a `kendall_tau`: one word, or equal attributions."""
    unaligned: int = 0
    """Number of pairs without an aligned word, which are left out."""
    completeness_error: float | None = None
    """Integrated gradients only: largest difference between the sum of a text's attributions and the change in
    probability."""

    @property
    def top(self) -> float | None:
        """The intersection of the `TOP` top words, in [0, 1]; None if no pair has aligned words."""
        return self.top_k.get(TOP)


def kendall_tau(a: np.ndarray, b: np.ndarray) -> float | None:
    """Kendall's tau-b of two attributions of the same words, each (T,), in [-1, 1].

    None if undefined: fewer than two words, or all attributions of one text are equal.
    """
    if len(a) < 2:
        return None
    tau = float(kendalltau(a, b, variant="b").statistic)
    return None if np.isnan(tau) else tau


def top_k_intersection(a: np.ndarray, b: np.ndarray, k: int) -> float:
    """Share of common words among the k words with the highest attributions; both are of the same words, (T,).

    With fewer than k words, all are top words. Ties are broken by position: the earlier word comes first.

    Raises:
        ValueError: there is no word, or k is below 1.
    """
    if k < 1 or not len(a):
        raise ValueError(f"the top {k} of {len(a)} words are not defined")
    return float(_top_k_intersections(a, b, (k,))[0])


def _top_k_intersections(a: np.ndarray, b: np.ndarray, ks: Iterable[int]) -> np.ndarray:
    """The intersection for each k, (K,): a word is common if its rank in both texts is below k."""
    both = np.maximum(_ranks(a), _ranks(b))
    return np.array([np.count_nonzero(both < k) / min(k, len(both)) for k in ks])


def _ranks(a: np.ndarray) -> np.ndarray:
    ranks = np.empty(len(a), dtype=np.int64)
    ranks[np.argsort(-a, kind="stable")] = np.arange(len(a))
    return ranks


def align(
    original_tokens: Sequence[str], perturbed_tokens: Sequence[str], replaced_only: bool = True
) -> list[tuple[int, int]]:
    """Indices (original, perturbed) of the words that count as the same; `replaced_only` as in `align_spans`.

    Substitutes count as the words that they replace (paper, Section 5.2). Inserted, dropped and merged words have no
    counterpart.
    """
    return [
        (start, other)
        for start, end, other, other_end in align_spans(original_tokens, perturbed_tokens, replaced_only)
        if end > start and other_end - other == end - start
    ]


def compare(original_CT: np.ndarray, perturbed_CT: np.ndarray, alignment: Alignment) -> tuple[np.ndarray, np.ndarray]:
    """Kendall's tau (C,), NaN if undefined, and the top-k intersections (C, K) of one pair.

    Args:
        original_CT: attributions of the original text's words.
        perturbed_CT: attributions of the perturbed text's words; their number may differ.
        alignment: the result of `align`, with at least one pair.
    """
    words, others = np.array(alignment).T
    classes = list(zip(original_CT[:, words], perturbed_CT[:, others], strict=True))
    taus_C = np.array([kendall_tau(a, b) for a, b in classes], dtype=np.float64)
    return taus_C, np.array([_top_k_intersections(a, b, KS) for a, b in classes])


def consistency(taus: Sequence[np.ndarray], tops: Sequence[np.ndarray], unaligned: int = 0) -> Consistency:
    """Agreement over pairs, from the results of `compare` for each pair: (C,) and (C, K).

    Args:
        taus: Kendall's tau of each pair and class.
        tops: top-k intersections of each pair and class.
        unaligned: number of pairs without an aligned word, which have neither.
    """
    if not len(taus):
        return Consistency(kendall_tau=None, top_k={}, pairs=0, undefined=0, unaligned=unaligned)
    taus_PC, tops_PCK = np.stack(taus), np.stack(tops)
    return Consistency(
        kendall_tau=_mean_over_classes(taus_PC),
        top_k=dict(zip(KS, tops_PCK.mean(axis=(0, 1)).tolist(), strict=True)),
        pairs=len(taus),
        undefined=int(np.isnan(taus_PC).sum()),
        unaligned=unaligned,
    )


def _mean_over_classes(taus_PC: np.ndarray) -> float | None:
    """Mean over the pairs with a tau for each class, then over the classes with one."""
    classes = [taus_P[~np.isnan(taus_P)] for taus_P in taus_PC.T]
    means = [taus_P.mean() for taus_P in classes if len(taus_P)]
    return float(np.mean(means)) if means else None
