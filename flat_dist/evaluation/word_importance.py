"""What a model's word importance goes by, and what attacks change (paper, Section 6 and Appendix D).

A word is a token with a letter or digit; marks, which are tokens of cleaned texts too, are no words. An adversarial
example is a row of a successful attack: in the other rows the model withstood, or was wrong before. A text that several
rounds or attacks made adversarial examples of counts once for each of them.

Shape letters: V words, S sampled words, U distinct pieces, N pieces of all words.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from scipy.stats import pearsonr

from flat_dist.config.errors import UserError
from flat_dist.data.encoder import Encoder
from flat_dist.data.preprocessing import tokenize
from flat_dist.data.wordpieces import WordPieces
from flat_dist.models.checkpoint import Checkpoint
from flat_dist.models.transformer import Transformer

SUBSTITUTES = 5
"""Substitutes that a `Replacement` names, at most."""


@dataclass(frozen=True)
class Words:
    """Words of the training texts, in parallel."""

    words: tuple[str, ...]
    """Distinct, by falling frequency, then alphabetical."""
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
    """None where it is not defined: fewer than three words, or all values of one equal."""
    p: float | None
    n: int
    """Words it is taken over."""


@dataclass(frozen=True)
class Replacement:
    """A word that attacks replaced."""

    word: str
    count: int
    substitutes: tuple[tuple[str, int], ...]
    """What stood in its place, and how often, most frequent first."""


def count_words(texts: Iterable[str]) -> Counter[str]:
    """Word frequency: occurrences of each word in cleaned texts."""
    return Counter(word for text in texts for word in _words(text))


def count_replaced(tables: Iterable[pa.Table]) -> Counter[str]:
    """Substitution frequency: how often each word was replaced in adversarial examples.

    Args:
        tables: attacked rows, with the columns status and swaps of `flat_dist.data.shards.SCHEMA`. Each word of a
            swap's original counts; an insertion replaces none.
    """
    return Counter(word for original, _ in _swaps(tables) for word in _words(original))


def words_of(train_texts: Iterable[str], attacked_tables: Iterable[pa.Table], checkpoint: Checkpoint) -> Words:
    """The words of cleaned training texts that a model knows by themselves; with word pieces, it knows all.

    Words that share a model's one unknown word have no importance of their own, and are left out; so are words that
    attacks replaced in other texts only.

    Raises:
        UserError: as `importances`.
    """
    frequency, replaced = count_words(train_texts), count_replaced(attacked_tables)
    vocabulary = checkpoint.encoder.vocabulary
    known = [word for word in frequency if isinstance(vocabulary, WordPieces) or word in vocabulary]
    words = sorted(known, key=lambda word: (-frequency[word], word))
    frequency_V, replaced_V = (
        np.array([counts[word] for word in words], dtype=np.int64) for counts in (frequency, replaced)
    )
    return Words(tuple(words), frequency_V, replaced_V, importances(checkpoint, words))


@torch.no_grad()
def importances(checkpoint: Checkpoint, words: Sequence[str], batch_size: int = 4096) -> np.ndarray:
    """Global importance phi of words taken alone, (V,) in float32: for each, the mean over its pieces.

    Args:
        checkpoint: a model with a mask.
        words: single words, as cleaned texts have them. Those that a word vocabulary lacks all get the importance of
            its one unknown word.
        batch_size: distinct pieces in memory at a time. Importance goes by the piece alone, so that each is computed
            once, however many words have it.

    Raises:
        UserError: the model has no mask, or one whose importance depends on where in a text a word stands.
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

    WI-WF is taken over all words, WI-SF and WF-SF over the words replaced at least once. The paper does not say which,
    but r and p of the two-sided test give the number of words away: r = -0.028 with p = 0.001 takes about 13,800, which
    fits SST-2's whole vocabulary, and r = 0.087 with p = 5.79e-5 about 2,100, which fits the words replaced. (For
    WF-SF, r = 0.162 with p = 1.65e-8 takes about 1,200, which fits neither: some of those words, or a misprint.)
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
    """How far words differ in importance from their synonyms (paper, Figure 5), (S,) in [0, 1), S at most `sample`.

    For each of the sampled words, the mean absolute difference between its importance and those of its synonyms. The
    paper's L1 norm is the sum instead; the mean lets words with fewer synonyms be compared.

    Args:
        words: the words that the model knows.
        neighbours: word to synonyms, nearest first, as `flat_dist.resources.synonyms.neighbours` gives them.
        sample: words drawn of those with a synonym among `words`. Which ones depends on `words.words`, `neighbours` and
            the seed alone: of two models with one vocabulary, the same words are drawn.
        synonyms: the first so many synonyms that are among `words` count.
        seed: of the draw.
    """
    index = {word: place for place, word in enumerate(words.words)}
    known = {
        place: found
        for word, place in index.items()
        if (found := _known_synonyms(index, word, neighbours.get(word, ()))[:synonyms])
    }
    places = np.array(sorted(known), dtype=np.int64)
    if len(places) > sample:
        places = np.sort(np.random.default_rng(seed).choice(places, sample, replace=False))
    importance_V = words.importance_V.astype(np.float64)
    return np.array([np.abs(importance_V[known[place]] - importance_V[place]).mean() for place in places.tolist()])


