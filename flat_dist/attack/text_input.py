"""Texts as TextAttack's objects, and back: a pair of sentences has two columns, of which attacks change the second one.

Importing this imports TextAttack: call `flat_dist.resources.textattack_setup.activate` before.
"""

from collections import OrderedDict

from textattack import Attack
from textattack.constraints.pre_transformation import InputColumnModification
from textattack.shared import AttackedText

from flat_dist.data.sentence_pairs import join, split

COLUMNS = ["premise", "hypothesis"]
"""Names of the columns of a pair, as TextAttack's recipes know them."""


def attacked_text(text: str) -> AttackedText:
    """A text as TextAttack reads it."""
    pair = split(text)
    return AttackedText(OrderedDict(zip(COLUMNS, pair, strict=True)) if pair else text)


def text_of(attacked: AttackedText) -> str:
    """The text that `attacked_text` was made of."""
    columns = attacked.tokenizer_input
    return columns if isinstance(columns, str) else join(*columns)


def fix_first_sentence(attack: Attack) -> None:
    """Adds to an attack on pairs, if it is not there, the constraint that keeps the first sentence; PWWS lacks it.

    Attacks on single texts must not have it: it changes the order in which TextAttack visits words, and so what an
    attack draws at random.
    """
    before = attack.pre_transformation_constraints
    if not any(isinstance(one, InputColumnModification) for one in before):
        before.append(InputColumnModification(COLUMNS, {COLUMNS[0]}))
