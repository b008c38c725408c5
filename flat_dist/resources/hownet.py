"""Substitutes for the attack `pso`: HowNet's, or synonyms in WordNet with the word's class and inflection.

The candidates that TextAttack downloads have the same class, and the same inflection: their authors compare lemmas, and
keep words that are both plural nouns, both comparatives, or both the same form of a verb (Zang et al., ACL 2020).
HowNet compares sememes, so it gives words that WordNet does not list as synonyms.
"""

import functools
import hashlib
import pickle
import re
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import lemminflect

from flat_dist.config.errors import UserError
from flat_dist.resources.assets import Assets
from flat_dist.resources.catalogue import RESOURCES
from flat_dist.resources.packages import plain_values

CLASSES = {"NOUN": "n", "VERB": "v", "ADJ": "a", "ADV": "r"}
"""Universal tags of the words that may change, and WordNet's letters for them."""

HOWNET_CLASSES = {"NOUN": "noun", "VERB": "verb", "ADJ": "adj", "ADV": "adv"}

FORMS = {
    "NOUN": ("NN", "NNS"),
    "VERB": ("VB", "VBD", "VBN", "VBG", "VBZ", "VBP"),
    "ADJ": ("JJ", "JJR", "JJS"),
    "ADV": ("RB", "RBR", "RBS"),
}
"""Inflections of each class as Penn Treebank tags; of a word with several, such as `put`, the first counts."""

ONE_WORD = re.compile("[a-z]+(?:['-][a-z]+)*")
"""What TextAttack reads as this word and nothing else."""


class Substitutes(Protocol):
    """Candidates for a word of a class."""

    def candidates(self, word: str, tag: str, /) -> Sequence[str]:
        """Candidates for a word in lower case, in any inflection, best first.

        Args:
            word: in lower case.
            tag: its universal part of speech; others than those in `CLASSES` have no candidates.
        """


class HowNetFile:
    """TextAttack's file word_candidates_sense.pkl; no code in it is run.

    Raises:
        UserError: it cannot be read, or is something else.
    """

    def __init__(self, path: Path):
        try:
            self._bank = plain_values(path.read_bytes())
            if not all(set(classes) <= set(HOWNET_CLASSES.values()) for classes in self._bank.values()):
                raise ValueError("words without classes")
        except (OSError, ValueError, AttributeError, TypeError, EOFError, pickle.UnpicklingError) as error:
            raise UserError(
                f"{path} is not a file of HowNet's candidates ({error}): give word_candidates_sense.pkl, as TextAttack "
                "downloads it"
            ) from error

    def candidates(self, word: str, tag: str) -> Sequence[str]:
        """See `Substitutes`."""
        found: Sequence[str] = self._bank.get(word, {}).get(HOWNET_CLASSES.get(tag), ())
        return found


class WordNetSynonyms:
    """Synonyms in WordNet.

    Args:
        assets: with WordNet.
    """

    def __init__(self, assets: Assets):
        self._wordnet = _open(assets)
        self._cached = functools.lru_cache(2**16)(self._candidates)

    def candidates(self, word: str, tag: str) -> Sequence[str]:
        """See `Substitutes`. They are in WordNet's order, whose most frequent senses come first."""
        return self._cached(word, tag)

    def _candidates(self, word: str, tag: str) -> tuple[str, ...]:
        if tag not in CLASSES:
            return ()
        found = (
            form
            for lemma, inflection in _lemmas(word, tag)
            for synset in self._wordnet.synsets(lemma, CLASSES[tag])
            for name in synset.lemma_names()
            if name.lower() != lemma and ONE_WORD.fullmatch(name.lower())
            for form in _inflect(name.lower(), inflection, tag)
        )
        return tuple(form for form in dict.fromkeys(found) if form != word and ONE_WORD.fullmatch(form))


def _lemmas(word: str, tag: str) -> list[tuple[str, str]]:
    """Lemmas of a word, and the inflection that makes the word of each. A word that no list has is a lemma itself."""
    base, found = FORMS[tag][0], []
    for lemma in lemminflect.getAllLemmas(word, upos=tag).get(tag, (word,)):
        forms = lemminflect.getAllInflections(lemma, upos=tag)
        found.append((lemma, next((form for form in FORMS[tag] if word in forms.get(form, ())), base)))
    return found


def _inflect(lemma: str, form: str, tag: str) -> tuple[str, ...]:
    """The inflection of a lemma if it is in the lexicon: rules would make `beneficialest`."""
    return (lemma,) if form == FORMS[tag][0] else lemminflect.getInflection(lemma, form, inflect_oov=False)[:1]


def _open(assets: Assets) -> Any:
    import nltk  # takes a second
    from nltk.corpus.reader.wordnet import WordNetCorpusReader

    if str(assets.nltk_data) not in nltk.data.path:
        nltk.data.path.insert(0, str(assets.nltk_data))  # NLTK opens files only in these folders
    with warnings.catch_warnings(action="ignore"):  # about missing languages
        return WordNetCorpusReader(str(assets.nltk_data / "corpora" / "wordnet"), None)


def provenance(assets: Assets) -> dict[str, str]:
    """Source of the synonyms, and sha256 of what they depend on."""
    wordnet = assets.provenance()["wordnet"]["sha256"]
    digest = hashlib.sha256(f"{wordnet} {version('lemminflect')}".encode()).hexdigest()
    return {"source": "stand-in", "sha256": digest, "detail": RESOURCES["hownet"].stand_in}
