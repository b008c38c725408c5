"""Curves of after-attack accuracy over the share of words that may change, derived by hand."""

import pyarrow as pa
import pytest

from flat_dist.data.shards import Record, to_table
from flat_dist.evaluation.strength_curve import by_changed_words, count_changed, split

TEN = "a b c d e f g h i j"


def rows(outcomes: dict[str, tuple[str, int]], text: str = TEN) -> pa.Table:
    """Rows of an attack: status, and how many of the first words it changed, of each text."""
    words, records = text.split(" "), []
    for name, (status, changed) in outcomes.items():
        perturbed = " ".join([f"{word}x" for word in words[:changed]] + words[changed:])
        records.append(Record(name, 1, text, perturbed, status))
    scores = [[0.5, 0.5]] * len(records)
    return to_table(records, scores, scores, 0, {})


def test_texts_break_at_the_share_of_words_that_they_needed() -> None:
    table = rows(
        {
            "one": ("successful", 1),
            "three": ("successful", 3),
            "ten": ("successful", 10),
            "held": ("failed", 2),
            "out of queries": ("timeout", 2),
            "wrong before": ("skipped", 0),
            "lost": ("error", 0),  # not counted
        }
    )
    found = by_changed_words([table])
    assert {percent: round(6 * share) for percent, share in found.items()} == {
        **{0: 5, 10: 4, 20: 4, 30: 3, 40: 3, 50: 3, 60: 3, 70: 3, 80: 3, 90: 3},
        100: 2,
    }


def test_shares_are_rounded_up_to_whole_words_as_textattack_does() -> None:
    # Of 3 words: 10 to 30 % allow 1, 40 to 60 % allow 2, 70 % and more allow 3.
    for changed, first in ((1, 10), (2, 40), (3, 70)):
        found = by_changed_words([rows({"a": ("successful", changed)}, "a b c ...")])
        assert [percent for percent, share in found.items() if share == 0] == list(range(first, 101, 10))


def test_the_worst_of_several_attacks_is_the_one_that_needed_fewest_words() -> None:
    first = rows({"a": ("successful", 5), "b": ("failed", 0), "c": ("skipped", 0)})
    second = rows({"a": ("successful", 2), "b": ("successful", 8), "c": ("skipped", 0)})
    found = by_changed_words([first, second])
    assert {percent: round(3 * share) for percent, share in found.items()} == {
        **{0: 2, 10: 2, 20: 1, 30: 1, 40: 1, 50: 1, 60: 1, 70: 1},
        **{80: 0, 90: 0, 100: 0},
    }
    assert by_changed_words([first])[50] == pytest.approx(1 / 3)


def test_words_that_differ_are_counted_without_punctuation() -> None:
    assert count_changed("a good film , isn't it ?", "a fine film , isn't he ?") == 2
    assert count_changed("it 's 'good'", "it 's 'fine'") == 1
    assert count_changed("cf this", "cf. this") == 0  # the same word to TextAttack
    assert count_changed("电影 good", "电影 fine") == 0
    assert split("the well-made , don't-care film ... 's '90s $5 %") == [
        *("the", "well-made", "don't-care", "film", "s", "90s", "5")
    ]
