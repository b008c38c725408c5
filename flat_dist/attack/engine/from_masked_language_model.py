"""Builds the engine of attacks whose candidates come from a masked language model: BAE, BERT-Attack, CLARE."""

from collections.abc import Callable, Sequence
from typing import Any

from textattack import Attack
from textattack.constraints import Constraint
from textattack.constraints.pre_transformation import (
    InputColumnModification,
    RepeatModification,
    StopwordModification,
)
from textattack.constraints.semantics.sentence_encoders import UniversalSentenceEncoder
from textattack.search_methods import GreedySearch
from textattack.transformations import (
    CompositeTransformation,
    WordInsertionMaskedLM,
    WordMergeMaskedLM,
    WordSwapMaskedLM,
)

from flat_dist.attack.engine.edit_search import EditSettings, Gaps
from flat_dist.attack.engine.edits import EditQuery, Kind, SimilarEdits
from flat_dist.attack.engine.engine import Answer, Engine
from flat_dist.attack.engine.masked_language_model import shared_filler
from flat_dist.attack.engine.profile import Profile
from flat_dist.attack.engine.query import Blank, FillQuery, WordPieces
from flat_dist.attack.engine.tokenized_text import TokenizedText
from flat_dist.attack.goal import MarginDrop
from flat_dist.attack.limits import Limits
from flat_dist.attack.merge_tagger import is_lent, tags

KINDS: dict[type, Kind] = {
    WordSwapMaskedLM: "replace",
    WordInsertionMaskedLM: "insert",
    WordMergeMaskedLM: "merge",
}
"""Transformations by a masked language model."""


def gap_of(transformation: WordSwapMaskedLM) -> Callable[[TokenizedText, int], Blank | WordPieces]:
    """What the model is asked for the candidates of a word of a text."""
    mask, count = transformation._lm_tokenizer.mask_token, transformation.max_candidates
    if transformation.method == "bae":
        return lambda text, index: Blank(text.with_replacement(index, mask), count, transformation.min_confidence)
    return lambda text, index: WordPieces(
        text.text, text.with_replacement(index, mask), text.words[index], count, index == 0
    )


def fills(transformation: Any, attack: Attack, limits: Limits, profile: Profile) -> dict[type, Answer]:
    """How the engine answers queries of the model of a transformation of an attack.

    Raises:
        NotImplementedError: the transformation is not one of those that the engine knows.
    """
    if type(transformation) is WordSwapMaskedLM and transformation.method not in ("bae", "bert-attack"):
        raise NotImplementedError(f"the attack engine does not support the method {transformation.method}")
    if KINDS.get(type(transformation), "replace") != "replace" and transformation.window_size < float("inf"):
        raise NotImplementedError("the attack engine does not support windows of masked language models")
    model, tokenizer = transformation._language_model, transformation._lm_tokenizer
    on_batch = attack.goal_function.model.on_answer  # so that a worker is not taken for one that hangs
    filler = shared_filler(model, tokenizer, transformation.max_length, limits.cache_size)

    def answer(queries: Sequence[FillQuery]) -> Sequence[Any]:
        with profile.candidates:
            return filler(queries, on_batch)

    return {FillQuery: answer}


def is_edit_attack(attack: Attack) -> bool:
    """Whether an attack searches as CLARE does."""
    return type(attack.search_method) is GreedySearch


def build_edit_engine(attack: Attack, limits: Limits, profile: Profile) -> Engine:
    """The engine of an attack that searches as CLARE does.

    Raises:
        NotImplementedError: the engine does not support a part of the attack.
    """
    parts = attack.transformation.transformations if _is_composite(attack) else [attack.transformation]
    for part in parts:
        if type(part) not in KINDS or (type(part) is WordSwapMaskedLM and part.method != "bae"):
            raise NotImplementedError(f"the attack engine does not support {part} with a greedy search of edits")
    kinds = [type(part) for part in parts]
    same = {(id(part._language_model), id(part._lm_tokenizer), part.max_length) for part in parts}
    if len(set(kinds)) < len(kinds) or len(same) > 1:
        raise NotImplementedError("the attack engine does not support several masked language models")
    if WordMergeMaskedLM in kinds and not is_lent():
        raise NotImplementedError("the attack engine does not support flair's tagger")
    (similar,) = _checked(attack.constraints, UniversalSentenceEncoder, SimilarEdits.supports)
    settings = EditSettings(
        gaps=[Gaps(KINDS[type(part)], part.max_candidates, part.min_confidence) for part in parts],
        mask=parts[0]._lm_tokenizer.mask_token,
        stopwords=_stopwords(attack.pre_transformation_constraints),
        tags=tags,
        from_original=type(attack.goal_function) is MarginDrop,
    )
    answers: dict[type, Answer] = {
        **fills(parts[-1], attack, limits, profile),
        EditQuery: SimilarEdits(similar, profile),
    }
    return Engine(settings, (), attack.goal_function.model, limits, profile, answers)


def _is_composite(attack: Attack) -> bool:
    return type(attack.transformation) is CompositeTransformation


def _checked(
    constraints: Sequence[Constraint], kind: type, supports: Callable[[Any], bool]
) -> Sequence[UniversalSentenceEncoder]:
    if len(constraints) != 1 or type(constraints[0]) is not kind or not supports(constraints[0]):
        raise NotImplementedError(f"the attack engine does not support {constraints} with a greedy search of edits")
    return constraints


def _stopwords(before: Sequence[Any]) -> frozenset[str]:
    """Words that are not replaced; no word is changed twice, except by merges."""
    # Pairs of sentences, to which InputColumnModification applies, are not searched by the engine.
    kinds = [type(one) for one in before if type(one) is not InputColumnModification]
    if len(kinds) != 2 or set(kinds) != {RepeatModification, StopwordModification}:
        raise NotImplementedError(f"the attack engine does not support {before} with a greedy search of edits")
    return frozenset(next(one.stopwords for one in before if type(one) is StopwordModification))
