"""Why no attack succeeds, or all do."""

from typing import Any

import pyarrow as pa

from flat_dist.attack.candidate_counts import CandidateCounts
from flat_dist.data.shards import Record, Swap, to_table
from flat_dist.evaluation.diagnosis import below_chance, diagnose

SWAP = (Swap(0, "a", "one"),)
TEXT = "a fine film of ten words or so it is"


def attacks(
    count: int = 12,
    status: str = "failed",
    before: float = 0.9,
    after: float = 0.7,
    queries: int = 90,
    swaps: tuple[Swap, ...] = SWAP,
    others: tuple[str, ...] = (),
) -> pa.Table:
    """Attacks on texts of two classes in turn; `before` and `after` are probabilities of the true class."""
    statuses = [status] * count + list(others)
    records, originals, perturbed = [], [], []
    for number, outcome in enumerate(statuses):
        label = number % 2
        records.append(Record(f"test-{number}", label, TEXT, TEXT, outcome, swaps, queries))
        for scores, value in ((originals, before), (perturbed, after)):
            scores.append([value, 1 - value] if label == 0 else [1 - value, value])
    return to_table(records, originals, perturbed, 0, {})


def said(**settings: Any) -> str:
    return diagnose(attacks(**settings))


def test_nothing_is_said_where_some_attacks_succeed_or_there_are_few() -> None:
    assert said(others=("successful",)) == ""
    assert said(count=9) == said(count=9, status="successful") == ""
    assert said(count=12, status="skipped") == said(count=12, status="error") == ""
    assert said(count=10).startswith("none of 10 attacks succeeded: ")


def test_how_far_attacks_came() -> None:
    assert said() == (
        "none of 12 attacks succeeded: the lowest probability of a true class that they reached is 0.70, with 90 "
        "queries a text"
    )


def test_attacks_that_ended_at_a_limit() -> None:
    assert said(status="timeout") == (
        "none of 12 attacks succeeded: 12 ended at a limit: raise --attack.max-queries or --attack.max-seconds"
    )
    assert "ended at a limit" in said(count=6, status="timeout", others=("failed",) * 6)
    assert "ended at a limit" not in said(count=5, status="timeout", others=("failed",) * 7)


def test_saturated_scores() -> None:
    assert "12 saw a probability of exactly 1" in said(before=1.0)
    assert "exactly 1" not in said(before=0.9999)


def test_words_without_candidates() -> None:
    assert "12 asked the model at most once a word and changed nothing" in said(queries=11, swaps=(), after=0.9)
    assert "once a word" not in said(queries=12, swaps=(), after=0.9)  # ten words and the text itself
    assert "once a word" not in said(queries=11)


def test_few_attacks_succeed_where_most_words_have_no_candidate() -> None:
    german, english = CandidateCounts(words=100, without=50), CandidateCounts(words=100, without=49)
    rows = attacks(others=("successful",))
    assert diagnose(rows, german) == (
        "only 1 of 13 attacks succeeded: no candidate for 50 of 100 words (are the texts in another language than the "
        "attack's synonyms?)"
    )
    assert diagnose(rows, english) == ""
    assert diagnose(attacks(others=("successful",) * 12), german) == ""


def test_changed_words_that_do_not_change_the_scores() -> None:
    assert "12 changed words without any change of the scores" in said(before=0.9, after=0.9)
    assert "changed words" not in said(before=0.9, after=0.9, swaps=())


def test_attacks_that_all_succeed() -> None:
    assert said(status="successful", after=0.2) == (
        "all 12 attacks succeeded: 1.0 changed words a text were enough, as is usual without adversarial training; see "
        "how valid the texts are before comparing models"
    )
    assert "the model is unsure: the median probability of its predictions is 0.60" in said(
        status="successful", before=0.6, after=0.4
    )
    many = tuple(Swap(index, "word", "other") for index in range(4))
    assert "they changed 40 % of a text's words: limit it with --attack.max-changed" in said(
        status="successful", after=0.2, swaps=many
    )


def test_labels_that_are_mapped_wrongly() -> None:
    wrong = attacks(status="skipped", count=18, before=0.1, others=("failed", "failed"))
    assert below_chance(wrong) == (
        "it classifies 10.0 % of 20 texts correctly, but chance is 50.0 %: the labels of the data are probably mapped "
        "to other classes than the model's: check --data.label-names"
    )
    # 50 % minus two standard errors of 20 texts is 27.6 %.
    for right, expected in ((5, True), (6, False)):
        rows = attacks(status="skipped", count=20 - right, before=0.1, others=("failed",) * right)
        assert bool(below_chance(rows)) == expected
    assert below_chance(attacks(count=2, status="skipped", before=0.1)).startswith(
        "none of its predictions for 2 texts"
    )
    assert below_chance(attacks()) == below_chance(attacks(status="error")) == ""
