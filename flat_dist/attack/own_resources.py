"""Gives TextAttack's recipes the resources of this project, while they are built and afterwards.

Importing this imports TextAttack: call `flat_dist.resources.textattack_setup.activate` before.
"""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Protocol

import transformers
from textattack import Attack
from textattack.attack_recipes import clare_li_2020, pso_zang_2020
from textattack.constraints.grammaticality.language_models.google_language_model import google_language_model
from textattack.constraints.semantics.sentence_encoders import UniversalSentenceEncoder
from textattack.shared import AbstractWordEmbedding, utils
from textattack.transformations import WordSwapHomoglyphSwap
from textattack.transformations.word_insertions import word_insertion_masked_lm
from textattack.transformations.word_merges import word_merge_masked_lm
from textattack.transformations.word_swaps import word_swap_homoglyph_swap as homoglyphs
from textattack.transformations.word_swaps import word_swap_masked_lm

from flat_dist.attack import merge_tagger
from flat_dist.attack.engine.word_classes import WordSwapByClass
from flat_dist.attack.parts import parts_of
from flat_dist.attack.victim import Victim
from flat_dist.resources.catalogue import RESOURCES, Sources
from flat_dist.resources.hownet import Substitutes
from flat_dist.resources.masked_language_model_source import ORIGINALS, MaskedLanguageModel

EMBEDDING_KEY = "textattack_counterfitted_GLOVE_embedding"
"""Where TextAttack looks for its word vectors before it downloads them."""

HOMOGLYPHS = Path(homoglyphs.__file__).parents[2] / "shared" / "intentional_homoglyphs.txt"
"""A file that the package of TextAttack 0.3.11 lacks. All homoglyph swaps read it, but only differential evolution
(bad-characters) uses its content."""

LOADER = "from_pretrained"
"""Method of `transformers` that loads a model or tokenizer by name."""


class Resources(Protocol):
    """What recipes are given."""

    @property
    def embedding(self) -> AbstractWordEmbedding:
        """Neighbours of words."""

    @property
    def encoder(self) -> Any:
        """Encodes sentences."""

    @property
    def sources(self) -> Sources:
        """Where the user's own resources are."""

    @property
    def language_model(self) -> Any:
        """Which words follow a word."""

    @property
    def hownet(self) -> Substitutes:
        """Substitutes of words with a part of speech."""

    def masked_language_model(self, name: str) -> MaskedLanguageModel:
        """What takes the place of a model of the hub."""


def with_own_resources(recipe: Callable[[Victim], Any], victim: Victim, resources: Resources) -> Any:
    """What a builder returns that takes the victim alone, with our resources."""
    with (
        _own_embedding(resources),
        _own_masked_language_model(resources),
        _without_homoglyphs(),
        _users_models(resources.sources),
        _replaced(google_language_model, "GoogLMHelper", lambda: resources.language_model),
        _replaced(pso_zang_2020, "WordSwapHowNet", lambda: WordSwapByClass(resources.hownet.candidates)),
    ):
        attack = recipe(victim)
    merge_tagger.lend()
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


class _Lender:
    """Like a class of `transformers`: gives our model or tokenizer for the names of `ORIGINALS`, and loads others."""

    def __init__(self, own: Callable[[str], Any], other: Any):
        self.own, self.other = own, other

    def from_pretrained(self, name: str, *arguments: Any, **options: Any) -> Any:
        if name in ORIGINALS:
            return self.own(name)
        return self.other.from_pretrained(name, *arguments, trust_remote_code=False, **options)


@contextmanager
def _own_masked_language_model(resources: Resources) -> Iterator[None]:
    """Recipes and transformations load our model instead of those of the hub."""

    def model(name: str) -> Any:
        return resources.masked_language_model(name).model

    def tokenizer(name: str) -> Any:
        return resources.masked_language_model(name).tokenizer

    modules = (word_swap_masked_lm, word_insertion_masked_lm, word_merge_masked_lm)
    for module in modules:
        module.AutoModelForMaskedLM = _Lender(model, transformers.AutoModelForMaskedLM)
        module.AutoTokenizer = _Lender(tokenizer, transformers.AutoTokenizer)
    clare_li_2020.transformers = SimpleNamespace(
        AutoModelForCausalLM=_Lender(model, transformers.AutoModelForCausalLM),
        AutoTokenizer=_Lender(tokenizer, transformers.AutoTokenizer),
    )
    try:
        yield
    finally:
        for module in modules:
            module.AutoModelForMaskedLM = transformers.AutoModelForMaskedLM
            module.AutoTokenizer = transformers.AutoTokenizer
        clare_li_2020.transformers = transformers


@contextmanager
def _users_models(sources: Sources) -> Iterator[None]:
    """Models that recipes name on the Hugging Face hub are loaded from the user's folders."""
    folders = {
        name: str(path)
        for resource, known in RESOURCES.items()
        if (path := sources.path(resource)) is not None
        for name in known.hub_names
    }
    kinds = (transformers.PreTrainedModel, transformers.PreTrainedTokenizerBase) if folders else ()
    before = {kind: kind.__dict__[LOADER] for kind in kinds}

    def redirected(load: Any) -> Any:
        return classmethod(lambda kind, name, *rest, **options: load(kind, folders.get(name, name), *rest, **options))

    for kind, load in before.items():
        setattr(kind, LOADER, redirected(load.__func__))
    try:
        yield
    finally:
        for kind, load in before.items():
            setattr(kind, LOADER, load)


@contextmanager
def _replaced(module: ModuleType, name: str, value: Any) -> Iterator[None]:
    """A recipe finds another value under a name of a module."""
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


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
