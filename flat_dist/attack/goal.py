"""The goal of an attack that sees margins, as a goal function of TextAttack."""

import math
from typing import Any

import torch
from textattack import Attack
from textattack.goal_functions import UntargetedClassification
from textattack.shared import AttackedText

from flat_dist.attack.victim import Victim
from flat_dist.config.errors import UserError


class MarginDrop(UntargetedClassification):
    """Change the predicted class; the score of a text is the drop of the true class's margin from the original text.

    `UntargetedClassification` uses 1 minus the probability of the true class, the drop from certainty. A drop from the
    original text, as in the paper of PWWS (Ren et al. 2019), is never far below zero: PWWS multiplies scores.
    """

    def init_attack_example(self, attacked_text: AttackedText, ground_truth_output: int) -> Any:
        """Begin with a text. Its score is asked for twice, but counted, and computed, once."""
        self.start = self._call_model([attacked_text])[0][ground_truth_output]
        return super().init_attack_example(attacked_text, ground_truth_output)

    def _process_model_outputs(self, inputs: Any, scores: torch.Tensor) -> torch.Tensor:
        """The scores as they are: TextAttack would turn rows that do not add up to 1 into probabilities."""
        return scores

    def _get_score(self, model_output: torch.Tensor, _: AttackedText) -> torch.Tensor:
        return self.start - model_output[self.ground_truth_output]


def check_goal(name: str, attack: Attack, victim: Victim) -> None:
    """Check that an attack changes the prediction of a victim, from the scores that it sees.

    Args:
        name: what the attack is called.
        attack: as its builder returned it.
        victim: what the builder was given.

    Raises:
        UserError: it has another goal or a query budget, attacks another model, reads gradients, or cannot follow
            margins.
    """
    goal = attack.goal_function
    kind = type(goal).__name__
    if not isinstance(goal, UntargetedClassification) or goal.maximizable:
        raise UserError(
            f"the attack {name} has the goal {kind}, but only UntargetedClassification can be measured here: choose an "
            "attack that changes the predicted class to any other"
        )
    if goal.query_budget != math.inf:
        raise UserError(
            f"the attack {name} has a query budget of its own: leave that out, and set --attack.max-queries"
        )
    if goal.model is not victim:
        raise UserError(f"the attack {name} attacks another model than the wrapper that its builder is called with")
    if not attack.is_black_box:
        raise UserError(
            f"the attack {name} reads the model's gradients through a Hugging Face tokenizer, which this victim does "
            "not have: textfooler-gradient is an attack that follows gradients"
        )
    if victim.scores == "margin" and (type(goal) is not UntargetedClassification or goal.target_max_score):
        limit = f", which aims at a probability below {goal.target_max_score:g}" if goal.target_max_score else ""
        raise UserError(
            f"the attack {name} cannot follow margins, because its goal is {kind}{limit}: set "
            "--evaluation.scores or --attack.scores to probabilities"
        )


def with_margins(attack: Attack) -> Attack:
    """The same attack on a victim that answers with margins."""
    constraints = [*attack.pre_transformation_constraints, *attack.constraints]
    return Attack(MarginDrop(attack.goal_function.model), constraints, attack.transformation, attack.search_method)
