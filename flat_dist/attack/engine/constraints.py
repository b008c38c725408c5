"""TextAttack's constraints on word swaps, applied to the candidates of many examples at once.

Each takes its settings from a TextAttack object (0.3.11) and accepts the same candidates.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import torch
from textattack import Attack
from textattack.constraints import Constraint
from textattack.constraints.grammaticality import PartOfSpeech
from textattack.constraints.overlap import MaxWordsPerturbed
from textattack.constraints.semantics import WordEmbeddingDistance
from textattack.constraints.semantics.sentence_encoders import UniversalSentenceEncoder
from textattack.shared import AbstractWordEmbedding, WordEmbedding
from textattack.transformations import WordSwap

from flat_dist.attack.engine.pos_tagger import shared_tagger
from flat_dist.attack.engine.profile import Profile
from flat_dist.attack.engine.query import Allowed, SwapQuery
from flat_dist.attack.engine.tokenized_text import Candidate

ROUNDING = 1e-4
"""A cosine this close to its limit is computed again by TextAttack, whose sums may round differently."""


class CandidateGenerator:
    """Candidates of TextAttack's transformation whose word vector is close enough to the original word's.

    The cosine depends on the two words only, because no word is changed twice.

    Args:
        transformation: a swap that depends on the word only.
        distance: constraint on the cosine of word vectors; None: no limit.
        size: words in the cache.
    """

    def __init__(self, transformation: WordSwap, distance: WordEmbeddingDistance | None, size: int):
        self.transformation, self.distance = transformation, distance
        self.candidates: Callable[[str], list[Candidate]] = lru_cache(size)(self._candidates)

    def _candidates(self, word: str) -> list[Candidate]:
        replacements = self.transformation._get_replacement_words(word)
        candidates = [Candidate.parse(other) for other in replacements if other != word]
        if self.distance is None:
            return candidates
        close = _close(self.distance, word.lower(), [candidate.word.lower() for candidate in candidates])
        return [candidate for candidate, is_close in zip(candidates, close, strict=True) if is_close]


def word_distance(attack: Attack) -> WordEmbeddingDistance | None:
    """The first constraint of an attack on the cosine of word vectors, which depends on two words only."""
    return next((constraint for constraint in attack.constraints if _compares_words(constraint)), None)


def _compares_words(constraint: Constraint) -> bool:
    return (
        type(constraint) is WordEmbeddingDistance
        and bool(constraint.min_cos_sim)
        and not constraint.cased
        and constraint.include_unknown_words
    )


def _close(distance: WordEmbeddingDistance, word: str, others: Sequence[str]) -> list[bool]:
    """Whether the cosine of each other word with the word reaches the constraint's limit."""
    embedding: AbstractWordEmbedding = distance.embedding
    index = _index(embedding, word)
    indices = [_index(embedding, other) for other in others]
    close = [True] * len(others)  # unknown words pass, as in TextAttack
    if index is None or not others:
        return close
    known = [position for position, other in enumerate(indices) if other is not None]
    for position, cosine in zip(known, _cosines(embedding, index, [indices[p] for p in known]), strict=True):
        if abs(cosine - distance.min_cos_sim) < ROUNDING:
            cosine = embedding.get_cos_sim(index, indices[position])
        close[position] = cosine >= distance.min_cos_sim
    return close


def _index(embedding: AbstractWordEmbedding, word: str) -> int | None:
    try:
        return embedding.word2index(word)
    except KeyError:
        return None


def _cosines(embedding: AbstractWordEmbedding, index: int, others: Sequence[int | None]) -> list[float]:
    if type(embedding) is not WordEmbedding:
        return [embedding.get_cos_sim(index, other) for other in others]
    # Not `get_cos_sim`, whose cache of pairs has no limit.
    vector_D, others_ND = embedding.embedding_matrix[index], embedding.embedding_matrix[list(others)]
    return (others_ND @ vector_D / np.linalg.norm(others_ND, axis=1) / np.linalg.norm(vector_D)).tolist()


