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
from textattack.constraints.pre_transformation import RepeatModification
from textattack.constraints.semantics import WordEmbeddingDistance
from textattack.constraints.semantics.sentence_encoders import UniversalSentenceEncoder
from textattack.shared import AbstractWordEmbedding, WordEmbedding
from textattack.transformations import WordSwap

from flat_dist.attack.engine.pos_tagger import shared_tagger
from flat_dist.attack.engine.profile import Profile
from flat_dist.attack.engine.query import Allowed, CloseCandidates, MoveQuery, SwapQuery
from flat_dist.attack.engine.tokenized_text import Candidate, TokenizedText

ROUNDING = 1e-4
"""A cosine or distance this close to its limit is computed again by TextAttack, whose sums may round differently."""


class CandidateGenerator:
    """Candidates of TextAttack's transformation whose word vector is close enough to the original word's.

    The distance depends on the two words only, if no word is changed twice or the current word counts.

    Args:
        transformation: a swap that depends on the word only.
        distance: constraint on word vectors; None: no limit.
        size: words in the cache.
    """

    def __init__(self, transformation: WordSwap, distance: WordEmbeddingDistance | None, size: int):
        self.transformation, self.distance = transformation, distance
        self.candidates: Callable[[str], list[Candidate]] = lru_cache(size)(self._candidates)

    def of_texts(self, texts: Sequence[TokenizedText]) -> list[list[list[Candidate]]]:
        """For each text and each of its words, what may take the word's place."""
        return [list(map(self.candidates, text.words)) for text in texts]

    def at(self, text: TokenizedText, index: int) -> list[Candidate]:
        """What may take the place of one word of a text."""
        return self.candidates(text.words[index])

    def _candidates(self, word: str) -> list[Candidate]:
        replacements = self.transformation._get_replacement_words(word)
        candidates = [Candidate.parse(other) for other in replacements if other != word]
        if self.distance is None:
            return candidates
        close = _close(self.distance, word.lower(), [candidate.word.lower() for candidate in candidates])
        kept = CloseCandidates(one for one, is_close in zip(candidates, close, strict=True) if is_close)
        kept.too_far = len(candidates) - len(kept)
        return kept


def word_distance(attack: Attack) -> WordEmbeddingDistance | None:
    """The first constraint of an attack on word vectors which depends on two words only."""
    once = any(type(constraint) is RepeatModification for constraint in attack.pre_transformation_constraints)
    return next((one for one in attack.constraints if _compares_words(one, once)), None)


def _compares_words(constraint: Constraint, once: bool) -> bool:
    return (
        type(constraint) is WordEmbeddingDistance
        and (once or not constraint.compare_against_original)
        and not constraint.cased
        and constraint.include_unknown_words
    )


def _close(distance: WordEmbeddingDistance, word: str, others: Sequence[str]) -> list[bool]:
    """Whether each other word is as close to the word as the constraint wants."""
    embedding: AbstractWordEmbedding = distance.embedding
    index = _index(embedding, word)
    indices = [_index(embedding, other) for other in others]
    close = [True] * len(others)  # unknown words pass, as in TextAttack
    if index is None or not others:
        return close
    known = [position for position, other in enumerate(indices) if other is not None]
    least = distance.min_cos_sim
    measure, ask = (_cosines, embedding.get_cos_sim) if least else (_square_distances, embedding.get_mse_dist)
    limit = least or distance.max_mse_dist
    for position, value in zip(known, measure(embedding, index, [indices[p] for p in known]), strict=True):
        if abs(value - limit) < ROUNDING:
            value = ask(index, indices[position])
        close[position] = value >= limit if least else value <= limit
    return close


def _index(embedding: AbstractWordEmbedding, word: str) -> int | None:
    try:
        return embedding.word2index(word)
    except KeyError:
        return None


# Both compute without the embedding's own methods, whose caches of pairs have no limit.


def _cosines(embedding: AbstractWordEmbedding, index: int, others: Sequence[int | None]) -> list[float]:
    if type(embedding) is not WordEmbedding:
        return [embedding.get_cos_sim(index, other) for other in others]
    vector_D, others_ND = embedding.embedding_matrix[index], embedding.embedding_matrix[list(others)]
    return (others_ND @ vector_D / np.linalg.norm(others_ND, axis=1) / np.linalg.norm(vector_D)).tolist()


