"""Which resources an attack uses, from its parts. Importing this imports TextAttack: call `activate` before."""

from collections.abc import Iterator
from typing import Any

from nltk.corpus import stopwords
from textattack import Attack
from textattack.constraints.grammaticality import PartOfSpeech
from textattack.constraints.grammaticality.language_models.google_language_model.google_language_model import (
    GoogleLanguageModel,
)
from textattack.constraints.pre_transformation import StopwordModification
from textattack.constraints.semantics import WordEmbeddingDistance
from textattack.constraints.semantics.sentence_encoders import ThoughtVector, UniversalSentenceEncoder
from textattack.transformations import (
    CompositeTransformation,
    WordInsertionMaskedLM,
    WordMergeMaskedLM,
    WordSwapEmbedding,
    WordSwapMaskedLM,
    WordSwapWordNet,
)

from flat_dist.attack.engine.word_classes import WordSwapByClass

RESOURCES_OF_PARTS: dict[type, tuple[str, ...]] = {
    WordSwapEmbedding: ("synonyms",),
    WordEmbeddingDistance: ("synonyms",),
    ThoughtVector: ("synonyms",),
    WordSwapWordNet: ("wordnet",),
    WordSwapByClass: ("hownet", "part_of_speech", "universal_tagset"),
    GoogleLanguageModel: ("language_model",),
    WordSwapMaskedLM: ("masked_language_model",),
    WordInsertionMaskedLM: ("masked_language_model",),
    WordMergeMaskedLM: ("masked_language_model", "part_of_speech", "universal_tagset"),
    PartOfSpeech: ("part_of_speech", "universal_tagset"),
    UniversalSentenceEncoder: ("sentence_encoder",),
}


def resources_of(attack: Attack) -> tuple[str, ...]:
    """Names of the resources of this project that an attack uses, in alphabetical order.

    Resources that a part brings by itself, such as a user's word vectors, are not known here.
    """
    found = {name for part in parts_of(attack) for name in _names(part)}
    return tuple(sorted(found))


def parts_of(attack: Attack) -> Iterator[Any]:
    """The transformations and the constraints of an attack."""
    waiting = [attack.transformation]
    while waiting:
        part = waiting.pop()
        if isinstance(part, CompositeTransformation):
            waiting += part.transformations
        yield part
    yield from attack.constraints
    yield from attack.pre_transformation_constraints


def _names(part: Any) -> tuple[str, ...]:
    if isinstance(part, StopwordModification):
        return ("stopwords",) if part.stopwords == set(stopwords.words("english")) else ()
    return next((names for kind, names in RESOURCES_OF_PARTS.items() if isinstance(part, kind)), ())
