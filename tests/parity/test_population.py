"""Genetic attacks and particle swarms against stock TextAttack, which draws from NumPy's global generator.

Most texts are attacked on a victim that costs nothing. TextAttack's own search takes seconds per text, so queries are
limited, too.
"""

import functools
import zlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from flat_dist.attack.limits import Limits
from flat_dist.attack.strength import Strength
from flat_dist.config.schema import Scores
from flat_dist.data.datasets import Dataset
from flat_dist.data.shards import Example, Record
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models.margins import margins
from flat_dist.runtime.seeds import derive_seed
from flat_dist.storage.folder import Folder
from tests.parity.test_engine import ODD_TEXTS, status

pytestmark = pytest.mark.usefixtures("one_thread")

RECIPES = ("genetic", "iga", "pso")
SEED = 5


@functools.cache
def weight(word: str, label: int) -> float:
    return (zlib.crc32(f"{word} {label}".encode()) % 2001 - 1000) / 1000


def word_weights(scores: Scores = "probabilities", classes: int = 2, scale: float = 1.0) -> Any:
    """A victim whose logits are sums over words."""
    from textattack.models.wrappers import ModelWrapper

    class WordWeights(ModelWrapper):
        def __init__(self) -> None:
            self.model, self.scores = self, scores

        def encode(self, text: str) -> tuple[str, ...]:
            return tuple(text.lower().split())

        def predict(self, ids: Sequence[tuple[str, ...]], batch_size: int = 0) -> torch.Tensor:
            rows = [[scale * sum(weight(word, label) for word in text) for label in range(classes)] for text in ids]
            logits = torch.tensor(rows).view(-1, classes)
            return margins(logits) if scores == "margin" else logits.softmax(-1)

        def __call__(self, text_input_list: Sequence[str], **_: object) -> torch.Tensor:
            return self.predict([self.encode(text) for text in text_input_list])

    return WordWeights()


FEW_ODD_TEXTS = ODD_TEXTS[::3]
"""For variants of what is compared on all of them: TextAttack's own search takes long."""


def examples(sentences: Dataset, victim: Any, real: int, odd: Sequence[str] = ODD_TEXTS) -> list[Example]:
    """Real sentences and odd ones, nearly all with the class that the victim predicts."""
    texts = [*sentences.test["text"].to_pylist()[:real], *odd]
    predicted = victim(texts).argmax(1).tolist()
    found = [
        Example(str(number), text, label) for number, (text, label) in enumerate(zip(texts, predicted, strict=True))
    ]
    return [*found, Example("wrong", texts[0], 1 - min(predicted[0], 1))]


def ours(
    recipe: str, victim: Any, linguistics: Any, rows: Sequence[Example], limits: Limits, strength: Strength
) -> list[Record]:
    from flat_dist.attack import recipes, records
    from flat_dist.attack.engine.from_textattack import build_engine
    from flat_dist.attack.engine.profile import Profile

    stock, own = (recipes.build(recipe, victim, linguistics, strength) for _ in range(2))
    return records.attack_examples(build_engine(own, limits, Profile()), stock, rows, SEED)


def check(
    recipe: str,
    victim: Any,
    linguistics: Any,
    rows: Sequence[Example],
    max_queries: int = 0,
    strength: Strength = Strength(),  # noqa: B008
) -> Counter[str]:
    """Compare with stock TextAttack, seeded for each text; the statuses that were found."""
    from flat_dist.attack import recipes

    found = ours(recipe, victim, linguistics, rows, Limits(16, 16, 4096, max_queries=max_queries), strength)
    attack = recipes.build(recipe, victim, linguistics, strength)
    attack.goal_function.query_budget = max_queries or float("inf")
    for example, record in zip(rows, found, strict=True):
        np.random.seed(derive_seed(SEED, example.example_id) % 2**32)
        try:
            result = attack.attack(example.text, example.label)
        except (ValueError, IndexError):  # of texts without words
            attack.clear_cache()
            assert record.status in ("failed", "timeout", "error") and record.perturbed_text == example.text
            continue
        over = status(result) == "failed" and result.num_queries == max_queries
        assert record.error is None
        assert record.perturbed_text == result.perturbed_result.attacked_text.text
        assert record.num_queries == result.num_queries
        assert record.status == ("timeout" if over else status(result))
    return Counter(record.status for record in found)


@pytest.mark.parametrize("real", [6, pytest.param(45, marks=pytest.mark.slow)])
@pytest.mark.parametrize("recipe", RECIPES)
def test_results_are_stock_textattacks(recipe: str, real: int, linguistics: Any, sentences: Dataset) -> None:
    victim = word_weights()
    counts = check(recipe, victim, linguistics, examples(sentences, victim, real), max_queries=400)
    assert min(counts[name] for name in ("successful", "timeout", "skipped")) >= 1, counts


