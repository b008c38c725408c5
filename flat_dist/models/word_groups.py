"""Groups of similar words: clusters of counter-fitted vectors (paper, Appendix D, Table 10).

Shapes: V words, N of them with a vector, D size of a vector.
"""

from collections.abc import Sequence

import numpy as np
from scipy.cluster.vq import kmeans2

from flat_dist.config.errors import UserError
from flat_dist.config.schema import Config
from flat_dist.resources import assets, synonyms
from flat_dist.resources.counterfitting import unit
from flat_dist.runtime.seeds import derive_seed

ITERATIONS = 100
"""Iterations of k-means."""


def group_words(words: Sequence[str], config: Config) -> tuple[np.ndarray, str]:
    """Group (V) of each word, from 1, and what was done, in words. Words without a vector have group 0.

    Raises:
        UserError: fewer words have a vector than there are groups, or the vectors are unavailable.
    """
    source, groups = config.attack.synonyms, config.model.group_masks
    rows, vectors_ND = synonyms.vectors_of(words, source, assets.prepare())
    if len(rows) < groups:
        raise UserError(
            f"--model.group-masks is {groups}, but only {len(rows)} words of the training texts have a vector in "
            f"--attack.synonyms {source}: lower it, or choose synonyms that have vectors (counterfit, original, or a "
            "folder)"
        )
    group_V = np.zeros(len(words), dtype=np.int64)
    group_V[rows] = cluster(vectors_ND, groups, derive_seed(config.seed, "groups"))
    space = synonyms.provenance(source, assets.prepare())["detail"]
    return group_V, f"{len(rows)} words in {groups} groups, by {space}"


def cluster(vectors_ND: np.ndarray, groups: int, seed: int) -> np.ndarray:
    """Group (N) of each vector, from 1: clusters of k-means, by Euclidean distance of the vectors at length 1.

    The same vectors and seed give the same groups. A group may be empty.

    Args:
        vectors_ND: of at least as many words as there are groups.
        groups: number of groups.
        seed: of the first centroids (k-means++).
    """
    generator = np.random.default_rng(seed)
    _, labels_N = kmeans2(unit(vectors_ND), groups, iter=ITERATIONS, minit="++", rng=generator)
    return labels_N + 1
