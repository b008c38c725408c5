"""Constraints and features of words from WordNet, for counter-fitting.

Shape letters: V words, P attracted pairs, Q repelled pairs, S synsets, F features, D dimensions.
"""

import functools
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import lemminflect
import numpy as np
import scipy.sparse as sp
from sklearn.feature_extraction.text import TfidfVectorizer  # type: ignore[import-untyped]

from flat_dist.resources.counterfitting import Constraints, Counterfit, balanced, unit
from flat_dist.resources.english import ALPHABETIC

UNIVERSAL = {"n": "NOUN", "v": "VERB", "a": "ADJ", "s": "ADJ", "r": "ADV"}
"""Universal part of speech, by WordNet's letter."""

TAGS = {"NOUN": "N", "VERB": "V", "ADJ": "J", "ADV": "R"}
"""First letter of the Penn Treebank's tags, by universal part of speech."""


LEMMA_RELATIONS = {"antonym": "antonyms", "derivation": "derivationally_related_forms", "pertainym": "pertainyms"}
"""Relations between lemmas, and NLTK's methods for them."""

SYNSET_RELATIONS = {
    "hypernym": "hypernyms",
    "similar": "similar_tos",
    "also": "also_sees",
    "verb group": "verb_groups",
    "entailment": "entailments",
    "cause": "causes",
}
"""Relations between synsets, and NLTK's methods for them."""

Pair = tuple[int, int]


@dataclass(frozen=True)
class Link:
    """Two related senses; `pos` is their common part of speech, if any: then their inflections correspond."""

    relation: str
    first: str
    second: str
    pos: str | None
    weight: float


def vocabulary(words: Sequence[str], wordnet: Any, config: Counterfit) -> list[int]:
    """Indices of the vocabulary's `config.words` words, most frequent first, all of the letters a to z.

    Beyond the `config.common` most frequent ones, the word or its lemma must be in WordNet: most others are names.

    Args:
        words: candidates, most frequent first.
        wordnet: an `nltk` WordNetCorpusReader.
        config: sizes.
    """
    alphabetic = [index for index, word in enumerate(words) if ALPHABETIC.fullmatch(word)]
    known = set(wordnet.all_lemma_names())
    rest = (index for index in alphabetic[config.common :] if known & {words[index], *_lemmas(words[index])})
    return alphabetic[: config.common] + list(itertools.islice(rest, max(0, config.words - config.common)))


def _lemmas(word: str) -> set[str]:
    return {lemma for lemmas in lemminflect.getAllLemmas(word).values() for lemma in lemmas}


def constraints(words: Sequence[str], wordnet: Any, config: Counterfit = Counterfit()) -> Constraints:  # noqa: B008
    """Attracted and repelled pairs among `words`.

    Attracted pairs are: words with a common synset or another relation, with weight 1 / sqrt(product of their sense
    numbers), so that rare senses count less; the same inflections of two related words; and the inflections of one
    word. Weights of several relations are added. Antonyms are repelled and never attracted.

    Args:
        words: the vocabulary, in lower case.
        wordnet: an `nltk` WordNetCorpusReader.
        config: weights of the relations.
    """
    weights = _weights(words, wordnet)
    repel_Q2 = _pairs(weights.pop("antonym", {}))
    attract: dict[Pair, float] = defaultdict(float)
    for relation, found in sorted(weights.items()):
        pairs_P2, weight_P = _pairs(found), np.array([found[pair] for pair in sorted(found)])
        if relation == "hypernym":  # some have hundreds of hyponyms
            weight_P = balanced(pairs_P2, None, len(words)) * weight_P
        for pair, weight in zip(sorted(found), config.relation_weight(relation) * weight_P, strict=True):
            attract[pair] += float(weight)
    for pair in map(tuple, repel_Q2.tolist()):
        attract.pop(pair, None)
    weight_P = np.array([attract[pair] for pair in sorted(attract)], np.float32)
    return Constraints(_pairs(attract), repel_Q2, weight_P)


def _weights(words: Sequence[str], wordnet: Any) -> dict[str, dict[Pair, float]]:
    """By relation and pair, the largest weight of the pair's senses."""
    index = {word: position for position, word in enumerate(words)}
    inflections = functools.cache(lambda lemma, upos: lemminflect.getAllInflections(lemma, upos=upos))
    weights: dict[str, dict[Pair, float]] = defaultdict(dict)
    for link in _links(wordnet):
        found = weights[link.relation]
        for pair in _inflected(link, index, inflections):
            found[pair] = max(link.weight, found.get(pair, 0))
    weights["inflection"] = dict.fromkeys(_same_word(words, index), 1.0)
    return weights


def _pairs(pairs: Iterable[Pair]) -> np.ndarray:
    return np.array(sorted(pairs), np.int64).reshape(-1, 2)


