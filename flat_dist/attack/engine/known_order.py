"""Greedy word swaps in an order that the model itself gives, as a search method of TextAttack."""

from functools import partial
from typing import Any

import numpy as np
from textattack import Attack
from textattack.goal_functions import GoalFunction
from textattack.search_methods import GreedyWordSwapWIR
from textattack.shared import AttackedText

from flat_dist.attack.engine.constraints import CandidateGenerator, word_distance
from flat_dist.attack.engine.tokenized_text import UnusualTextError, find_words
from flat_dist.attack.text_input import text_of
from flat_dist.attack.word_order import WordScores, gradient_scores, importance_scores
from flat_dist.config.attacks import IMPORTANCE
from flat_dist.config.errors import UserError

CACHE_SIZE = 2**14
"""Words whose candidates are cached."""


class KnownOrder(GreedyWordSwapWIR):
    """`GreedyWordSwapWIR` that does not ask the victim which words matter.

    Args:
        goal: of the attack; it knows the true class.
        word_scores: scores words.
    """

    def __init__(self, goal: GoalFunction, word_scores: WordScores):
        super().__init__()
        self.goal, self.word_scores = goal, word_scores

    def _get_index_order(self, initial_text: AttackedText, max_len: int = -1) -> tuple[np.ndarray, bool]:
        _, indices = self.get_indices_to_order(initial_text)
        text = text_of(initial_text)
        starts = find_words(text, tuple(initial_text.words))
        spans = [(starts[index], starts[index] + len(initial_text.words[index])) for index in indices]
        scores = self.word_scores(text, spans, self.goal.ground_truth_output)
        return np.array(indices, dtype=int)[(-scores).argsort()], False


def with_order(attack: Attack, order: str) -> Attack:
    """The same attack on a `flat_dist.attack.victim.Victim`, with words in the order of its importance or gradient.

    Raises:
        UserError: the victim has no mask, so that its words have no importance.
    """
    goal: Any = attack.goal_function
    checkpoint = goal.model.checkpoint
    if order == IMPORTANCE and checkpoint.model.mask is None:
        raise UserError("this model has no word mask, so its words have no importance: use an attack with -gradient")
    generator = CandidateGenerator(attack.transformation, word_distance(attack), CACHE_SIZE)

    def candidates(word: str) -> list[str]:
        try:
            return [candidate.word for candidate in generator.candidates(word)]
        except UnusualTextError:  # the word comes last, where TextAttack itself decides about its candidates
            return []

    known = partial(importance_scores, checkpoint)
    word_scores = known if order == IMPORTANCE else partial(gradient_scores, checkpoint, candidates)
    constraints = [*attack.pre_transformation_constraints, *attack.constraints]
    return Attack(goal, constraints, attack.transformation, KnownOrder(goal, word_scores))
