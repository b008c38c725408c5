"""Builds attacks by name: the recipes of TextAttack 0.3.11, with the resources that the config names.

Call `flat_dist.resources.textattack_setup.activate` before importing this module.
"""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from textattack import Attack
from textattack.attack_recipes import (
    GeneticAlgorithmAlzantot2018,
    IGAWang2019,
    PSOZang2020,
    PWWSRen2019,
    TextFoolerJin2019,
)
from textattack.shared import AbstractWordEmbedding

from flat_dist.attack.builders import load_builder
from flat_dist.attack.engine.known_order import with_order
from flat_dist.attack.engine.sentence_encoder import SentenceEncoder
from flat_dist.attack.engine.strengthen import strengthen
from flat_dist.attack.goal import check_goal, with_margins
from flat_dist.attack.own_resources import with_own_resources
from flat_dist.attack.strength import Strength
from flat_dist.attack.victim import Victim
from flat_dist.config.attacks import entry_of, order_of
from flat_dist.config.errors import UserError, first_line
from flat_dist.resources import masked_language_model, synonyms
from flat_dist.resources.assets import Assets
from flat_dist.resources.catalogue import ORIGINAL, Sources
from flat_dist.resources.hownet import HowNetFile, Substitutes, WordNetSynonyms
from flat_dist.resources.language_model import LanguageModel
from flat_dist.resources.masked_language_model_source import MaskedLanguageModel, download, load

PIECES_PER_WORD = 2
"""Word pieces that the sentence encoder caches for each word that the other caches may hold."""

BATCH_TOKENS = {"cpu": 4096, "cuda": 32768}
"""Word pieces in a batch of the sentence encoder: fits a CPU's cache, or fills a GPU."""


class LinguisticResources:
    """Resources of the attacks, loaded on first use.

    Args:
        assets: the stand-ins.
        synonyms_source: as in `flat_dist.resources.synonyms.embedding`.
        device: cpu or cuda, for models.
        cache_size: entries of each cache.
        given: the user's own, as in `flat_dist.resources.catalogue.Sources`.
    """

    def __init__(
        self,
        assets: Assets,
        synonyms_source: str,
        device: str,
        cache_size: int,
        given: tuple[tuple[str, str], ...] = (),
    ):
        self.assets, self.device, self.cache_size = assets, device, cache_size
        self.sources = Sources(synonyms_source, given)
        self._masked_language_models: dict[Path, MaskedLanguageModel] = {}

    @cached_property
    def embedding(self) -> AbstractWordEmbedding:
        """Counter-fitted neighbours of words."""
        return synonyms.embedding(self.sources.synonyms, self.assets)

    @cached_property
    def encoder(self) -> SentenceEncoder:
        """Universal Sentence Encoder."""
        pieces, tokens = PIECES_PER_WORD * self.cache_size, BATCH_TOKENS[self.device]
        return SentenceEncoder(self.assets.sentence_encoder, self.device, tokens, cache_size=pieces)

    @cached_property
    def language_model(self) -> LanguageModel:
        """Which words follow a word."""
        return LanguageModel(self.assets, self.cache_size)

    @cached_property
    def hownet(self) -> Substitutes:
        """Substitutes of words with a part of speech."""
        path = self.sources.path("hownet")
        return HowNetFile(path) if path else WordNetSynonyms(self.assets)

    def masked_language_model(self, name: str) -> MaskedLanguageModel:
        """The masked language model in the place of one of `ORIGINALS`."""
        given = self.sources.path("masked_language_model")
        if given is None:
            return self._masked_language_model_in(masked_language_model.resource().build(self.assets))
        return self._masked_language_model_in(download(name) if str(given) == ORIGINAL else given)

    def _masked_language_model_in(self, folder: Path) -> MaskedLanguageModel:
        if folder not in self._masked_language_models:
            self._masked_language_models[folder] = load(folder)
        return self._masked_language_models[folder]


