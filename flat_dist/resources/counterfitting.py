"""Counter-fitting (Mrksic et al. 2016): word vectors moved to satisfy synonym and antonym constraints.

Shape letters: V words, D dimensions, P attracted pairs, Q repelled pairs, N neighbour pairs, K neighbours of a word.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch


@dataclass(frozen=True)
class Counterfit:
    """Hyperparameters of our replacement for TextAttack's counter-fitted vectors.

    Margins and terms are those of Mrksic et al. (2016, Section 2). The weights are chosen by the share of original
    counter-fitted neighbours that are reproduced, and by the number of neighbours above TextFooler's cosine of 0.5.
    """

    words: int = 65_000
    """Words in the vocabulary (original vectors: 65,713)."""
    common: int = 30_000
    """The most frequent words of GloVe are in the vocabulary even if WordNet does not have them."""
    neighbours: int = 50
    """Neighbours per word (TextFooler: 50)."""
    codes: int = 150
    """Dimensions added to GloVe's 50: random projections of definitions and character n-grams."""
    code_weight: float = 1.2
    """Length of the added part; GloVe's part has length 1."""
    repel_margin: float = 1.0
    """Cosine distance that antonyms are pushed to (delta; paper: 1)."""
    attract_margin: float = 0.0
    """Cosine distance that synonyms are pulled to (gamma; paper: 0)."""
    repel: float = 0.5
    """Weight of the repelling term (k1)."""
    attract: float = 1.4
    """Weight of the attracting term (k2)."""
    preserve: float = 0.5
    """Weight of the term that preserves distances to original neighbours (k3)."""
    preserved: int = 10
    """Original neighbours of each word whose distances are preserved (paper: those within a cosine of 0.8)."""
    hold: float = 1.0
    """Weight of half the squared distance to the original vector (Faruqui et al. 2015; not in the paper)."""
    hypernym: float = 2.0
    """Weight of hypernym pairs, divided by the root of the product of both words' numbers of such pairs."""
    similar: float = 1.0
    """Weight of adjectives that WordNet calls similar."""
    related: float = 0.5
    """Weight of see also, verb group, entailment and cause; synonyms, inflections and derivations have 1."""
    sweeps: int = 6
    """Passes over all words."""
    inertia: float = 0.5
    """Weight of a word's current vector in a sweep; prevents oscillation of pairs near a margin."""
    seed: int = 0
    """Seed of the random projections."""

    def relation_weight(self, relation: str) -> float:
        """Weight of pairs with this relation in WordNet."""
        related = dict.fromkeys(("also", "verb group", "entailment", "cause"), self.related)
        return {"hypernym": self.hypernym, "similar": self.similar, **related}.get(relation, 1.0)


@dataclass(frozen=True)
class Constraints:
    """Pairs of word indices, each pair once, the lower index first."""

    attract_P2: np.ndarray
    """Synonyms, and other words that should be close."""
    repel_Q2: np.ndarray
    """Antonyms."""
    weight_P: np.ndarray | None = None
    """Weights of the attracted pairs; None: all 1."""


