"""Ties: words and candidates of which the victim sees the same are ranked as TextAttack ranks them.

Their scores are equal to the last bit, because no prediction depends on its batch, and TextAttack's own batches do not
matter either. The same sort of the same numbers then ranks them, for words an unstable one.
"""

from typing import Any

import pytest

from flat_dist.data.datasets import Dataset
from flat_dist.models.checkpoint import Checkpoint
from tests.conftest import train_victim
from tests.parity.test_engine import RECIPES, ours, status

pytestmark = pytest.mark.usefixtures("one_thread")

NEVER_SEEN = " ".join(f"zyx{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(30))
"""Words without a neighbour, all alike to the victim."""


@pytest.fixture(scope="module")
def half_blind(sentences: Dataset) -> Checkpoint:
    """A victim that knows the few words that occur more than 40 times in its training texts."""
    victim = train_victim(sentences, min_frequency=40, kernels=8)
    assert 20 < len(victim.encoder.vocabulary) < 60
    return victim


@pytest.fixture(scope="module")
def rows(sentences: Dataset, half_blind: Checkpoint) -> list[tuple[str, int]]:
    """Pairs of sentences, longer than what NumPy sorts by insertion, with the class that the victim gives them."""
    sentence = iter(sentences.test["text"].to_pylist())
    texts = [f"{next(sentence)} {next(sentence)}" for _ in range(2)]
    texts += [f"{texts[0]} {NEVER_SEEN}", "good " * 10 + "film " * 20]
    return [(text, int(scores.argmax())) for text, scores in zip(texts, half_blind.probabilities(texts), strict=True)]


def test_most_words_tie(half_blind: Checkpoint, rows: list[tuple[str, int]]) -> None:
    for text, _ in rows:
        words = text.split()
        written = [" ".join([*words[:place], "[UNK]", *words[place + 1 :]]) for place in range(len(words))]
        scores = half_blind.probabilities(written)[:, 0].tolist()
        assert len(set(scores)) < 0.7 * len(scores) > 16


@pytest.mark.parametrize("recipe", RECIPES)
def test_ties_are_broken_as_textattack_breaks_them(
    recipe: str, half_blind: Checkpoint, linguistics: Any, rows: list[tuple[str, int]]
) -> None:
    from flat_dist.attack import recipes
    from flat_dist.attack.victim import Victim

    found = ours(recipe, half_blind, linguistics, rows)
    for batch_size in (32, 5):
        stock = recipes.build(recipe, Victim(half_blind), linguistics)
        stock.goal_function.batch_size = batch_size
        for record, (text, label) in zip(found, rows, strict=True):
            result = stock.attack(text, label)
            expected = (status(result), result.perturbed_result.attacked_text.text, result.num_queries)
            assert (record.status, record.perturbed_text, record.num_queries) == expected
    assert any(record.swaps for record in found)