def _square_distances(embedding: AbstractWordEmbedding, index: int, others: Sequence[int | None]) -> list[float]:
    if type(embedding) is not WordEmbedding:
        return [embedding.get_mse_dist(index, other) for other in others]
    vector_D, others_ND = embedding.embedding_matrix[index], embedding.embedding_matrix[list(others)]
    return ((others_ND - vector_D) ** 2).sum(axis=1).tolist()


class FewChangedWords:
    """`MaxWordsPerturbed` with a share of the original text's words."""

    name = "maximum of changed words"

    def __init__(self, constraint: MaxWordsPerturbed):
        self.share = constraint.max_percent

    def __call__(self, swaps: Sequence[SwapQuery], allowed: Sequence[list[Allowed]]) -> list[list[Allowed]]:
        """Those of the allowed candidates with which few enough words differ from the original text."""
        return [self._few(swap, some) for swap, some in zip(swaps, allowed, strict=True)]

    def keep(self, moves: Sequence[MoveQuery]) -> list[bool]:
        """Whether few enough words of each text differ from the original text."""
        return [
            sum(map(str.__ne__, move.original.words, move.moved.words))
            <= math.ceil(len(move.original.words) * self.share)
            for move in moves
        ]

    def _few(self, swap: SwapQuery, some: list[Allowed]) -> list[Allowed]:
        before, now = swap.original.words, swap.current.words
        most = math.ceil(len(before) * self.share)
        others = sum(word != before[index] for index, word in enumerate(now) if index != swap.index)
        return [one for one in some if others + (one.candidate.word != before[swap.index]) <= most]


class SamePartOfSpeech:
    """`PartOfSpeech` with NLTK's tagger."""

    name = "part of speech"

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

    name = "sentence encoder"

    def __init__(self, constraint: UniversalSentenceEncoder, profile: Profile):
        self.constraint, self.profile = constraint, profile

    def __call__(self, swaps: Sequence[SwapQuery], allowed: Sequence[list[Allowed]]) -> list[list[Allowed]]:
        """Those of the allowed candidates whose window is similar enough to the current or original window."""
        size = self.constraint.window_size
        with self.profile.texts:
            windows = [
                (self._reference(swap), swap.current.windows(swap.index, size, [one.candidate for one in some])[1])
                if some and not self._is_short(swap.current)
                else ("", [])
                for swap, some in zip(swaps, allowed, strict=True)
            ]
        with self.profile.encoder:
            similarities = iter(self._similarities(windows))
        passed = []
        for swap, some in zip(swaps, allowed, strict=True):
            if self._is_short(swap.current):
                passed.append([Allowed(one.candidate, 1.0) for one in some])
                continue
            measured = [(one.candidate, *next(similarities)) for one in some]
            passed.append([Allowed(candidate, similarity) for candidate, similarity, enough in measured if enough])
        return passed

    def keep(self, moves: Sequence[MoveQuery]) -> list[bool]:
        """Whether the window of each moved text is similar enough to the one before, or the original one."""
        size = self.constraint.window_size
        long = [not self._is_short(move.moved) for move in moves]
        windows = [
            (self._compared(move.original, move.source).window(move.index, size), [move.moved.window(move.index, size)])
            for move, is_long in zip(moves, long, strict=True)
            if is_long
        ]
        with self.profile.encoder:
            enough = iter(self._similarities(windows))
        return [next(enough)[1] if is_long else True for is_long in long]

    def _reference(self, swap: SwapQuery) -> str:
        return self._compared(swap.original, swap.current).window(swap.index, self.constraint.window_size)

    def _compared(self, original: TokenizedText, current: TokenizedText) -> TokenizedText:
        return original if self.constraint.compare_against_original else current

    def _is_short(self, text: TokenizedText) -> bool:
        return self.constraint.skip_text_shorter_than_window and len(text.words) < self.constraint.window_size

    def _similarities(self, windows: Sequence[tuple[str, list[str]]]) -> list[tuple[float, bool]]:
        """Similarity of each swapped window with its reference, and whether it is high enough."""
        pairs = [(reference, swapped) for reference, variants in windows for swapped in variants]
        if not pairs:
            return []
        row = {window: index for index, window in enumerate(dict.fromkeys(window for pair in pairs for window in pair))}
        encodings = self.constraint.model(list(row))
        reference_N, swapped_N = (torch.tensor([row[pair[side]] for pair in pairs]) for side in (0, 1))
        similarity_N = self.constraint.sim_metric(encodings[reference_N], encodings[swapped_N])
        enough_N = similarity_N >= self.constraint.threshold
        return list(zip(similarity_N.tolist(), enough_N.tolist(), strict=True))
