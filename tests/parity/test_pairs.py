"""Attacks on pairs of sentences, against stock TextAttack on texts of two columns: the same results."""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from flat_dist.attack.limits import Limits
from flat_dist.data.datasets import Dataset
from flat_dist.data.sentence_pairs import attacked, split
from flat_dist.data.shards import Example, Record
from flat_dist.models.checkpoint import Checkpoint
from tests.parity.test_engine import status
from tests.sentence_pairs import pairs_of, random_pair_model, save_word_encoder

pytestmark = pytest.mark.usefixtures("one_thread")

LIMITS = Limits(concurrent=64, batch_size=64, cache_size=16384)

ODD = [
    "the film ‖ good",
    "good ‖ the of and to",
    "a fine film , and a good one ‖ it's the film's don't-care attitude that won't do , isn't it ?",
    "good film ‖ good good bad film good",
]


@pytest.fixture(scope="module")
def pairs(sentences: Dataset) -> Dataset:
    return pairs_of(sentences)


@pytest.fixture(scope="module")
def model(pairs: Dataset, sentences: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return random_pair_model(pairs, save_word_encoder(sentences, tmp_path_factory.mktemp("encoder")))


class TwoColumns:
    """A model of TextAttack's tuples, which asks ours without the victim of this project."""

    def __init__(self, checkpoint: Checkpoint):
        self.checkpoint = checkpoint
        self.seen: set[tuple[str, str]] = set()

    def __call__(self, inputs: list[tuple[str, str]]) -> torch.Tensor:
        self.seen.update(inputs)
        encoder = self.checkpoint.encoder
        return self.checkpoint.predict([encoder.encode(f"{first} ‖ {second}") for first, second in inputs])


def rows_of(pairs: Dataset, model: Checkpoint, count: int) -> list[tuple[str, int]]:
    """Texts with the class that the model predicts, so that all are attacked; and a few odd ones."""
    texts = pairs.test["text"].to_pylist()[:count]
    predicted = model.probabilities(texts).argmax(1).tolist()
    return [*zip(texts, predicted, strict=True), *((text, label) for text in ODD for label in (0, 1))]


def ours(recipe: str, model: Checkpoint, linguistics: Any, rows: list[tuple[str, int]], limits: Limits) -> list[Record]:
    from flat_dist.attack import recipes, records
    from flat_dist.attack.engine.from_textattack import build_engine
    from flat_dist.attack.engine.profile import Profile
    from flat_dist.attack.victim import Victim

    stock, own = (recipes.build(recipe, Victim(model), linguistics) for _ in range(2))
    examples = [Example(str(number), text, label) for number, (text, label) in enumerate(rows)]
    return records.attack_examples(build_engine(own, limits, Profile()), stock, examples, seed=3)


def stocks(
    recipe: str, model: Checkpoint, linguistics: Any, rows: list[tuple[str, int]], budget: float
) -> Iterator[tuple[str, str, int]]:
    """Status, second sentence and queries of TextAttack's attack, which has TextAttack's own constraint."""
    from textattack.constraints.pre_transformation import InputColumnModification

    from flat_dist.attack import recipes, records
    from flat_dist.attack.victim import Victim

    attack = recipes.build(recipe, Victim(model), linguistics)
    columns = ["premise", "hypothesis"]
    attack.pre_transformation_constraints = [
        one for one in attack.pre_transformation_constraints if not isinstance(one, InputColumnModification)
    ] + [InputColumnModification(columns, {"premise"})]
    attack.goal_function.model = seen = TwoColumns(model)
    attack.goal_function.query_budget = budget
    for number, (text, label) in enumerate(rows):
        first, second = text.split(" ‖ ")
        records.seed_example(3, Example(str(number), text, label))
        result = attack.attack(OrderedDict(zip(columns, (first, second), strict=True)), label)
        fixed, changed = result.perturbed_result.attacked_text.tokenizer_input
        assert fixed == first
        yield status(result), changed, result.num_queries
    assert {first for first, _ in seen.seen} <= {text.split(" ‖ ")[0] for text, _ in rows}


@pytest.mark.parametrize(
    ("recipe", "count", "queries"),
    [("textfooler", 6, 0), ("pwws", 4, 0), ("genetic", 2, 100), ("iga", 1, 100), ("pso", 1, 100)],
)
def test_attacks_on_pairs_are_those_of_textattack(
    recipe: str, count: int, queries: int, pairs: Dataset, model: Checkpoint, linguistics: Any
) -> None:
    rows = rows_of(pairs, model, count)
    if queries:
        rows = rows[:count]
    found = ours(recipe, model, linguistics, rows, replace(LIMITS, max_queries=queries))
    expected = list(stocks(recipe, model, linguistics, rows, queries or float("inf")))
    for record, (result, second, asked), (text, _) in zip(found, expected, rows, strict=True):
        first = text.split(" ‖ ")[0]
        kept = "failed" if record.status == "timeout" else record.status
        assert (kept, split(record.perturbed_text), record.num_queries) == (result, (first, second), asked)
        words = attacked(text).split()
        assert all(words[swap.index] == swap.original for swap in record.swaps)
    assert any(record.perturbed_text != text for record, (text, _) in zip(found, rows, strict=True))
