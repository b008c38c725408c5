"""The curve over changed words from one attack, against attacks really run with each limit."""

from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from flat_dist.attack.strength import Strength
from flat_dist.data.datasets import Dataset
from flat_dist.evaluation.accuracy import after_attack
from flat_dist.evaluation.strength_curve import PERCENTS, by_changed_words, count_changed, split
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models.checkpoint import Checkpoint
from flat_dist.storage.folder import Folder
from tests.parity.test_engine import ODD_TEXTS, texts
from tests.parity.test_strength import ours

pytestmark = pytest.mark.usefixtures("one_thread")

CASES = {
    "textfooler": ("textfooler", Strength(), (10, 20, 30, 50, 70, 100)),
    "pwws": ("pwws", Strength(), (10, 20, 40, 100)),
    "li2021": ("textfooler", Strength("li2021", 50, 0.3, 50), (10, 20, 30)),
}
"""Attacks, and the limits with which they really run, in percent."""


def rows(recipe: str, victim: Checkpoint, linguistics: Any, sentences: Dataset, strength: Strength) -> pa.Table:
    from flat_dist.attack.records import to_rows
    from flat_dist.attack.victim import Victim
    from flat_dist.data.preprocessing import clean

    odd = [clean(text) for text in ODD_TEXTS if "电" not in text]
    attacked = texts(sentences)[:40] + [(text, number % 2) for number, text in enumerate(odd)]
    found = ours(recipe, Victim(victim), linguistics, attacked, strength)
    return to_rows(found, victim, 0, {})


@pytest.mark.parametrize("case", CASES)
def test_one_pass_gives_what_each_limit_gives(case: str, victim: Folder, linguistics: Any, sentences: Dataset) -> None:
    (recipe, strength, limits), loaded = CASES[case], checkpoints.load(victim)
    whole = rows(recipe, loaded, linguistics, sentences, strength)
    curve = by_changed_words([whole])
    by_id = dict(zip(whole["example_id"].to_pylist(), whole["perturbed_text"].to_pylist(), strict=True))
    for percent in limits:
        limited = rows(recipe, loaded, linguistics, sentences, replace(strength, max_changed=percent / 100))
        summary = after_attack(limited)
        assert curve[percent] == summary.after_attack_accuracy
        broken = [row for row in limited.to_pylist() if row["status"] == "successful"]
        assert all(by_id[row["example_id"]] == row["perturbed_text"] for row in broken)
    assert curve[0] == after_attack(whole).standard_accuracy
    assert len(set(curve.values())) > 3
    assert list(curve) == list(PERCENTS)


def test_words_are_split_as_textattack_splits_them(linguistics: Any, sentences: Dataset) -> None:
    from textattack.shared import AttackedText

    from flat_dist.data.preprocessing import clean

    odd = [clean(text) for text in ODD_TEXTS if "电" not in text]
    real = sentences.train["text"].to_pylist()[:2000]
    for text in [*real, *odd, "cf. mr. 's '90s don't-care- -x a--b st.-bruno's-lily क्या"]:
        assert split(text) == AttackedText(text).words
    for old, new in zip(real[:500], real[500:1000], strict=True):
        words, others = split(old), split(new)
        kept = min(len(words), len(others))
        both = [" ".join(each[:kept]) for each in (words, others)]
        assert count_changed(*both) == len(AttackedText(both[1]).all_words_diff(AttackedText(both[0])))
