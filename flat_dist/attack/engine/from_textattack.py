"""Builds an engine that runs the same attack as a TextAttack attack object."""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from textattack import Attack
from textattack.constraints import Constraint
from textattack.constraints.grammaticality import PartOfSpeech
from textattack.constraints.grammaticality.language_models.google_language_model.google_language_model import (
    GoogleLanguageModel,
)
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
from textattack.search_methods import (
    AlzantotGeneticAlgorithm,
    GreedyWordSwapWIR,
    ImprovedGeneticAlgorithm,
    ParticleSwarmOptimization,
)
from textattack.shared import AttackedText
from textattack.transformations import WordSwapEmbedding, WordSwapMaskedLM, WordSwapWordNet

from flat_dist.attack.candidate_counts import CandidateCounts
from flat_dist.attack.engine.constraints import (
    CandidateGenerator,
    FewChangedWords,
    SamePartOfSpeech,
    SimilarWindow,
    word_distance,
)
from flat_dist.attack.engine.engine import Answer, Engine, Filter
from flat_dist.attack.engine.from_masked_language_model import build_edit_engine, fills, gap_of, is_edit_attack
from flat_dist.attack.engine.genetic import GeneticSettings
from flat_dist.attack.engine.greedy import GreedySettings
from flat_dist.attack.engine.known_order import KnownOrder
from flat_dist.attack.engine.particle_swarm import SwarmSettings
from flat_dist.attack.engine.population import CandidateSource
from flat_dist.attack.engine.profile import Profile
from flat_dist.attack.engine.query import MoveQuery
from flat_dist.attack.engine.strengthen import FirstSynonyms
from flat_dist.attack.engine.word_classes import ClassCandidates, WordSwapByClass
from flat_dist.attack.goal import MarginDrop
from flat_dist.attack.limits import Limits
from flat_dist.attack.text_input import attacked_text, fix_first_sentence

BEFORE = {
    InputColumnModification: "input columns",
    MaxWordIndexModification: "words after the first ones",
    MinWordLength: "short words",
    RepeatModification: "words that have been changed",
    StopwordModification: "stop words",
    UnmodifiableIndices: "fixed words",
}
"""Constraints on the words to change that a change of other words does not affect: they are asked once per text. And
what the words that they exclude are called in counts."""

METHODS = ("attack", "_attack", "get_indices_to_order", "get_transformations", "filter_transformations")
"""What the engine does instead of a TextAttack attack: a subclass that changes one of them is another attack."""

BY_WORD = (WordSwapEmbedding, WordSwapWordNet, FirstSynonyms)
"""Transformations whose candidates depend on the word only."""


def build_engine(attack: Attack, limits: Limits, profile: Profile) -> Engine:
    """The engine of a TextAttack attack on a `flat_dist.attack.victim.Victim`; its results are the same.

    Raises:
        NotImplementedError: the engine does not support a part of the attack.
    """
    goal = attack.goal_function
    _require(type(goal) in (UntargetedClassification, MarginDrop) and not goal.target_max_score, goal)
    for method in METHODS:
        _require(getattr(type(attack), method) is getattr(Attack, method), f"{type(attack).__name__}.{method}")
    if is_edit_attack(attack):
        return build_edit_engine(attack, limits, profile)
    attack = copy.copy(attack)  # the caller's own may attack single texts in TextAttack
    attack.pre_transformation_constraints = [*attack.pre_transformation_constraints]
    fix_first_sentence(attack)
    distance = word_distance(attack)
    filters = [
        _filter(one, limits, profile) for one in attack.constraints if one is not distance and not _is_count(one)
    ]
    populations = (AlzantotGeneticAlgorithm, ImprovedGeneticAlgorithm, ParticleSwarmOptimization)
    settings = (_population if type(attack.search_method) in populations else _greedy)(attack, filters, limits, profile)
    masked = type(attack.transformation) is WordSwapMaskedLM
    answers: dict[type, Answer] = dict(fills(attack.transformation, attack, limits, profile)) if masked else {}
    if isinstance(settings, SwarmSettings) and filters:
        answers[MoveQuery] = lambda moves: _keep_all(filters, moves)
    return Engine(settings, filters, goal.model, limits, profile, answers)


def _greedy(attack: Attack, filters: Sequence[Filter], limits: Limits, profile: Profile) -> GreedySettings:
    search = attack.search_method
    known = type(search) is GreedyWordSwapWIR and search.wir_method in ("delete", "unk", "weighted-saliency")
    _require((known or type(search) is KnownOrder) and search.truncate_words_to is None, search)
    masked = type(attack.transformation) is WordSwapMaskedLM
    _require(masked or type(attack.transformation) in BY_WORD, attack.transformation)
    _require(not masked or word_distance(attack) is None, "word distances of a masked language model")
    _require(
        not any(isinstance(one, GoogleLanguageModel) for one in attack.constraints),
        "a greedy attack with a language model",
    )
    for constraint in attack.pre_transformation_constraints:
        _require(type(constraint) in BEFORE, constraint)
    once = any(type(constraint) is RepeatModification for constraint in attack.pre_transformation_constraints)
    _require(once, "an attack that may change a word twice")
    return GreedySettings(
        ranking=search.wir_method,
        unknown=search.unk_token,
        indices=_indices(attack, profile.counts),
        candidates=CandidateGenerator(attack.transformation, word_distance(attack), limits.cache_size).candidates,
        from_original=type(attack.goal_function) is MarginDrop,
        word_scores=search.word_scores if type(search) is KnownOrder else None,
        gap=gap_of(attack.transformation) if masked else None,
    )


