"""Adaptive attacks against TextAttack's own search, which is given the same order of words."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from flat_dist.attack.word_order import gradient_scores, importance_scores
from flat_dist.config.errors import UserError
from flat_dist.config.schema import Scores
from flat_dist.data.datasets import Dataset
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models.checkpoint import Checkpoint
from flat_dist.storage.folder import Folder
from tests.parity.test_engine import ODD_TEXTS, ours, status, texts

pytestmark = pytest.mark.usefixtures("one_thread")

CASES: list[tuple[str, str, Scores]] = [
    ("textfooler", "importance", "probabilities"),
    ("textfooler", "gradient", "margin"),
    ("pwws", "gradient", "probabilities"),
]


@pytest.fixture(scope="module")
def masked(victim: Folder) -> Iterator[Checkpoint]:
    """A CNN with an untrained mask that is nearly open."""
    checkpoint = checkpoints.load(victim)
    torch.manual_seed(2)
    checkpoints.add_mask(checkpoint.model, checkpoint.config)
    with torch.no_grad():
        checkpoint.model.mask.network[2].bias[1] += 1  # type: ignore[union-attr, operator]
    yield replace(checkpoint, model=checkpoint.model.eval())


def in_order(recipe: str, victim: Any, linguistics: Any, scores: Mapping[str, np.ndarray]) -> Any:
    """TextAttack's recipe whose search has known scores of words, by text, instead of its ranking."""
    from textattack import Attack
    from textattack.search_methods import GreedyWordSwapWIR

    from flat_dist.attack import recipes

    class InOrder(GreedyWordSwapWIR):
        def _get_index_order(self, initial_text: Any, max_len: int = -1) -> Any:
            _, indices = self.get_indices_to_order(initial_text)
            return np.array(indices, dtype=int)[(-scores[initial_text.text][indices]).argsort()], False

    stock = recipes.build(recipe, victim, linguistics)
    constraints = [*stock.pre_transformation_constraints, *stock.constraints]
    return Attack(stock.goal_function, constraints, stock.transformation, InOrder())


@pytest.mark.parametrize(("recipe", "order", "scores"), CASES, ids=map("-".join, CASES))
def test_adaptive_attacks_are_textattacks_search_in_another_order(
    recipe: str, order: str, scores: Scores, masked: Checkpoint, linguistics: Any, sentences: Dataset
) -> None:
    from textattack.shared import AttackedText

    from flat_dist.attack import recipes
    from flat_dist.attack.engine.from_textattack import candidates_of_word
    from flat_dist.attack.victim import Victim

    rows = texts(sentences)[:30] + [(text, number % 2) for number, text in enumerate(ODD_TEXTS)]
    victim = Victim(masked, scores=scores)
    plain = recipes.build(recipe, victim, linguistics)
    known: dict[str, np.ndarray] = {}
    for text, label in rows:
        spans, position = [], 0
        for word in AttackedText(text).words:
            position = text.index(word, position)
            spans.append((position, position + len(word)))
            position += len(word)
        known[text] = (
            importance_scores(masked, text, spans, label)
            if order == "importance"
            else gradient_scores(masked, lambda word: candidates_of_word(plain, word), text, spans, label)
        )
    stock = in_order(recipe, victim, linguistics, known)
    found = ours(f"{recipe}-{order}", masked, linguistics, rows, scores=scores)
    for (text, label), record in zip(rows, found, strict=True):
        result = stock.attack(text, label)
        assert record.error is None
        assert record.status == status(result)
        assert record.perturbed_text == result.perturbed_result.attacked_text.text
        assert record.num_queries == result.num_queries
    assert {"successful", "failed", "skipped"} <= {record.status for record in found}
    usual = ours(recipe, masked, linguistics, rows, scores=scores)
    assert [record.perturbed_text for record in usual] != [record.perturbed_text for record in found]


def test_the_order_by_importance_needs_a_mask(victim: Folder, linguistics: Any) -> None:
    from flat_dist.attack import recipes
    from flat_dist.attack.victim import Victim

    with pytest.raises(UserError, match="has no word mask"):
        recipes.build("pwws-importance", Victim(checkpoints.load(victim)), linguistics)
