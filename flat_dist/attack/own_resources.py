"""Gives TextAttack's recipes the resources of this project, while they are built and afterwards.

Importing this imports TextAttack: call `flat_dist.resources.textattack_setup.activate` before.
"""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from textattack import Attack
from textattack.constraints.semantics.sentence_encoders import UniversalSentenceEncoder
from textattack.shared import AbstractWordEmbedding, utils
from textattack.transformations import WordSwapHomoglyphSwap
from textattack.transformations.word_swaps import word_swap_homoglyph_swap as homoglyphs

from flat_dist.attack.parts import parts_of
from flat_dist.attack.victim import Victim

EMBEDDING_KEY = "textattack_counterfitted_GLOVE_embedding"
"""Where TextAttack looks for its word vectors before it downloads them."""

HOMOGLYPHS = Path(homoglyphs.__file__).parents[2] / "shared" / "intentional_homoglyphs.txt"
"""A file that the package of TextAttack 0.3.11 lacks. All homoglyph swaps read it, but only differential evolution
(bad-characters) uses its content."""


class Resources(Protocol):
    """What recipes are given."""

    @property
    def embedding(self) -> AbstractWordEmbedding:
        """Neighbours of words."""

    @property
    def encoder(self) -> Any:
        """Encodes sentences."""


def with_own_resources(recipe: Callable[[Victim], Any], victim: Victim, resources: Resources) -> Any:
    """What a builder returns that takes the victim alone, with our word vectors and sentence encoder."""
    with _own_embedding(resources), _without_homoglyphs():
        attack = recipe(victim)
    for part in parts_of(attack) if isinstance(attack, Attack) else ():
        if isinstance(part, UniversalSentenceEncoder):
            part.model = resources.encoder.encode
        if isinstance(part, WordSwapHomoglyphSwap) and not HOMOGLYPHS.exists():
            del part.homos_intentional  # so that a search that needs it fails
    return attack


@contextmanager
def _own_embedding(resources: Resources) -> Iterator[None]:
    before = utils.GLOBAL_OBJECTS.get(EMBEDDING_KEY)
    utils.GLOBAL_OBJECTS[EMBEDDING_KEY] = resources.embedding
    try:
        yield
    finally:
        utils.GLOBAL_OBJECTS[EMBEDDING_KEY] = before


@contextmanager
def _without_homoglyphs() -> Iterator[None]:
    """The missing file is read as an empty one."""
    if HOMOGLYPHS.exists():
        yield
        return
    homoglyphs.open = lambda *_, **__: io.StringIO()
    try:
        yield
    finally:
        del homoglyphs.open