@pytest.mark.parametrize("recipe", RECIPES)
def test_results_do_not_depend_on_how_many_texts_are_known(
    recipe: str, linguistics: Any, sentences: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flat_dist.attack.engine.population.KNOWN_TEXTS", 3)
    victim = word_weights()
    check(recipe, victim, linguistics, examples(sentences, victim, 6)[:8], max_queries=400)


@pytest.mark.slow
@pytest.mark.parametrize(("recipe", "every"), [("genetic", 1), ("iga", 20), ("pso", 1)])
def test_the_result_of_a_long_text_is_stock_textattacks(
    recipe: str, every: int, linguistics: Any, sentences: Dataset
) -> None:
    """The queries have a limit, but TextAttack goes on to make the candidates of each word: for `iga`, a member of the
    population for each, which did not end in half an hour. So there, only every 20th of the 400 words has some."""
    victim = word_weights()
    words = " ".join(sentences.test["text"].to_pylist()).split()[:400]
    text = " ".join(word if number % every == 0 else "qzx" for number, word in enumerate(words))
    example = Example("long", text, int(victim([text]).argmax()))
    assert check(recipe, victim, linguistics, [example], max_queries=400)["timeout"]


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_results_without_a_limit_are_stock_textattacks(recipe: str, linguistics: Any, sentences: Dataset) -> None:
    """Until the last generation. The texts are short: TextAttack's own search takes minutes for a sentence."""
    victim = word_weights(scale=0.2)
    texts = [" ".join(text.split()[:6]) for text in sentences.test["text"].to_pylist()[:12]]
    labels = victim(texts).argmax(1).tolist()
    rows = [Example(str(number), *pair) for number, pair in enumerate(zip(texts, labels, strict=True))]
    counts = check(recipe, victim, linguistics, rows)
    assert counts["successful"] and counts["failed"], counts


@pytest.mark.parametrize(
    ("scores", "classes"), [("margin", 3), ("probabilities", 3), pytest.param("margin", 2, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("recipe", RECIPES)
def test_other_scores_and_more_classes(
    recipe: str, scores: Scores, classes: int, linguistics: Any, sentences: Dataset
) -> None:
    victim = word_weights(scores, classes)
    rows = examples(sentences, victim, 4, FEW_ODD_TEXTS)
    assert check(recipe, victim, linguistics, rows, max_queries=250)["successful"]


@pytest.mark.parametrize("budget", [1, 2, 30, 61, 90])
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_limit_on_queries_is_textattacks_query_budget(
    recipe: str, budget: int, linguistics: Any, sentences: Dataset
) -> None:
    victim = word_weights()
    rows = examples(sentences, victim, 2, FEW_ODD_TEXTS)
    assert check(recipe, victim, linguistics, rows, max_queries=budget)["timeout"]


STRENGTHS = {
    "one_neighbour": Strength(neighbours=1),
    "few_words": Strength(max_changed=0.1),
    "li2021": Strength("li2021", 8, 0.3),
}


@pytest.mark.parametrize("name", STRENGTHS)
@pytest.mark.parametrize("recipe", RECIPES)
def test_limited_attacks_are_stock_textattacks(recipe: str, name: str, linguistics: Any, sentences: Dataset) -> None:
    victim = word_weights()
    rows = examples(sentences, victim, 4, FEW_ODD_TEXTS)
    check(recipe, victim, linguistics, rows, max_queries=150, strength=STRENGTHS[name])


@pytest.mark.parametrize("scores", ["probabilities", "margin"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_results_on_a_cnn_are_stock_textattacks(
    recipe: str, scores: Scores, victim: Folder, linguistics: Any, sentences: Dataset
) -> None:
    from flat_dist.attack.victim import Victim

    attacked = Victim(checkpoints.load(victim), scores=scores)
    rows = examples(sentences, attacked, 4, FEW_ODD_TEXTS)
    assert check(recipe, attacked, linguistics, rows, max_queries=200)["successful"]


@pytest.mark.parametrize("recipe", RECIPES)
def test_results_do_not_depend_on_the_other_texts(recipe: str, linguistics: Any, sentences: Dataset) -> None:
    victim = word_weights()
    rows = examples(sentences, victim, 12)
    expected = ours(recipe, victim, linguistics, rows, Limits(64, 64, 4096, max_queries=200), Strength())
    for concurrent, order in ((1, rows[::-1]), (7, rows[5:])):
        found = ours(recipe, victim, linguistics, order, Limits(concurrent, 3, 256, max_queries=200), Strength())
        by_id = {record.example_id: record for record in found}
        assert [record for record in expected if record.example_id in by_id] == [
            by_id[record.example_id] for record in expected if record.example_id in by_id
        ]


@pytest.mark.parametrize("recipe", RECIPES)
def test_an_example_over_its_time_keeps_its_best_text(recipe: str, linguistics: Any, sentences: Dataset) -> None:
    victim = word_weights()
    rows = examples(sentences, victim, 6)
    for example, record in zip(
        rows, ours(recipe, victim, linguistics, rows, Limits(16, 16, 4096, max_seconds=1e-9), Strength()), strict=True
    ):
        assert record.status in ("timeout", "skipped", "error")
        assert (record.perturbed_text, record.error is None) == (example.text, record.status != "error")