def _population(
    attack: Attack, filters: Sequence[Filter], limits: Limits, profile: Profile
) -> GeneticSettings | SwarmSettings:
    search, before = attack.search_method, attack.pre_transformation_constraints
    for constraint in before:
        _require(type(constraint) in (RepeatModification, StopwordModification, InputColumnModification), constraint)
    fixed = frozenset().union(*(one.stopwords for one in before if type(one) is StopwordModification))
    counts = [one for one in attack.constraints if _is_count(one)]
    _require(not counts or attack.constraints[-1:] == counts, "a language model before other constraints")
    # TextAttack caches whether a candidate passes, but the sentence encoder gives the text that it checks one more
    # attribute: then the same text, made again, is not found in the cache.
    is_cached = not any(isinstance(one, SimilarWindow) for one in filters)
    common: dict[str, Any] = {
        "size": search.pop_size,
        "iterations": search.max_iters,
        "candidates": _candidate_source(attack, limits),
        "indices": _indices(attack, profile.counts),
        "is_fixed": fixed.__contains__,
        "once": any(type(one) is RepeatModification for one in before),
        "constrained": bool(filters or counts),
        "kept": counts[0].top_n_per_index if counts else 0,
        "remembered": attack.constraint_cache_size if counts and is_cached else 0,
        "from_original": type(attack.goal_function) is MarginDrop,
    }
    if type(search) is ParticleSwarmOptimization:
        return _swarm(search, filters, common)
    _require(not (search.post_crossover_check or search.give_up_if_no_improvement), search)
    replacements = search.max_replace_times_per_index if type(search) is ImprovedGeneticAlgorithm else 0
    return GeneticSettings(temperature=search.temp, replacements=replacements, **common)


def _swarm(search: ParticleSwarmOptimization, filters: Sequence[Filter], common: Mapping[str, Any]) -> SwarmSettings:
    _require(search.post_turn_check, search)
    for one in filters:
        _require(isinstance(one, FewChangedWords | SimilarWindow), f"a particle swarm with {one}")
    return SwarmSettings(
        inertia=(search.omega_1, search.omega_2),
        pull=(search.c1_origin, search.c2_origin),
        max_velocity=search.v_max,
        retries=search.max_turn_retries,
        **common,
    )


def _keep_all(filters: Sequence[Any], moves: Sequence[MoveQuery]) -> list[bool]:
    """Whether each text that has moved keeps all constraints."""
    return [all(kept) for kept in zip(*(one.keep(moves) for one in filters), strict=True)]


def _candidate_source(attack: Attack, limits: Limits) -> CandidateSource:
    if type(attack.transformation) is WordSwapByClass:
        _require(word_distance(attack) is None, attack.transformation)
        return ClassCandidates(attack.transformation, limits.cache_size)
    _require(type(attack.transformation) in BY_WORD, attack.transformation)
    return CandidateGenerator(attack.transformation, word_distance(attack), limits.cache_size)


def _indices(attack: Attack, counts: CandidateCounts) -> Callable[[str], list[int]]:
    """Indices of a text's words that may be changed; counts the others by the constraint that excludes them."""

    def indices(text: str) -> list[int]:
        attacked = attacked_text(text)
        left = set(range(len(attacked.words)))
        for constraint in attack.pre_transformation_constraints:
            passed = left & constraint(attacked, attack.transformation)
            if len(passed) < len(left):
                counts.fixed[BEFORE.get(type(constraint), type(constraint).__name__)] += len(left) - len(passed)
            left = passed
        found: list[int] = attack.get_indices_to_order(attacked)[1]
        return found

    return indices


def _filter(constraint: Constraint, limits: Limits, profile: Profile) -> Filter:
    if type(constraint) is MaxWordsPerturbed:
        _require(bool(constraint.max_percent) and not constraint.max_num_words, constraint)
        return FewChangedWords(constraint)
    if type(constraint) is PartOfSpeech:
        _require((constraint.tagger_type, constraint.language_nltk) == ("nltk", "eng"), constraint)
        _require(constraint.compare_against_original, constraint)
        return SamePartOfSpeech(constraint, limits.cache_size, profile)
    if type(constraint) is UniversalSentenceEncoder:
        return SimilarWindow(constraint, profile)
    raise NotImplementedError(f"the attack engine does not support {constraint}")


def _is_count(constraint: Constraint) -> bool:
    """Whether it is the language model of TextAttack, which only counts candidates.

    `GoogleLanguageModel` of 0.3.11 measures the candidates of a word, but then keeps the first ones of the list,
    whatever their probabilities.
    """
    return (
        type(constraint) is GoogleLanguageModel
        and bool(constraint.top_n_per_index)
        and not (constraint.top_n or constraint.compare_against_original)
    )


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
