"""Global word importance, and its correlation with frequencies (paper, Section 6 and Appendix D).

Shape letters: V words, S sampled words, U distinct pieces, N pieces of all words.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from scipy.stats import pearsonr

from flat_dist.config.errors import UserError
from flat_dist.data.encoder import Encoder
from flat_dist.data.wordpieces import WordPieces
from flat_dist.evaluation.substitutions import count_replaced, count_words
from flat_dist.models.checkpoint import Checkpoint
from flat_dist.models.transformer import Transformer


@dataclass(frozen=True)
class Words:
    """The words of the training texts, and their numbers in the same order."""

    words: tuple[str, ...]
    """Distinct words by falling frequency, then alphabetically."""
    frequency_V: np.ndarray
    """Occurrences in the training texts."""
    replaced_V: np.ndarray
    """Substitution frequency: how often attacks replaced the word."""
    importance_V: np.ndarray
    """Global importance phi, in (0, 1)."""


@dataclass(frozen=True)
class Correlation:
    """Pearson's correlation of two of importance (WI), word frequency (WF) and substitution frequency (SF)."""

    pair: str
    """importance-word_frequency, importance-substitution_frequency or word_frequency-substitution_frequency."""
    r: float | None
    """None if undefined: fewer than three words, or constant values."""
    p: float | None
    n: int
    """Number of words."""


def words_of(train_texts: Iterable[str], attacked_tables: Iterable[pa.Table], checkpoint: Checkpoint) -> Words:
    """The words of cleaned training texts that are in a model's vocabulary; with word pieces, all words.

    Out-of-vocabulary words have no importance of their own, and are left out. So are words that occur only in other
    attacked texts.

    Raises:
        UserError: as in `importances`.
    """
    frequency, replaced = count_words(train_texts), count_replaced(attacked_tables)
    vocabulary, spans = checkpoint.encoder.vocabulary, checkpoint.encoder.for_words.spans
    known = [word for word in frequency if (spans(word) if isinstance(vocabulary, WordPieces) else word in vocabulary)]
    words = sorted(known, key=lambda word: (-frequency[word], word))
    frequency_V, replaced_V = (
        np.array([counts[word] for word in words], dtype=np.int64) for counts in (frequency, replaced)
    )
    return Words(tuple(words), frequency_V, replaced_V, importances(checkpoint, words))


@torch.no_grad()
def importances(checkpoint: Checkpoint, words: Sequence[str], batch_size: int = 4096) -> np.ndarray:
    """Global importance phi of single words, (V,) in float32: the mean over the pieces of each word.

    Args:
        checkpoint: a model with a mask.
        words: single words of cleaned texts. Out-of-vocabulary words get the importance of the unknown word.
        batch_size: distinct pieces in memory at a time. Each piece is computed once, because its importance does not
            depend on the word.

    Raises:
        UserError: the model has no mask, or its importance depends on the context of a word.
        ValueError: one of `words` is not a single word.
    """
    _check_mask(checkpoint)
    pieces = [_pieces(checkpoint.encoder, word) for word in words]
    sizes_V = np.array([len(ids) for ids in pieces], dtype=np.int64)
    ids_N = np.array([piece for ids in pieces for piece in ids], dtype=np.int64)
    ids_U, places_N = np.unique(ids_N, return_inverse=True)
    batches = torch.from_numpy(ids_U).to(checkpoint.device).split(batch_size)
    phi_U = torch.cat([checkpoint.model.importance(ids, torch.zeros_like(ids)) for ids in batches]).cpu().numpy()
    owners_N = np.repeat(np.arange(len(words)), sizes_V)
    sums_V = np.bincount(owners_N, weights=phi_U[places_N], minlength=len(words))
    return (sums_V / sizes_V).astype(np.float32)