def unit(vectors_VD: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1, as float32; zero rows stay zero."""
    length_V1 = np.linalg.norm(vectors_VD, axis=1, keepdims=True)
    return (vectors_VD / np.where(length_V1 > 0, length_V1, 1)).astype(np.float32)


def cosines(vectors_VD: np.ndarray, pairs_P2: np.ndarray) -> np.ndarray:
    """Cosine (P,) of each pair of unit vectors."""
    blocks = np.array_split(pairs_P2, len(pairs_P2) // 50_000 + 1)  # in blocks, to save memory
    parts = [np.einsum("pd,pd->p", vectors_VD[block[:, 0]], vectors_VD[block[:, 1]]) for block in blocks]
    return np.concatenate(parts)


def repel_loss(cosine_Q: np.ndarray, margin: float) -> np.ndarray:
    """Antonym repel: max(0, margin - distance), for each pair (Mrksic et al., AR); distance is 1 - cosine."""
    return np.maximum(0, margin - (1 - cosine_Q))


def attract_loss(cosine_P: np.ndarray, margin: float) -> np.ndarray:
    """Synonym attract: max(0, distance - margin), for each pair (Mrksic et al., SA)."""
    return np.maximum(0, (1 - cosine_P) - margin)


def preserve_loss(cosine_N: np.ndarray, original_N: np.ndarray) -> np.ndarray:
    """Vector space preservation: max(0, distance - original distance), for each pair (Mrksic et al., VSP)."""
    return np.maximum(0, original_N - cosine_N)


def counterfit(
    vectors_VD: np.ndarray,
    constraints: Constraints,
    config: Counterfit,
    on_progress: Callable[[float], None] | None = None,
    neighbours_N2: np.ndarray | None = None,
) -> np.ndarray:
    """Unit vectors (V, D) float32 that reduce the weighted sum of the three losses and of `hold`.

    With the other words and the active hinges fixed, the sum is linear in a word's vector: its minimum on the unit
    sphere is the direction of the negative gradient. Each sweep moves all words there at once. A pair's weight is
    divided by the root of its words' sums of weights, so that words with many relations are not pulled harder.

    Args:
        vectors_VD: original vectors, of any length.
        constraints: attracted and repelled pairs.
        config: margins, weights of the terms, sweeps.
        on_progress: called after each sweep with the sum of the losses before it.
        neighbours_N2: pairs to preserve; None: `config.preserved` nearest in `vectors_VD`.
    """
    original_VD = unit(vectors_VD)
    if neighbours_N2 is None:
        neighbours_N2 = neighbour_pairs(nearest(original_VD, min(config.preserved, len(original_VD) - 1)))
    attract_P2, repel_Q2 = constraints.attract_P2, constraints.repel_Q2
    pull_P = config.attract * balanced(attract_P2, constraints.weight_P, len(original_VD))
    push_Q = config.repel * balanced(repel_Q2, None, len(original_VD))
    keep_N = config.preserve * balanced(neighbours_N2, None, len(original_VD))
    before_N = cosines(original_VD, neighbours_N2)
    pairs = np.concatenate([repel_Q2, attract_P2, neighbours_N2])
    current_VD = original_VD
    for _ in range(config.sweeps):
        loss_Q = push_Q * repel_loss(cosines(current_VD, repel_Q2), config.repel_margin)
        loss_P = pull_P * attract_loss(cosines(current_VD, attract_P2), config.attract_margin)
        loss_N = keep_N * preserve_loss(cosines(current_VD, neighbours_N2), before_N)
        force = np.concatenate([-push_Q * (loss_Q > 0), pull_P * (loss_P > 0), keep_N * (loss_N > 0)])
        gradient_VD = -_symmetric(pairs, force, len(current_VD)) @ current_VD - config.hold * original_VD
        if on_progress:
            on_progress(float(loss_Q.sum() + loss_P.sum() + loss_N.sum()))
        current_VD = unit(config.inertia * current_VD - gradient_VD)
    return current_VD


def _symmetric(pairs_P2: np.ndarray, weight_P: np.ndarray, size: int) -> sp.csr_array:
    half = sp.coo_array((weight_P.astype(np.float32), (pairs_P2[:, 0], pairs_P2[:, 1])), shape=(size, size)).tocsr()
    return half + half.T


def balanced(pairs_P2: np.ndarray, weight_P: np.ndarray | None, size: int) -> np.ndarray:
    """Weights (P,), by default 1, divided by the root of the product of both words' sums of weights.

    These are the weights of a graph's normalised Laplacian.
    """
    weight_P = np.ones(len(pairs_P2), np.float32) if weight_P is None else weight_P
    degree_V = np.bincount(pairs_P2.ravel(), np.repeat(weight_P, 2), size)
    return weight_P / np.sqrt(degree_V[pairs_P2[:, 0]] * degree_V[pairs_P2[:, 1]])


def nearest(
    vectors_VD: np.ndarray, k: int = 50, block: int = 512, on_progress: Callable[[int], None] | None = None
) -> np.ndarray:
    """Each word and its k nearest by cosine, nearest first: (V, k + 1) int32, the first column the word itself.

    Args:
        vectors_VD: vectors of any length.
        k: neighbours, fewer than there are words.
        block: rows compared with all words at once.
        on_progress: called after each block with its number of words.
    """
    vectors = torch.from_numpy(unit(vectors_VD))
    result = np.empty((len(vectors), k + 1), np.int32)
    for start in range(0, len(vectors), block):
        cosine_BV = vectors[start : start + block] @ vectors.T
        rows = torch.arange(len(cosine_BV))
        cosine_BV[rows, start + rows] = 2.0  # above any cosine, so that a word comes first
        result[start : start + block] = cosine_BV.topk(k + 1).indices.numpy()
        if on_progress:
            on_progress(len(rows))
    return result


def neighbour_pairs(nearest_VK: np.ndarray) -> np.ndarray:
    """The pairs (N, 2) of words in the result of `nearest`, each pair once, the lower index first."""
    first, second = np.repeat(nearest_VK[:, 0], nearest_VK.shape[1] - 1), nearest_VK[:, 1:].ravel()
    return np.unique(np.sort(np.stack([first, second], axis=1)), axis=0)