def _links(wordnet: Any) -> Iterator[Link]:
    numbers = _sense_numbers(wordnet)

    def link(relation: str, first: Any, second: Any) -> Link:
        pos, other_pos = UNIVERSAL[first.synset().pos()], UNIVERSAL[second.synset().pos()]
        rarity = numbers.get(first.key(), 1) * numbers.get(second.key(), 1)
        names = first.name().lower(), second.name().lower()
        return Link(relation, *names, pos if pos == other_pos else None, rarity**-0.5)

    for synset in wordnet.all_synsets():
        lemmas = synset.lemmas()
        for first, second in itertools.combinations(lemmas, 2):
            yield link("synonym", first, second)
        for relation, method in LEMMA_RELATIONS.items():
            for lemma in lemmas:
                yield from (link(relation, lemma, other) for other in getattr(lemma, method)())
        for relation, method in SYNSET_RELATIONS.items():
            for lemma, synset_ in itertools.product(lemmas, getattr(synset, method)()):
                yield from (link(relation, lemma, other) for other in synset_.lemmas())


def _sense_numbers(wordnet: Any) -> dict[str, int]:
    """Number of each sense of a word by sense key; 1 is the most frequent sense."""
    with wordnet.open("index.sense") as file:
        fields = [line.split() for line in file]
    return {key: int(number) for key, _, number, _ in fields}


def _pair(index: dict[str, int], first: str, second: str) -> Iterator[Pair]:
    if first != second and first in index and second in index:
        yield min(index[first], index[second]), max(index[first], index[second])


def _inflected(link: Link, index: dict[str, int], inflections: Callable[..., dict[str, Any]]) -> set[Pair]:
    pairs = set(_pair(index, link.first, link.second))
    if link.pos and "_" not in link.first + link.second:
        first, second = inflections(link.first, link.pos), inflections(link.second, link.pos)
        for tag in first.keys() & second.keys():
            pairs.update(pair for a in first[tag] for b in second[tag] for pair in _pair(index, a, b))
    return pairs


def _same_word(words: Sequence[str], index: dict[str, int]) -> set[Pair]:
    pairs: set[Pair] = set()
    for word in words:
        for upos, lemmas in lemminflect.getAllLemmas(word).items():
            for lemma in lemmas:
                forms = lemminflect.getAllInflections(lemma)
                alike = [form for tag, found in forms.items() if tag[0] == TAGS.get(upos) for form in found]
                pairs |= {pair for other in (lemma, *alike) for pair in _pair(index, word, other)}
    return pairs


def codes(words: Sequence[str], wordnet: Any, config: Counterfit) -> np.ndarray:
    """Features (V, D) of length 1 in addition to GloVe: half from definitions, half from spelling.

    Words with similar definitions or common rare character n-grams (Bojanowski et al. 2017) get similar codes. TF-IDF
    vectors are projected at random (Johnson and Lindenstrauss), which changes cosines by about
    1 / sqrt(`config.codes`).
    """
    generator = np.random.default_rng(config.seed)
    features = (_definitions(words, wordnet), _spelling(words))
    projected = [
        part_VF @ (generator.standard_normal((part_VF.shape[1], config.codes)) / config.codes**0.5).astype(np.float32)
        for part_VF in features
    ]
    return unit(sum(projected))


def _definitions(words: Sequence[str], wordnet: Any) -> sp.csr_array:
    index = {word: position for position, word in enumerate(words)}
    numbers = _sense_numbers(wordnet)
    texts: list[str] = []
    members: list[tuple[int, int, float]] = []
    for synset in wordnet.all_synsets():
        lemmas = synset.lemmas()
        members += [
            (index[name], len(texts), 1 / numbers.get(lemma.key(), 1))
            for lemma in lemmas
            if (name := lemma.name().lower()) in index
        ]
        texts.append(f"{synset.definition()} {' '.join(lemma.name() for lemma in lemmas)}")
    texts_SF = TfidfVectorizer(stop_words="english", min_df=2, dtype=np.float32).fit_transform(texts)
    rows, columns, values = zip(*members, strict=True)
    belongs_VS = sp.coo_array((np.array(values, np.float32), (rows, columns)), shape=(len(words), len(texts))).tocsr()
    return _unit_rows(belongs_VS @ texts_SF)


def _spelling(words: Sequence[str]) -> sp.csr_array:
    grams = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), min_df=2, dtype=np.float32)
    return _unit_rows(grams.fit_transform(words))


def _unit_rows(matrix_VF: sp.csr_array) -> sp.csr_array:
    length_V = np.sqrt(np.asarray(matrix_VF.multiply(matrix_VF).sum(axis=1))).ravel()
    return sp.diags_array((1 / np.maximum(length_V, 1e-9)).astype(np.float32)).tocsr() @ matrix_VF