def correlations(words: Words) -> list[Correlation]:
    """Pearson's correlations of importance (WI), word frequency (WF) and substitution frequency (SF), as in Table 9.

    WI-WF is over all words, WI-SF and WF-SF over the words that were replaced at least once. The paper does not say
    which, but r and p of the two-sided test determine the number of words: r = -0.028 with p = 0.001 needs about
    13,800, which fits SST-2's whole vocabulary; r = 0.087 with p = 5.79e-5 needs about 2,100, which fits the replaced
    words. (For WF-SF, r = 0.162 with p = 1.65e-8 needs about 1,200, which fits neither: a subset, or a misprint.)
    """
    all_V, attacked_V = np.ones(len(words.words), dtype=bool), words.replaced_V > 0
    importance = ("importance", words.importance_V)
    frequency, replaced = ("word_frequency", words.frequency_V), ("substitution_frequency", words.replaced_V)
    return [
        _correlation(f"{first}-{second}", a_V[over_V], b_V[over_V])
        for (first, a_V), (second, b_V), over_V in (
            (importance, frequency, all_V),
            (importance, replaced, attacked_V),
            (frequency, replaced, attacked_V),
        )
    ]


def synonym_spread(
    words: Words, neighbours: Mapping[str, Sequence[str]], sample: int = 1000, synonyms: int = 10, seed: int = 0
) -> np.ndarray:
    """Difference of importance between words and their synonyms (paper, Figure 5), (S,) in [0, 1), S <= `sample`.

    For each sampled word: the mean absolute difference between its importance and those of its synonyms. The paper uses
    the sum (L1 norm); the mean does not depend on the number of synonyms.

    Args:
        words: the words of the model's vocabulary.
        neighbours: word to synonyms, nearest first, as `flat_dist.resources.synonyms.neighbours` gives them.
        sample: maximum number of words, drawn among those with a synonym in `words`. The sample depends only on
            `words.words`, `neighbours` and the seed, so models with the same vocabulary get the same sample.
        synonyms: maximum number of synonyms of each word, the nearest in `words`.
        seed: seed of the sample.
    """
    index = {word: place for place, word in enumerate(words.words)}
    known = {
        place: synonyms_of_word
        for word, place in index.items()
        if (synonyms_of_word := _known_synonyms(index, word, neighbours.get(word, ()))[:synonyms])
    }
    places = np.array(sorted(known), dtype=np.int64)
    if len(places) > sample:
        places = np.sort(np.random.default_rng(seed).choice(places, sample, replace=False))
    importance_V = words.importance_V.astype(np.float64)
    return np.array([np.abs(importance_V[known[place]] - importance_V[place]).mean() for place in places.tolist()])


def extremes(words: Words, count: int = 20, min_frequency: int = 5) -> tuple[list[int], list[int]]:
    """Indices of the most and the least important words, sorted; ties are sorted by falling frequency.

    Args:
        words: the words.
        count: maximum number of indices in each list. If there are few words, some are in both lists.
        min_frequency: minimum number of occurrences in the training texts: training hardly changes rarer words.
    """
    frequent = np.flatnonzero(words.frequency_V >= min_frequency)
    importance = words.importance_V[frequent]
    most, least = (frequent[np.argsort(order, kind="stable")[:count]].tolist() for order in (-importance, importance))
    return most, least


def _check_mask(checkpoint: Checkpoint) -> None:
    if checkpoint.model.mask is None:
        raise UserError(
            "this model has no word mask, so its words have no global importance: use a model trained with flat"
        )
    if checkpoint.config.contextual and isinstance(checkpoint.model, Transformer):
        raise UserError(
            "this model was trained with --model.contextual, so the importance of a word depends on its context: use "
            "a model trained without it"
        )


def _pieces(encoder: Encoder, word: str) -> tuple[int, ...]:
    """The pieces of one word inside a text."""
    encoder = encoder.for_words
    spans = encoder.spans(word)
    if len(spans) != 1:
        raise ValueError(f"{word!r} is {len(spans)} words, not one")
    return encoder.inner_pieces(word)


def _correlation(pair: str, a: np.ndarray, b: np.ndarray) -> Correlation:
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return Correlation(pair, None, None, len(a))
    result = pearsonr(a.astype(np.float64), b.astype(np.float64))
    return Correlation(pair, float(result.statistic), float(result.pvalue), len(a))


def _known_synonyms(index: Mapping[str, int], word: str, others: Iterable[str]) -> list[int]:
    return [index[other] for other in dict.fromkeys(others) if other in index and other != word]
