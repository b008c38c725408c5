"""Counts of candidates: those of a small engine by hand, and TextFooler's against TextAttack's own constraints."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from flat_dist.attack.candidate_counts import CandidateCounts, from_dict, from_flat, total
from flat_dist.attack.limits import Limits
from flat_dist.data import datasets
from flat_dist.data.datasets import Dataset
from flat_dist.data.shards import Example
from flat_dist.evaluation.diagnosis import blocked, describe, diagnose
from flat_dist.models import checkpoint as checkpoints
from flat_dist.resources import textattack_setup
from flat_dist.resources.assets import Assets
from flat_dist.storage.folder import Folder
from tests.test_diagnosis import attacks

LIMITS = Limits(concurrent=8, batch_size=64, cache_size=4096)


class Recorded:
    """Counts what goes into each constraint of a TextAttack attack, and what comes out."""

    def __init__(self, attack: Any) -> None:
        self.entered: Counter[str] = Counter()
        self.rejected: Counter[str] = Counter()
        for constraint in attack.constraints:
            constraint.call_many = self._counting(type(constraint).__name__, constraint.call_many)

    def _counting(self, name: str, call: Any) -> Any:
        def counted(texts: Sequence[Any], reference: Any) -> Any:
            passed = call(texts, reference)
            self.entered[name] += len(texts)
            self.rejected[name] += len(texts) - len(passed)
            return passed

        return counted


def test_rejected_candidates_are_those_of_textattacks_constraints(
    victim: Folder, sentences: Dataset, assets: Assets, one_thread: None
) -> None:
    textattack_setup.activate(assets)
    from flat_dist.attack import recipes
    from flat_dist.attack.engine.from_textattack import build_engine
    from flat_dist.attack.engine.profile import Profile
    from flat_dist.attack.records import attack_examples
    from flat_dist.attack.victim import Victim

    checkpoint = checkpoints.load(victim)
    resources = recipes.LinguisticResources(assets, "counterfit", "cpu", cache_size=4096)
    seen = Victim(checkpoint)
    rows = [(row["text"], row["label"]) for row in datasets.sample(sentences.test, 10, seed=11).to_pylist()]
    stock = recipes.build("textfooler", seen, resources)
    recorded = Recorded(stock)
    for text, label in rows:
        stock.attack(text, label)
    profile = Profile()
    engine = build_engine(recipes.build("textfooler", seen, resources), LIMITS, profile)
    attack_examples(engine, stock, [Example(str(n), *row) for n, row in enumerate(rows)], seed=1)
    counts = profile.counts
    assert counts.candidates == recorded.entered["WordEmbeddingDistance"] > 100
    assert counts.rejected == {
        "word embedding distance": recorded.rejected["WordEmbeddingDistance"],
        "part of speech": recorded.rejected["PartOfSpeech"],
        "sentence encoder": recorded.rejected["UniversalSentenceEncoder"],
    }
    assert 0 < counts.without < counts.words and counts.fixed["stop words"] > 10
    assert counts.passed > 0


REJECTED = Counter({"part of speech": 60, "sentence encoder": 35})
COUNTS = CandidateCounts(10, 2, 100, REJECTED, Counter({"stop words": 5}))


def test_counts_travel_as_numbers_and_add_up() -> None:
    assert from_flat(COUNTS.flat() | {"victim": 3.5}) == COUNTS == from_dict(COUNTS.to_dict())
    twice = total([COUNTS, COUNTS])
    assert (twice.words, twice.candidates, twice.passed) == (20, 200, 10)
    assert twice.rejected["part of speech"] == 120 and total([]) == CandidateCounts() == from_dict({})


def test_what_stops_an_attack_is_said() -> None:
    assert describe(COUNTS) == (
        "100 candidates for 10 of 15 words (not: stop words 5 (33%)), none for 2 of them; passed: 5; rejected: part of "
        "speech 60 (60%), sentence encoder 35 (35%)"
    )
    assert blocked(COUNTS) == (
        "constraints reject 95 of 100 candidates: part of speech 60 (60%), sentence encoder 35 (35%)"
    )
    assert "no candidate for 6 of 10 words" in blocked(CandidateCounts(10, 6, 100))
    assert "nearly all words may not change (stop words 9 (90%))" in blocked(
        CandidateCounts(1, 0, 9, fixed=Counter({"stop words": 9}))
    )
    assert describe(CandidateCounts()) == blocked(CandidateCounts()) == blocked(CandidateCounts(10, 1, 100)) == ""


def test_hints_of_a_run_have_the_counts() -> None:
    assert diagnose(attacks(), COUNTS) == (
        "none of 12 attacks succeeded: constraints reject 95 of 100 candidates: part of speech 60 (60%), sentence "
        "encoder 35 (35%)"
    )
    few = CandidateCounts(10, 0, 100, Counter({"sentence encoder": 4}))
    assert "constraints reject only 4 of 100 candidates" in diagnose(attacks(status="successful", after=0.2), few)
    assert "lowest probability" in diagnose(attacks(), few)


@pytest.mark.parametrize("attack", ["pwws", "genetic", "pso"])
def test_other_searches_count_too(attack: str, victim: Folder, assets: Assets, one_thread: None) -> None:
    textattack_setup.activate(assets)
    from flat_dist.attack import recipes
    from flat_dist.attack.engine.from_textattack import build_engine
    from flat_dist.attack.engine.profile import Profile
    from flat_dist.attack.records import attack_examples
    from flat_dist.attack.victim import Victim

    checkpoint, profile = checkpoints.load(victim), Profile()
    resources = recipes.LinguisticResources(assets, "counterfit", "cpu", cache_size=4096)
    built = recipes.build(attack, Victim(checkpoint), resources)
    text = "a fine film and a good story xyzzy"
    label = int(checkpoint.probabilities([text]).argmax())
    engine = build_engine(built, Limits(8, 64, 4096, max_queries=300), profile)
    attack_examples(engine, built, [Example("0", text, label)], seed=1)
    counts = profile.counts
    assert counts.words >= 4 and counts.without >= 1 and "xyzzy" in counts.words_without
    assert counts.candidates >= counts.passed > 0 and all(count >= 0 for count in counts.rejected.values())
