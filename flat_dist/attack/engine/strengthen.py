"""Attacks of a given strength, as TextAttack objects.

Call `flat_dist.resources.textattack_setup.activate` before importing this module.
"""

from nltk.corpus import wordnet
from textattack import Attack
from textattack.constraints import Constraint
from textattack.constraints.grammaticality.language_models.google_language_model.google_language_model import (
    GoogleLanguageModel,
)
from textattack.constraints.overlap import MaxWordsPerturbed
from textattack.constraints.semantics import WordEmbeddingDistance
from textattack.constraints.semantics.sentence_encoders import UniversalSentenceEncoder
from textattack.shared import AbstractWordEmbedding
from textattack.transformations import WordSwap, WordSwapEmbedding, WordSwapWordNet

from flat_dist.attack.engine.sentence_encoder import SentenceEncoder
from flat_dist.attack.engine.word_classes import WordSwapByClass
from flat_dist.attack.strength import Strength

SIMILARITY, WINDOW = 0.840845057, 15
"""Smallest angular similarity of sentences in Li et al. 2021, and the words around a swap that are compared."""


class FirstSynonyms(WordSwapWordNet):
    """The first synonyms of a word in WordNet, whose most frequent senses come first.

    TextAttack's own order is that of a Python set of strings, which changes from process to process.
    """

    def __init__(self, count: int):
        super().__init__()
        self.count = count

    def _get_replacement_words(self, word: str, random: bool = False) -> list[str]:
        allowed = set(super()._get_replacement_words(word))
        names = (name for sense in wordnet.synsets(word, lang=self.language) for name in sense.lemma_names())
        return [name for name in dict.fromkeys(names) if name in allowed][: self.count]


def strengthen(
    attack: Attack, strength: Strength, embedding: AbstractWordEmbedding | None, encoder: SentenceEncoder | None
) -> Attack:
    """The attack with the limits of a strength; those on queries are the caller's.

    The constraints of Li et al. 2021, as their code (TextDefender) has them for all attacks that swap words: neighbours
    in a word embedding as candidates, without a limit on their cosine; similar windows; few changed words. TextFooler
    keeps its check of parts of speech.

    Args:
        attack: the recipe.
        strength: what to limit.
        embedding: neighbours of words; li2021 needs it.
        encoder: of sentences; li2021 needs it.
    """
    constraints, transformation = list(attack.constraints), attack.transformation
    if strength.setting == "li2021":
        transformation = WordSwapEmbedding(strength.neighbours, embedding)
        constraints = [one for one in constraints if not isinstance(one, WordEmbeddingDistance)]
        if not any(isinstance(one, UniversalSentenceEncoder) for one in constraints):
            constraints.append(_similar_windows(encoder))
        # A language model keeps a number of the candidates that pass all else.
        constraints.sort(key=lambda one: isinstance(one, GoogleLanguageModel))
    elif strength.neighbours:
        transformation = _fewer_candidates(transformation, strength.neighbours)
    if strength.max_changed < 1:
        constraints.insert(0, MaxWordsPerturbed(max_percent=strength.max_changed))
    before = attack.pre_transformation_constraints
    return Attack(attack.goal_function, [*before, *constraints], transformation, attack.search_method)


def _similar_windows(encoder: SentenceEncoder | None) -> Constraint:
    if encoder is None:
        raise ValueError("the constraints of Li et al. 2021 need a sentence encoder")
    similar = UniversalSentenceEncoder(
        threshold=SIMILARITY,
        metric="angular",
        compare_against_original=False,
        window_size=WINDOW,
        skip_text_shorter_than_window=True,
    )
    similar.model = encoder.encode
    return similar


def _fewer_candidates(transformation: WordSwap, count: int) -> WordSwap:
    if isinstance(transformation, WordSwapEmbedding):
        return WordSwapEmbedding(min(count, transformation.max_candidates), transformation.embedding)
    if isinstance(transformation, WordSwapWordNet):
        return FirstSynonyms(count)
    if isinstance(transformation, WordSwapByClass):
        return WordSwapByClass(transformation.candidates, count)
    raise NotImplementedError(f"a limit on the candidates of {transformation}")
