"""How strong attacks are: values derived from the settings of Li et al. 2021 (their code is TextDefender)."""

from dataclasses import replace

import pytest

from flat_dist.attack.limits import Limits
from flat_dist.attack.strength import Strength, resolve_strength
from flat_dist.config.schema import AttackConfig

LI2021 = AttackConfig(setting="li2021")


@pytest.mark.parametrize(
    ("config", "dataset", "expected"),
    [
        (AttackConfig(), "imdb", Strength()),
        (AttackConfig(neighbours=8, max_changed=0.2), None, Strength("original", 8, 0.2)),
        (LI2021, "sst2", Strength("li2021", 50, 0.3, 50)),
        (LI2021, "imdb", Strength("li2021", 50, 0.1, 50)),
        (replace(LI2021, neighbours=100, max_changed=0.5), None, Strength("li2021", 50, 0.3, 50)),
        # Their query_budget is neighbour_vocab_size, whatever it is.
        (replace(LI2021, neighbours=8, max_changed=0.2), None, Strength("li2021", 8, 0.2, 8)),
    ],
)
def test_settings_become_limits(config: AttackConfig, dataset: str | None, expected: Strength) -> None:
    assert resolve_strength(config, dataset, "textfooler") == expected


def test_as_many_neighbours_as_textfooler_has_are_no_limit() -> None:
    for neighbours, expected in ((49, 49), (50, 0), (1000, 0)):
        assert resolve_strength(AttackConfig(neighbours=neighbours), None, "textfooler").neighbours == expected
        assert resolve_strength(AttackConfig(neighbours=neighbours), None, "pwws").neighbours == neighbours


@pytest.mark.parametrize(
    ("strength", "words", "queries"),
    [
        (resolve_strength(LI2021, "sst2", "pwws"), 20, 1000),  # 50 for each of 20 words
        (resolve_strength(LI2021, "imdb", "pwws"), 256, 12800),
        (resolve_strength(replace(LI2021, neighbours=8), None, "pwws"), 20, 160),
        (resolve_strength(AttackConfig(neighbours=8), None, "pwws"), 20, 0),  # no limit
    ],
)
def test_li2021_allows_as_many_queries_as_a_text_has_swaps_of_one_word(
    strength: Strength, words: int, queries: int
) -> None:
    limits = Limits(64, 64, 1024, queries_per_word=strength.queries_per_word)
    assert limits.queries(words) == queries
    assert replace(limits, max_queries=100).queries(words) == 100
