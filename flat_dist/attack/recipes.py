"""Attacks by name. Each is TextAttack 0.3.11's own recipe, with the resources that a run names plugged in.

TextAttack must have been made ready by `flat_dist.resources.textattack_setup.activate` before this module is imported.
"""

from collections.abc import Callable
from functools import cached_property

from textattack import Attack
from textattack.attack_recipes import PWWSRen2019, TextFoolerJin2019
from textattack.constraints.semantics.sentence_encoders import UniversalSentenceEncoder
from textattack.models.wrappers import ModelWrapper
from textattack.shared import AbstractWordEmbedding, utils

from flat_dist.attack.engine.sentence_encoder import SentenceEncoder
from flat_dist.config.errors import unknown
from flat_dist.resources import synonyms
from flat_dist.resources.assets import Assets

PIECES_OF_A_WORD = 2
"""That the sentence encoder remembers for each word that a cache may hold."""

BATCH_TOKENS = {"cpu": 4096, "cuda": 32768}
"""Pieces that the sentence encoder takes at once: what stays in a processor's cache, or fills a GPU."""


class LinguisticResources:
    """Resources that the recipes draw on, loaded when first needed."""

    def __init__(self, assets: Assets, synonyms_source: str, device: str, cache_size: int):
        self.assets, self.synonyms_source, self.device, self.cache_size = assets, synonyms_source, device, cache_size

    @cached_property
    def embedding(self) -> AbstractWordEmbedding:
        """Counter-fitted neighbours of words."""
        return synonyms.embedding(self.synonyms_source, self.assets)

    @cached_property
    def encoder(self) -> SentenceEncoder:
        """Universal Sentence Encoder."""
        pieces, tokens = PIECES_OF_A_WORD * self.cache_size, BATCH_TOKENS[self.device]
        return SentenceEncoder(self.assets.sentence_encoder, self.device, tokens, cache_size=pieces)


def textfooler(victim: ModelWrapper, linguistics: LinguisticResources) -> Attack:
    """TextFooler (Jin et al., AAAI 2020): counter-fitted neighbours, part of speech, sentence similarity.

    TextAttack's recipe in every setting. Its sentence encoder, USE 4 from a model hub, is the multilingual USE 3 here.
    """
    key = "textattack_counterfitted_GLOVE_embedding"
    before = utils.GLOBAL_OBJECTS.get(key)
    # The recipe takes this object, when it is there, instead of downloading it.
    utils.GLOBAL_OBJECTS[key] = linguistics.embedding
    try:
        attack = TextFoolerJin2019.build(victim)
    finally:
        utils.GLOBAL_OBJECTS[key] = before
    for constraint in attack.constraints:
        if isinstance(constraint, UniversalSentenceEncoder):
            constraint.model = linguistics.encoder.encode
    return attack


def pwws(victim: ModelWrapper, linguistics: LinguisticResources) -> Attack:
    """PWWS (Ren et al., ACL 2019): WordNet synonyms, words ordered by weighted saliency.

    TextAttack's recipe in every setting; like it, this neither swaps named entities nor checks similarity, both of
    which the paper's Appendix A mentions.
    """
    return PWWSRen2019.build(victim)


RECIPES: dict[str, Callable[[ModelWrapper, LinguisticResources], Attack]] = {"textfooler": textfooler, "pwws": pwws}


def build(name: str, victim: ModelWrapper, linguistics: LinguisticResources) -> Attack:
    """The attack of that name on a victim.

    Raises:
        UserError: there is no such attack.
    """
    if name not in RECIPES:
        raise unknown("attack", name, RECIPES)
    return RECIPES[name](victim, linguistics)
