"""Attacks with a masked language model: the engine against stock TextAttack, with the same model on both sides."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flat_dist.config.schema import Scores
from flat_dist.data import datasets
from flat_dist.data.datasets import Dataset
from flat_dist.models.checkpoint import Checkpoint
from flat_dist.resources.assets import Assets
from tests.parity.test_engine import LIMITS, ODD_TEXTS, ours, status, stocks

pytestmark = pytest.mark.usefixtures("one_thread")

ATTACKS = ("bae", "bert-attack", "clare")
MORE = [
    "well-made , 'quoted' and (good) film",
    "[MASK] is a good mask , isn't it ?",
    "good [MASK]",
    "mask mask good mask",
    "'good'",
    "a b c d e f g h i j k l m n o p q r s t u v w x y z good bad good bad",
    "the really very good old film and the really very bad new music made people happy , so they said it often .",
]


@pytest.fixture(scope="module")
def resources(assets: Assets, linguistics: Any, masked_language_model: Path) -> Any:
    from flat_dist.attack.recipes import LinguisticResources

    return LinguisticResources(
        assets, "counterfit", "cpu", 4096, (("masked_language_model", str(masked_language_model)),)
    )


def rows_of(sentences: Dataset, real: int, attack: str, resources: Any) -> list[tuple[str, int]]:
    """Real sentences, a long text, and odd ones with both labels.

    Without words of many pieces for BERT-Attack: TextAttack tries 8 ** n combinations of n pieces.
    """
    tokenizer = resources.masked_language_model("bert-base-uncased").tokenizer
    found = [(row["text"], row["label"]) for row in datasets.sample(sentences.test, real, seed=11).to_pylist()]
    words = " ".join(row["text"] for row in sentences.test.slice(0, 30).to_pylist()).split()
    long = " ".join(words[: 40 if attack == "clare" else 120])
    rows = found + [(text, label) for text in [*ODD_TEXTS, long, *MORE] for label in (0, 1)]
    if attack != "bert-attack":
        return rows
    return [row for row in rows if max((len(tokenizer.tokenize(word)) for word in row[0].split()), default=0) < 5]


def check(
    attack: str, victim: Checkpoint, resources: Any, rows: list[tuple[str, int]], budget: int, scores: Scores
) -> Counter[str]:
    limits = replace(LIMITS, max_queries=budget)
    found = ours(attack, victim, resources, rows, limits, scores)
    expected = stocks(attack, victim, resources, rows, budget or float("inf"), scores)
    for (text, _), record, result in zip(rows, found, expected, strict=True):
        assert (record.original_text, record.error) == (text, None)
        over = budget and result.num_queries == budget and status(result) == "failed"
        assert record.status == ("timeout" if over else status(result)), text
        assert record.perturbed_text == result.perturbed_result.attacked_text.text
        assert record.num_queries == result.num_queries
    return Counter(record.status for record in found)


@pytest.mark.parametrize(
    ("real", "budget"), [(3, 400), pytest.param(40, 1500, marks=pytest.mark.slow)], ids=["few", "many"]
)
@pytest.mark.parametrize("attack", ATTACKS)
def test_results_are_stock_textattacks(
    attack: str, real: int, budget: int, victims: dict[str, Checkpoint], resources: Any, sentences: Dataset
) -> None:
    # Without a limit, CLARE on a text that it cannot break asks tens of thousands of times.
    rows = rows_of(sentences, real, attack, resources)[0 if real > 3 else -14 :]
    counts = check(attack, victims["cnn"], resources, rows, budget if attack == "clare" else 0, "probabilities")
    assert counts["successful"] > 1 and counts["skipped"] > 1, counts
    assert real <= 3 or counts["failed"] + counts["timeout"], counts


@pytest.mark.slow
def test_results_on_400_words_are_stock_textattacks(
    victims: dict[str, Checkpoint], resources: Any, sentences: Dataset
) -> None:
    # BAE only: CLARE's first step has tens of thousands of edits of such a text, which TextAttack checks one by one.
    words = " ".join(row["text"] for row in sentences.test.slice(0, 60).to_pylist()).split()[:400]
    assert len(words) == 400
    rows = [(" ".join(words), label) for label in (0, 1)]
    # 400 queries rank the words.
    counts = check("bae", victims["cnn"], resources, rows, 600, "probabilities")
    assert counts["skipped"] == 1 and counts["timeout"] + counts["successful"] == 1, counts


@pytest.mark.slow
@pytest.mark.parametrize(("model", "scores"), [("four_classes", "probabilities"), ("saturated", "margin")])
@pytest.mark.parametrize("attack", ATTACKS)
def test_results_are_stock_textattacks_for_other_victims(
    attack: str, model: str, scores: Scores, victims: dict[str, Checkpoint], resources: Any, sentences: Dataset
) -> None:
    check(
        attack,
        victims[model],
        resources,
        rows_of(sentences, 8, attack, resources),
        600 if attack == "clare" else 0,
        scores,
    )


@pytest.mark.parametrize("attack", ATTACKS)
def test_results_do_not_depend_on_batch_sizes(
    attack: str, victims: dict[str, Checkpoint], resources: Any, sentences: Dataset
) -> None:
    rows = rows_of(sentences, 6, attack, resources)[:10]
    limits = replace(LIMITS, max_queries=300)
    expected = ours(attack, victims["cnn"], resources, rows, limits)
    for concurrent, batch_size, cache_size in ((1, 1, 1), (3, 7, 10**5)):
        changed = replace(limits, concurrent=concurrent, batch_size=batch_size, cache_size=cache_size)
        assert ours(attack, victims["cnn"], resources, rows, changed) == expected
