"""Attacks by name: the recipes of TextAttack 0.3.11, with the resources that the config names.

Call `flat_dist.resources.textattack_setup.activate` before importing this module.
"""

from collections.abc import Callable
from functools import cached_property

from textattack import Attack
from textattack.attack_recipes import PWWSRen2019, TextFoolerJin2019
from textattack.constraints.semantics.sentence_encoders import UniversalSentenceEncoder
from textattack.shared import AbstractWordEmbedding, utils

from flat_dist.attack.engine.known_order import with_order
from flat_dist.attack.engine.sentence_encoder import SentenceEncoder
from flat_dist.attack.engine.strengthen import strengthen
from flat_dist.attack.goal import with_margins
from flat_dist.attack.strength import Strength
from flat_dist.attack.victim import Victim
from flat_dist.attack.word_order import order_of, recipe_of
from flat_dist.config.choices import choices
from flat_dist.config.errors import unknown
from flat_dist.resources import synonyms
from flat_dist.resources.assets import Assets

PIECES_PER_WORD = 2
"""Word pieces that the sentence encoder caches for each word that the other caches may hold."""

BATCH_TOKENS = {"cpu": 4096, "cuda": 32768}
"""Word pieces in a batch of the sentence encoder: fits a CPU's cache, or fills a GPU."""


class LinguisticResources:
    """Resources of the attacks, loaded on first use."""

    def __init__(self, assets: Assets, synonyms_source: str, device: str, cache_size: int):
        self.assets, self.synonyms_source, self.device, self.cache_size = assets, synonyms_source, device, cache_size

    @cached_property
    def embedding(self) -> AbstractWordEmbedding:
        """Counter-fitted neighbours of words."""
        return synonyms.embedding(self.synonyms_source, self.assets)

    @cached_property
    def encoder(self) -> SentenceEncoder:
        """Universal Sentence Encoder."""
        pieces, tokens = PIECES_PER_WORD * self.cache_size, BATCH_TOKENS[self.device]
        return SentenceEncoder(self.assets.sentence_encoder, self.device, tokens, cache_size=pieces)


def textfooler(victim: Victim, resources: LinguisticResources) -> Attack:
    """TextFooler (Jin et al., AAAI 2020): counter-fitted neighbours, part of speech, sentence similarity.

    All settings are TextAttack's. Its sentence encoder, USE 4 from a model hub, is replaced by the multilingual USE 3.
    """
    key = "textattack_counterfitted_GLOVE_embedding"
    before = utils.GLOBAL_OBJECTS.get(key)
    # If this object exists, the recipe uses it and downloads nothing.
    utils.GLOBAL_OBJECTS[key] = resources.embedding
    try:
        attack = TextFoolerJin2019.build(victim)
    finally:
        utils.GLOBAL_OBJECTS[key] = before
    for constraint in attack.constraints:
        if isinstance(constraint, UniversalSentenceEncoder):
            constraint.model = resources.encoder.encode
    return attack


def pwws(victim: Victim, resources: LinguisticResources) -> Attack:
    """PWWS (Ren et al., ACL 2019): WordNet synonyms, words ordered by weighted saliency.

    All settings are TextAttack's. Unlike the paper's Appendix A, TextAttack's recipe neither swaps named entities nor
    checks similarity.
    """
    return PWWSRen2019.build(victim)


OWN_STRENGTH = Strength()
"""No limits beyond those of the recipe."""

RECIPES: dict[str, Callable[[Victim, LinguisticResources], Attack]] = {"textfooler": textfooler, "pwws": pwws}


def build(attack: str, victim: Victim, resources: LinguisticResources, strength: Strength = OWN_STRENGTH) -> Attack:
    """The named attack on a victim, with a goal for the victim's scores and the limits of a strength.

    Raises:
        UserError: the attack is unknown, or needs a mask that the victim does not have.
    """
    if attack not in choices("attack.name"):
        raise unknown("attack", attack, choices("attack.name"))
    built = RECIPES[recipe_of(attack)](victim, resources)
    if strength != OWN_STRENGTH:
        uniform = strength.setting == "li2021"
        built = strengthen(built, strength, *((resources.embedding, resources.encoder) if uniform else (None, None)))
    if victim.scores == "margin":
        built = with_margins(built)
    return with_order(built, order_of(attack)) if order_of(attack) else built