def textfooler(victim: Victim, resources: LinguisticResources) -> Attack:
    """TextFooler (Jin et al., AAAI 2020): counter-fitted neighbours, part of speech, sentence similarity.

    All settings are TextAttack's. Its sentence encoder, USE 3 from a model hub, is replaced by the multilingual USE 3.
    """
    attack: Attack = with_own_resources(TextFoolerJin2019.build, victim, resources)
    return attack


def pwws(victim: Victim, resources: LinguisticResources) -> Attack:
    """PWWS (Ren et al., ACL 2019): WordNet synonyms, words ordered by weighted saliency.

    All settings are TextAttack's. Unlike the paper's Appendix A, TextAttack's recipe neither swaps named entities nor
    checks similarity.
    """
    return PWWSRen2019.build(victim)


def genetic(victim: Victim, resources: LinguisticResources) -> Attack:
    """Genetic attack (Alzantot et al., EMNLP 2018): counter-fitted neighbours, and a population of texts.

    All settings are TextAttack's. Two things differ there from the paper, and are kept:

    - The language model has no effect. TextAttack measures the candidates of a word with it, but then keeps the four
      nearest in the embedding, not the four most probable ones. So the stand-in for the 1 Billion Word model, a bigram
      model, changes no result.
    - Parents are drawn with probabilities that fall with their score.
    """
    attack: Attack = with_own_resources(GeneticAlgorithmAlzantot2018.build, victim, resources)
    return attack


def iga(victim: Victim, resources: LinguisticResources) -> Attack:
    """Improved genetic attack (Wang et al. 2019): as `genetic`, but a word may change up to five times.

    All settings are TextAttack's. Its parents are drawn as those of `genetic`.
    """
    attack: Attack = with_own_resources(IGAWang2019.build, victim, resources)
    return attack


def pso(victim: Victim, resources: LinguisticResources) -> Attack:
    """Particle swarm (Zang et al., ACL 2020): substitutes with the word's part of speech and inflection.

    All settings are TextAttack's. HowNet's substitutes are replaced by WordNet's synonyms, unless the user gives them,
    and flair's tagger by NLTK's.
    """
    attack: Attack = with_own_resources(PSOZang2020.build, victim, resources)
    return attack


OWN_STRENGTH = Strength()
"""No limits beyond those of the recipe."""


def build(attack: str, victim: Victim, resources: LinguisticResources, strength: Strength = OWN_STRENGTH) -> Attack:
    """The named attack on a victim, with a goal for the victim's scores and the limits of a strength.

    Args:
        attack: name of an attack, or the path of a builder.
        victim: the model under attack.
        resources: what the attack needs to know of English.
        strength: limits beyond those of the recipe.

    Raises:
        UserError: the attack is unknown, needs a mask that the victim does not have, or cannot be built; its goal does
            not suit a classifier, or margins.
    """
    entry = entry_of(attack)
    builder = load_builder(entry.builder)
    if entry.is_own:
        built: Attack = builder(victim, resources)
    else:
        built = _build_stock(attack, builder, victim, resources)
    if strength != OWN_STRENGTH:
        uniform = strength.setting == "li2021"
        built = strengthen(built, strength, *((resources.embedding, resources.encoder) if uniform else (None, None)))
    if victim.scores == "margin":
        built = with_margins(built)
    return with_order(built, order_of(attack)) if order_of(attack) else built


def _build_stock(
    attack: str, builder: Callable[[Victim], Attack], victim: Victim, resources: LinguisticResources
) -> Attack:
    """The attack of a builder of TextAttack or of the user."""
    try:
        built = with_own_resources(builder, victim, resources)
    except UserError:
        raise
    except Exception as error:  # a user's builder can raise any error
        raise UserError(
            f"the builder of the attack {attack} raises {type(error).__name__}: {first_line(error)}; call it with a "
            "textattack.models.wrappers.ModelWrapper to see where"
        ) from error
    if not isinstance(built, Attack):
        raise UserError(
            f"the builder of the attack {attack} returns {type(built).__name__}, but must return a textattack.Attack"
        )
    check_goal(attack, built, victim)
    return built
