"""Builds an engine that runs the same attack as a TextAttack attack object."""

from textattack import Attack
from textattack.constraints import Constraint
from textattack.constraints.grammaticality import PartOfSpeech
from textattack.constraints.overlap import MaxWordsPerturbed
from textattack.constraints.pre_transformation import (
    InputColumnModification,
    MaxWordIndexModification,
    MinWordLength,
    RepeatModification,
    StopwordModification,
    UnmodifiableIndices,
)
from textattack.constraints.semantics.sentence_encoders import UniversalSentenceEncoder
from textattack.goal_functions import UntargetedClassification
from textattack.search_methods import GreedyWordSwapWIR
from textattack.shared import AttackedText
from textattack.transformations import WordSwapEmbedding, WordSwapWordNet

from flat_dist.attack.engine.constraints import (
    CandidateGenerator,
    FewChangedWords,
    SamePartOfSpeech,
    SimilarWindow,
    word_distance,
)
from flat_dist.attack.engine.engine import Engine, Filter
from flat_dist.attack.engine.greedy import GreedySettings
from flat_dist.attack.engine.known_order import KnownOrder
from flat_dist.attack.engine.profile import Profile
from flat_dist.attack.engine.strengthen import FirstSynonyms
from flat_dist.attack.goal import MarginDrop
from flat_dist.attack.limits import Limits

BEFORE = (
    InputColumnModification,
    MaxWordIndexModification,
    MinWordLength,
    RepeatModification,
    StopwordModification,
    UnmodifiableIndices,
)
"""Constraints on the words to change that a change of other words does not affect: they are asked once per text."""

METHODS = ("attack", "_attack", "get_indices_to_order", "get_transformations", "filter_transformations")
"""What the engine does instead of a TextAttack attack: a subclass that changes one of them is another attack."""


def build_engine(attack: Attack, limits: Limits, profile: Profile) -> Engine:
    """The engine of a TextAttack attack on a `flat_dist.attack.victim.Victim`; its results are the same.

    Raises:
        NotImplementedError: the engine does not support a part of the attack.
    """
    _check(attack)
    search = attack.search_method
    distance = word_distance(attack)
    filters = [_filter(constraint, limits, profile) for constraint in attack.constraints if constraint is not distance]
    settings = GreedySettings(
        ranking=search.wir_method,
        unknown=search.unk_token,
        indices=lambda text: attack.get_indices_to_order(AttackedText(text))[1],
        candidates=CandidateGenerator(attack.transformation, distance, limits.cache_size).candidates,
        from_original=type(attack.goal_function) is MarginDrop,
        word_scores=search.word_scores if type(search) is KnownOrder else None,
    )
    return Engine(settings, filters, attack.goal_function.model, limits, profile)


def _check(attack: Attack) -> None:
    """Raise NotImplementedError if the engine does not support the goal, search or transformation."""
    _require(
        type(attack.goal_function) in (UntargetedClassification, MarginDrop)
        and not attack.goal_function.target_max_score,
        attack.goal_function,
    )
    search = attack.search_method
    known = type(search) is GreedyWordSwapWIR and search.wir_method in ("delete", "unk", "weighted-saliency")
    _require((known or type(search) is KnownOrder) and search.truncate_words_to is None, search)
    _require(type(attack.transformation) in (WordSwapEmbedding, WordSwapWordNet, FirstSynonyms), attack.transformation)
    for method in METHODS:
        _require(getattr(type(attack), method) is getattr(Attack, method), f"{type(attack).__name__}.{method}")
    for constraint in attack.pre_transformation_constraints:
        _require(type(constraint) in BEFORE, constraint)
    once = any(type(constraint) is RepeatModification for constraint in attack.pre_transformation_constraints)
    _require(once, "an attack that may change a word twice")


def _filter(constraint: Constraint, limits: Limits, profile: Profile) -> Filter:
    if type(constraint) is MaxWordsPerturbed:
        _require(bool(constraint.max_percent) and not constraint.max_num_words, constraint)
        return FewChangedWords(constraint)
    if type(constraint) is PartOfSpeech:
        _require((constraint.tagger_type, constraint.language_nltk) == ("nltk", "eng"), constraint)
        _require(constraint.compare_against_original, constraint)
        return SamePartOfSpeech(constraint, limits.cache_size, profile)
    if type(constraint) is UniversalSentenceEncoder:
        _require(constraint.window_size < float("inf") and not constraint.compare_against_original, constraint)
        return SimilarWindow(constraint, profile)
    raise NotImplementedError(f"the attack engine does not support {constraint}")


def _require(holds: bool, part: object) -> None:
    if not holds:
        raise NotImplementedError(f"the attack engine does not support {part}")


def candidates_of_word(attack: Attack, word: str) -> list[str]:
    """What an attack may put in the place of a word, in its order, before constraints on the whole text.

    Empty if the attack does not change the word, such as a stop word, or if TextAttack does not read it as one word.
    """
    text = AttackedText(word)
    if text.words != [word] or not attack.get_indices_to_order(text)[1]:
        return []
    generator = CandidateGenerator(attack.transformation, word_distance(attack), 1)
    return [candidate.word for candidate in generator.candidates(word)]