class FewChangedWords:
    """`MaxWordsPerturbed` with a share of the original text's words."""

    def __init__(self, constraint: MaxWordsPerturbed):
        self.share = constraint.max_percent

    def __call__(self, swaps: Sequence[SwapQuery], allowed: Sequence[list[Allowed]]) -> list[list[Allowed]]:
        """Those of the allowed candidates with which few enough words differ from the original text."""
        return [self._few(swap, some) for swap, some in zip(swaps, allowed, strict=True)]

    def _few(self, swap: SwapQuery, some: list[Allowed]) -> list[Allowed]:
        before, now = swap.original.words, swap.current.words
        most = math.ceil(len(before) * self.share)
        others = sum(word != before[index] for index, word in enumerate(now) if index != swap.index)
        return [one for one in some if others + (one.candidate.word != before[swap.index]) <= most]


class SamePartOfSpeech:
    """`PartOfSpeech` with NLTK's tagger."""

    def __init__(self, constraint: PartOfSpeech, size: int, profile: Profile):
        self.constraint, self.profile = constraint, profile
        self.tagger = shared_tagger(constraint.tagset, size)

    def __call__(self, swaps: Sequence[SwapQuery], allowed: Sequence[list[Allowed]]) -> list[list[Allowed]]:
        """Those of the allowed candidates that have the original word's tag."""
        with self.profile.tags:
            contexts: list[tuple[str, ...]] = []
            positions: list[int] = []
            for swap, some in zip(swaps, allowed, strict=True):
                words, index = swap.original.words, swap.index
                before, after = words[max(index - 4, 0) : index], words[index + 1 : index + 4]
                for word in (words[index], *(one.candidate.word for one in some)):
                    contexts.append((*before, word, *after))
                    # As in TextAttack: the tag of the word's first occurrence.
                    positions.append(before.index(word) if word in before else len(before))
            tags = iter(self.tagger.tag(contexts, positions).tolist())
            passed = []
            for some in allowed:
                original = next(tags)
                passed.append([one for one in some if self.constraint._can_replace_pos(original, next(tags))])
            return passed


class SimilarWindow:
    """`UniversalSentenceEncoder` on the words around a swap; each distinct window is encoded once.

    Texts shorter than the window have similarity 1, as in TextAttack, and are not encoded.
    """

    def __init__(self, constraint: UniversalSentenceEncoder, profile: Profile):
        self.constraint, self.profile = constraint, profile

    def __call__(self, swaps: Sequence[SwapQuery], allowed: Sequence[list[Allowed]]) -> list[list[Allowed]]:
        """Those of the allowed candidates whose window is similar enough to the current window."""
        size = self.constraint.window_size
        with self.profile.texts:
            windows = [
                swap.current.windows(swap.index, size, [one.candidate for one in some])
                if some and not self._is_short(swap)
                else ("", [])
                for swap, some in zip(swaps, allowed, strict=True)
            ]
        with self.profile.encoder:
            similarities = iter(self._similarities(windows))
        passed = []
        for swap, some in zip(swaps, allowed, strict=True):
            if self._is_short(swap):
                passed.append([Allowed(one.candidate, 1.0) for one in some])
                continue
            measured = [(one.candidate, *next(similarities)) for one in some]
            passed.append([Allowed(candidate, similarity) for candidate, similarity, enough in measured if enough])
        return passed

    def _is_short(self, swap: SwapQuery) -> bool:
        return self.constraint.skip_text_shorter_than_window and len(swap.current.words) < self.constraint.window_size

    def _similarities(self, windows: Sequence[tuple[str, list[str]]]) -> list[tuple[float, bool]]:
        """Similarity of each swapped window with its current window, and whether it is high enough."""
        pairs = [(current, swapped) for current, variants in windows for swapped in variants]
        if not pairs:
            return []
        row = {window: index for index, window in enumerate(dict.fromkeys(window for pair in pairs for window in pair))}
        encodings = self.constraint.model(list(row))
        current_N, swapped_N = (torch.tensor([row[pair[side]] for pair in pairs]) for side in (0, 1))
        similarity_N = self.constraint.sim_metric(encodings[current_N], encodings[swapped_N])
        enough_N = similarity_N >= self.constraint.threshold
        return list(zip(similarity_N.tolist(), enough_N.tolist(), strict=True))