def extremes(words: Words, count: int = 20, min_frequency: int = 5) -> tuple[list[int], list[int]]:
    """Indices of the most and of the least important words, the extreme one first; of equal ones, the more frequent.

    Args:
        words: the words.
        count: indices in each list, at most. With fewer than twice as many words, some are in both.
        min_frequency: occurrences in the training texts that a word must have: of rare ones, training says little.
    """
    frequent = np.flatnonzero(words.frequency_V >= min_frequency)
    importance = words.importance_V[frequent]
    most, least = (frequent[np.argsort(order, kind="stable")[:count]].tolist() for order in (-importance, importance))
    return most, least


def replacements(tables: Iterable[pa.Table], count: int = 20) -> list[Replacement]:
    """The words that attacks replaced most often, as `count_replaced` counts; equal counts are in alphabetical order.

    A substitute is the whole other side of a swap: it may be several words, or none ("") where words were dropped.
    Where a swap's original is several words, it stands in the place of each.

    Args:
        tables: as those of `count_replaced`.
        count: words, at most; each with `SUBSTITUTES` substitutes, at most.
    """
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for original, substitute in _swaps(tables):
        for word in _words(original):
            found[word][substitute] += 1
    totals = Counter({word: substitutes.total() for word, substitutes in found.items()})
    return [Replacement(word, total, _most(found[word], SUBSTITUTES)) for word, total in _most(totals, count)]


def _words(text: str) -> Iterator[str]:
    return (token for token in tokenize(text) if any(map(str.isalnum, token)))


def _swaps(tables: Iterable[pa.Table]) -> Iterator[tuple[str, str]]:
    """Original and substitute of each swap of the adversarial examples."""
    for table in tables:
        successful = table.filter(pc.equal(table["status"].cast(pa.string()), "successful"))
        swaps = pc.list_flatten(successful["swaps"])
        sides = (pc.struct_field(swaps, side).to_pylist() for side in ("original", "substitute"))
        yield from zip(*sides, strict=True)


def _check_mask(checkpoint: Checkpoint) -> None:
    if checkpoint.model.mask is None:
        raise UserError(
            "this model has no word mask, so its words have no global importance: take one that was trained with flat"
        )
    if checkpoint.config.contextual and isinstance(checkpoint.model, Transformer):
        raise UserError(
            "this model was trained with --model.contextual, so a word's importance depends on where it stands, and a "
            "word alone has none: take a model trained without"
        )


def _pieces(encoder: Encoder, word: str) -> tuple[int, ...]:
    """The pieces of one word, as many as a text of this word alone is read to have."""
    spans = encoder.spans(word)
    if len(spans) != 1:
        raise ValueError(f"{word!r} is not a single word, but {len(spans)}")
    start, end = spans[0]
    return encoder.encode(word)[start:end]


def _correlation(pair: str, a: np.ndarray, b: np.ndarray) -> Correlation:
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return Correlation(pair, None, None, len(a))
    found = pearsonr(a.astype(np.float64), b.astype(np.float64))
    return Correlation(pair, float(found.statistic), float(found.pvalue), len(a))


def _known_synonyms(index: Mapping[str, int], word: str, others: Iterable[str]) -> list[int]:
    return [index[other] for other in dict.fromkeys(others) if other in index and other != word]


def _most(counts: Counter[str], n: int) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:n])
