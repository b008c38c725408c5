"""Attacks that TextAttack itself runs in the pool, against its recipes built and run by hand."""

import io
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from flat_dist.attack.limits import Limits
from flat_dist.attack.plan import AttackJob
from flat_dist.attack.pool.session import AttackSession
from flat_dist.attack.runner import TEXTATTACK
from flat_dist.config.schema import Scores
from flat_dist.data import datasets
from flat_dist.data.datasets import Dataset
from flat_dist.data.shards import Example, Record
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models.checkpoint import Checkpoint
from flat_dist.resources.assets import Assets
from flat_dist.runtime.seeds import derive_seed
from flat_dist.storage.folder import Folder

pytestmark = pytest.mark.usefixtures("one_thread")

CLASSES = {
    "deepwordbug": "DeepWordBugGao2018",
    "pruthi": "Pruthi2019",
    "textbugger": "TextBuggerLi2018",
    "iga": "IGAWang2019",
    "leap": "LEAP2023",
}
LIMITS = Limits(concurrent=4, batch_size=64, cache_size=4096, max_queries=300)
ODD = ["good", "", "...", "a very good film 电影很好看 with a bad ending", "it's the film's don't-care attitude"]


@pytest.fixture(scope="module")
def session(assets: Assets) -> AttackSession:
    return AttackSession()


@pytest.fixture(scope="module")
def rows(sentences: Dataset) -> list[Example]:
    real = datasets.sample(sentences.test, 8, seed=2).to_pylist()
    short = [Example(row["example_id"], " ".join(row["text"].split()[:12]), row["label"]) for row in real]
    return short + [Example(f"odd-{number}", text, number % 2) for number, text in enumerate(ODD)]


def job(attack: str, victim: Folder, scores: Scores = "probabilities", limits: Limits = LIMITS) -> AttackJob:
    plain = AttackJob(attack, victim.uri, "counterfit", "nowhere", 1, 3, "cpu", {"cpu": limits}, 256, {})
    return replace(plain, runner=TEXTATTACK, scores=scores)


def by_hand(attack: str, checkpoint: Checkpoint, rows: Sequence[Example], resources: Any) -> list[Any]:
    """TextAttack's results for its own recipe on a wrapper of the test; None where it raises an error."""
    import textattack
    from textattack.constraints.semantics.sentence_encoders import UniversalSentenceEncoder
    from textattack.shared import utils
    from textattack.transformations.word_swaps import word_swap_homoglyph_swap as homoglyphs

    class Wrapper(textattack.models.wrappers.ModelWrapper):
        model = checkpoint.model

        def __call__(self, texts: Sequence[str]) -> torch.Tensor:
            return torch.cat([checkpoint.probabilities([text]) for text in texts])

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(utils.GLOBAL_OBJECTS, "textattack_counterfitted_GLOVE_embedding", resources.embedding)
        # The package of TextAttack lacks a file that homoglyph swaps read, but do not use here.
        patch.setattr(homoglyphs, "open", lambda *_, **__: io.StringIO(), raising=False)
        recipe = getattr(textattack.attack_recipes, CLASSES[attack]).build(Wrapper())
    for constraint in recipe.constraints:
        if isinstance(constraint, UniversalSentenceEncoder):
            constraint.model = resources.encoder.encode
    recipe.goal_function.query_budget = LIMITS.max_queries
    results = []
    for row in rows:
        seed = derive_seed(3, row.example_id)
        random.seed(seed), np.random.seed(seed % 2**32), torch.manual_seed(seed)
        try:
            results.append(recipe.attack(row.text, row.label))
        except (ValueError, IndexError):  # of searches with a population, for texts without words
            results.append(None)
            recipe.clear_cache()
    return results


def outcome(record: Record) -> tuple[str, str, int | None]:
    return record.status, record.perturbed_text, record.num_queries


def expected(result: Any) -> tuple[str, str, int]:
    status = type(result).__name__.removesuffix("AttackResult").lower()
    if status == "failed" and result.num_queries == LIMITS.max_queries:
        status = "timeout"
    text = result.original_text() if status == "skipped" else result.perturbed_result.attacked_text.text
    return status, text, result.num_queries


@pytest.mark.parametrize(
    "attack",
    [
        *sorted(set(CLASSES) - {"leap", "iga"}),
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("leap", "iga")),
    ],
)
def test_rows_are_those_of_textattacks_own_recipe(
    attack: str, session: AttackSession, victim: Folder, linguistics: Any, rows: list[Example]
) -> None:
    found = session.process(job(attack, victim), rows)
    for row, record, result in zip(
        rows, found, by_hand(attack, checkpoints.load(victim), rows, linguistics), strict=True
    ):
        if result is None:
            assert (record.status, record.perturbed_text) == ("error", row.text) and record.error
        else:
            assert outcome(record) == expected(result)
    assert len({record.status for record in found} - {"error"}) > 1


@pytest.mark.parametrize("scores", ["probabilities", "margin"])
def test_rows_depend_on_the_seed_and_the_example_alone(
    scores: Scores, session: AttackSession, victim: Folder, rows: list[Example]
) -> None:
    one = job("deepwordbug", victim, scores)
    found = {record.example_id: outcome(record) for record in session.process(one, rows)}
    backwards = [session.process(one, [row])[0] for row in reversed(rows)]
    assert {record.example_id: outcome(record) for record in backwards} == found
    other = session.process(replace(one, seed=4), rows)
    assert {record.example_id: outcome(record) for record in other} != found


def test_margins_lead_a_stock_attack_past_rounding(
    session: AttackSession, victim: Folder, rows: list[Example], tmp_path: Any
) -> None:
    saturated = checkpoints.load(victim)
    with torch.no_grad():
        for parameter in saturated.model.output.parameters():
            parameter.mul_(2.0**9)
    folder = Folder(tmp_path)
    checkpoints.save(saturated, folder)
    stuck = {
        scores: sum(
            (record.status, record.perturbed_text) == ("failed", row.text)
            for record, row in zip(session.process(job("deepwordbug", folder, scores), rows), rows, strict=True)
            if len(row.text.split()) > 5
        )
        for scores in ("probabilities", "margin")
    }
    assert stuck["margin"] == 0 < stuck["probabilities"]


def test_limits_end_a_stock_attack_with_its_text_so_far(
    session: AttackSession, victim: Folder, rows: list[Example]
) -> None:
    few = session.process(job("deepwordbug", victim, limits=replace(LIMITS, max_queries=3)), rows)
    assert all(record.num_queries <= 3 for record in few)
    assert {record.status for record in few} >= {"timeout"}
    late = session.process(job("deepwordbug", victim, limits=replace(LIMITS, max_seconds=1e-9)), rows)
    assert {record.status for record in late} == {"timeout", "skipped"}
    assert all(record.perturbed_text == row.text for record, row in zip(late, rows, strict=True))


def test_the_watchdog_hears_of_each_answer_of_the_victim(
    session: AttackSession, victim: Folder, rows: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks: list[int] = []
    one = replace(job("pruthi", victim), seed=9)
    monkeypatch.setattr(session.watchdog, "tick", lambda: ticks.append(1))
    session.job = None  # so that the victim takes the patched tick
    records = session.process(one, rows[:2])
    assert len(ticks) > len(records)
