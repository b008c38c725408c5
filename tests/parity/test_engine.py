"""The attack engine against stock TextAttack: the same victims, the same resources, the same results."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from flat_dist.attack.limits import Limits
from flat_dist.config.schema import Scores
from flat_dist.data import datasets
from flat_dist.data.datasets import Dataset
from flat_dist.data.shards import Example, Record
from flat_dist.models.checkpoint import Checkpoint
from tests.parity.conftest import SATURATION, label_of_four

pytestmark = pytest.mark.usefixtures("one_thread")

RECIPES = ("textfooler", "pwws")
LIMITS = Limits(concurrent=64, batch_size=64, cache_size=16384)
REAL = 40
"""Number of real sentences; 150 in the slow tests."""

ODD_TEXTS = [
    "good",
    "",
    "...",
    "the of and to",
    "xyzzy plugh frotz blorb gnusto rezrov",
    "good good good good film film film bad bad good",
    "good good good good good good good bad bad bad bad bad bad bad bad bad film film film film",
    "it's the film's don't-care attitude that won't do , isn't it ?",
    "a well-made , good-natured , re-imagined tale -- 'quoted' 'words' and a rock-'n'-roll heart",
    "a café naïve soufflé of a résumé , ﬁlm über alles , фильм хороший and quite good all in all",
    "GREAT Film , Wonderful ACTING and a Boring plot that McDonald liked for the most part somehow",
    "the doctor , a saint and a mister in 1999 , 3d and 80s nostalgia for the year at hand tonight",
    "a very good film 电影很好看 with a bad ending",
    "İstanbul is a good place for a wonderful film about love , life and all the bad things in it",
    "<b>good</b> &amp; bad ; a fine film\twith\ntabs  and   spaces",
    '(good) [bad] {ugly} "fine" *great* _awful_ @home #film 50% $5',
]


def texts(sentences: Dataset, model: str = "cnn", real: int = REAL) -> list[tuple[str, int]]:
    """Real sentences, a text of 3 * `real` words, and odd ones; fewer for a transformer, which takes long."""
    rows = datasets.sample(sentences.test, real, seed=11).to_pylist()
    words = " ".join(row["text"] for row in sentences.test.slice(0, 60).to_pylist()).split()
    assert len(words) > 3 * real
    found = [(row["text"], row["label"]) for row in rows]
    if model == "four_classes":
        found = [(text, label_of_four(text, label)) for text, label in found]
    if model == "minilm":
        odd = ODD_TEXTS if real > REAL else ODD_TEXTS[::2]
        return found[: real // 5] + [(text, number % 2) for number, text in enumerate(odd)]
    return found + [(text, label) for text in [" ".join(words[: 3 * real]), *ODD_TEXTS] for label in (0, 1)]


def ours(
    recipe: str,
    victim: Checkpoint,
    linguistics: Any,
    rows: Sequence[tuple[str, int]],
    limits: Limits = LIMITS,
    scores: Scores = "probabilities",
    temperature: float = 1.0,
) -> list[Record]:
    from flat_dist.attack import recipes, records
    from flat_dist.attack.engine.from_textattack import build_engine
    from flat_dist.attack.engine.profile import Profile
    from flat_dist.attack.victim import Victim

    seen = Victim(victim, scores=scores, temperature=temperature)
    stock = recipes.build(recipe, seen, linguistics)
    engine = build_engine(recipes.build(recipe, seen, linguistics), limits, Profile())
    examples = [Example(str(number), text, label) for number, (text, label) in enumerate(rows)]
    return records.attack_examples(engine, stock, examples, seed=3)


def stocks(
    recipe: str,
    victim: Checkpoint,
    linguistics: Any,
    rows: Sequence[tuple[str, int]],
    budget: float = float("inf"),
    scores: Scores = "probabilities",
) -> list[Any]:
    from flat_dist.attack import recipes
    from flat_dist.attack.victim import Victim

    attack = recipes.build(recipe, Victim(victim, scores=scores), linguistics)
    attack.goal_function.query_budget = budget
    return [attack.attack(text, label) for text, label in rows]


def status(result: Any) -> str:
    return type(result).__name__.removesuffix("AttackResult").lower()


CASES = [
    *((model, "probabilities") for model in ("cnn", "lstm", "minilm", "four_classes")),
    *((model, "margin") for model in ("cnn", "saturated", "four_classes")),
]
"""Victims, and what the attack sees of them."""


@pytest.mark.parametrize("real", [REAL, pytest.param(150, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("model", "scores"), CASES, ids=map("-".join, CASES))
@pytest.mark.parametrize("recipe", RECIPES)
def test_results_are_stock_textattacks(
    recipe: str,
    model: str,
    scores: Scores,
    real: int,
    victims: dict[str, Checkpoint],
    linguistics: Any,
    sentences: Dataset,
) -> None:
    victim, rows = victims[model], texts(sentences, model, real)
    expected = stocks(recipe, victim, linguistics, rows, scores=scores)
    found = ours(recipe, victim, linguistics, rows, scores=scores)
    from flat_dist.attack.victim import Victim

    for (text, _), record, result in zip(rows, found, expected, strict=True):
        assert (record.original_text, record.error) == (text, None)
        assert record.status == status(result)
        assert record.perturbed_text == result.perturbed_result.attacked_text.text
        assert record.num_queries == result.num_queries
        (predicted,) = Victim(victim, scores=scores)([record.perturbed_text])
        tolerance = 1e-4 if model == "minilm" else 1e-5
        np.testing.assert_allclose(predicted, result.perturbed_result.raw_output, atol=tolerance, rtol=tolerance)
    counted = {name: sum(record.status == name for record in found) for name in ("successful", "failed", "skipped")}
    assert all(count > 1 for count in counted.values()), counted


def test_margins_and_a_temperature_find_what_saturated_probabilities_hide(
    victims: dict[str, Checkpoint], linguistics: Any, sentences: Dataset
) -> None:
    rows = texts(sentences)[:REAL]
    broken = ours("textfooler", victims["cnn"], linguistics, rows, scores="margin")
    assert ours("textfooler", victims["saturated"], linguistics, rows, scores="margin") == broken
    blind = ours("textfooler", victims["saturated"], linguistics, rows)
    assert [record.status == "skipped" for record in blind] == [record.status == "skipped" for record in broken]
    successful, stuck = (sum(record.status == "successful" for record in found) for found in (broken, blind))
    assert stuck < 0.7 * successful
    failed = [record for record in blind if record.status == "failed"]
    assert sum(not record.swaps for record in failed) > 0.9 * len(failed)
    cool = ours("textfooler", victims["saturated"], linguistics, rows, temperature=SATURATION)
    assert cool == ours("textfooler", victims["cnn"], linguistics, rows)


@pytest.mark.parametrize("recipe", RECIPES)
def test_results_do_not_depend_on_batch_sizes(
    recipe: str, victims: dict[str, Checkpoint], linguistics: Any, sentences: Dataset
) -> None:
    rows = texts(sentences)[REAL - 30 :]
    expected = ours(recipe, victims["cnn"], linguistics, rows)
    for limits in (Limits(1, 1, 1024), Limits(7, 5, 1024), Limits(500, 1000, 10**6)):
        assert ours(recipe, victims["cnn"], linguistics, rows, limits) == expected


@pytest.mark.parametrize("budget", [1, 2, 12, 40])
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_limit_on_queries_is_textattacks_query_budget(
    recipe: str, budget: int, victims: dict[str, Checkpoint], linguistics: Any, sentences: Dataset
) -> None:
    rows = texts(sentences)[REAL - 30 :]
    rows = [row for row in rows if len(row[0].split()) < 3 * REAL]
    expected = stocks(recipe, victims["cnn"], linguistics, rows, budget)
    found = ours(recipe, victims["cnn"], linguistics, rows, replace(LIMITS, max_queries=budget))
    for record, result in zip(found, expected, strict=True):
        assert record.num_queries == result.num_queries <= budget
        assert record.perturbed_text == result.perturbed_result.attacked_text.text
        over = result.num_queries == budget and status(result) == "failed"
        assert record.status == ("timeout" if over else status(result))
    assert {"timeout", "skipped"} <= {record.status for record in found}


@pytest.mark.parametrize("recipe", RECIPES)
def test_an_example_over_its_time_keeps_its_row(
    recipe: str, victims: dict[str, Checkpoint], linguistics: Any, sentences: Dataset
) -> None:
    rows = texts(sentences)[REAL - 30 :]
    limits = replace(LIMITS, max_seconds=1e-9)
    for (text, _), record in zip(rows, ours(recipe, victims["cnn"], linguistics, rows, limits), strict=True):
        assert record.status in ("timeout", "skipped")  # a skipped text may have been read by TextAttack alone
        assert (record.perturbed_text, record.error) == (text, None)
