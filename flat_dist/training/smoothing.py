"""Word vectors smoothed over an attack's candidates: words and their substitutes start with similar vectors.

Counter-fitted candidates are near in meaning, but their vectors in a model that was trained on clean texts are not.
"""

import pyarrow as pa
import torch
from torch import Tensor

from flat_dist.data.preprocessing import Vocabulary

PASSES = 2
"""Passes of smoothing: after two, a vector also depends on the candidates of the candidates."""


@torch.no_grad()
def smooth_vectors(vectors_VD: Tensor, vocabulary: Vocabulary, table: pa.Table, share: float) -> None:
    """Move each word's vector by a share towards the mean vector of its candidates in the vocabulary, `PASSES` times.

    Words without candidates in the vocabulary keep their vectors.

    Args:
        vectors_VD: vectors of the vocabulary, changed in place.
        vocabulary: the integer of each word.
        table: rows of `flat_dist.data.substitutes.SCHEMA`.
        share: in [0, 1]; 1 replaces a vector by the mean.
    """
    pairs = [
        (*vocabulary.pieces(word), *vocabulary.pieces(candidate))
        for word, candidates in zip(table["word"].to_pylist(), table["candidates"].to_pylist(), strict=True)
        if word in vocabulary
        for candidate in candidates
        if candidate in vocabulary and candidate != word
    ]
    if not pairs:
        return
    word_P, candidate_P = torch.tensor(pairs, device=vectors_VD.device).T
    counts_V = torch.bincount(word_P, minlength=len(vectors_VD))
    moved_V1 = (share * (counts_V > 0)).unsqueeze(1).to(vectors_VD)
    for _ in range(PASSES):
        sums_VD = torch.zeros_like(vectors_VD).index_add_(0, word_P, vectors_VD[candidate_P])
        vectors_VD.lerp_(sums_VD / counts_V.clamp(min=1).unsqueeze(1), moved_V1)
