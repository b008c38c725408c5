"""Attacks whose candidates come from a masked language model: the recipes of TextAttack 0.3.11.

Call `flat_dist.resources.textattack_setup.activate` before importing this module.
"""

from textattack import Attack
from textattack.attack_recipes import CLARE2020, BAEGarg2019, BERTAttackLi2020

from flat_dist.attack.own_resources import Resources, with_own_resources
from flat_dist.attack.victim import Victim


def bae(victim: Victim, resources: Resources) -> Attack:
    """BAE-R (Garg and Ramakrishnan, EMNLP 2020): words that fit into the gap, of the same part of speech.

    All settings are TextAttack's, which replaces words only: the paper's insertions (BAE-I) are not in its recipe.

    - bert-base-uncased is replaced by the masked language model at hand.
    - The sentence encoder, USE 3 from a model hub, is replaced by the multilingual USE 3. TextAttack's threshold is for
      the original.
    """
    attack: Attack = with_own_resources(BAEGarg2019.build, victim, resources)
    return attack


def bert_attack(victim: Victim, resources: Resources) -> Attack:
    """BERT-Attack (Li et al., EMNLP 2020): the model's alternatives for the pieces of a word, which is not masked.

    All settings are TextAttack's. With 8 alternatives it has fewer than the paper (48), since release 0.3.11. Of a word
    of several pieces TextAttack takes the first 8 combinations, and does not order them by perplexity, as in the paper.

    - bert-base-uncased is replaced by the masked language model at hand.
    - The sentence encoder, USE 3 from a model hub, is replaced by the multilingual USE 3.
    """
    attack: Attack = with_own_resources(BERTAttackLi2020.build, victim, resources)
    return attack


def clare(victim: Victim, resources: Resources) -> Attack:
    """CLARE (Li et al., NAACL 2021): replaces, inserts and merges words with those that fit into the gap.

    All settings are TextAttack's. It goes on from the best edit even if that lowers the score, and it merges words that
    were changed before; the paper does neither.

    - distilroberta-base is replaced by the masked language model at hand.
    - flair's tagger, which decides which words may be merged, is replaced by NLTK's.
    - The sentence encoder, USE 3 from a model hub, is replaced by the multilingual USE 3.
    """
    attack: Attack = with_own_resources(CLARE2020.build, victim, resources)
    return attack
