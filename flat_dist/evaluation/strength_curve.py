"""After-attack accuracy over the share of a text's words that may change, from one pass of an attack without a limit.

The attacks here are greedy: they order the words before the first swap, and change no word twice. A limit on changed
words (TextAttack's `MaxWordsPerturbed`) forbids nothing until it is reached, and then every other swap, so it only ends
the same search earlier: the attack breaks the texts that it would break with few enough words, and no others. (The one
swap of a cleaned text that TextAttack does not count is PWWS's "cf." for "cf".)
"""

import math
import re
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from flat_dist.evaluation.worst_case import worst_case

PERCENTS = range(0, 101, 10)
"""Shares of words; 0 is the accuracy before the attack."""

WORD, EDGES = re.compile(r"[\w'-]+"), "'-"
CHINESE = re.compile("[\u4e00-\u9fff]")


def by_changed_words(tables: Sequence[pa.Table]) -> dict[int, float]:
    """After-attack accuracy if at most a percentage of a text's words may change, rounded up to whole words.

    Skipped texts count as broken at every strength; texts that could not be attacked are left out. Chinese, which
    TextAttack splits by a dictionary, counts as broken by the change of no word.

    Args:
        tables: rows of attacks on a model (`flat_dist.data.shards.SCHEMA`), with a text that could be attacked: a text
            is broken if one of them breaks it. The result is an upper bound if a table lacks texts of those before it.
    """
    needed: dict[str, int] = {}
    for table in tables:
        rows = table.select(["example_id", "status", "original_text", "perturbed_text"])
        for row in rows.filter(pc.equal(rows["status"].cast(pa.string()), "successful")).to_pylist():
            changed = count_changed(row["original_text"], row["perturbed_text"])
            needed[row["example_id"]] = min(changed, needed.get(row["example_id"], changed))
    n, right = 0, dict.fromkeys(PERCENTS, 0)
    for row in worst_case(tables)[0].select(["example_id", "status", "original_text"]).to_pylist():
        if row["status"] == "error":
            continue
        n += 1
        if row["status"] == "skipped":
            continue
        words, least = len(split(row["original_text"])), needed.get(row["example_id"], math.inf)
        for percent in PERCENTS:
            right[percent] += least > math.ceil(words * (percent / 100))
    return {percent: count / n for percent, count in right.items()}


def count_changed(original: str, perturbed: str) -> int:
    """Number of words that differ, as TextAttack counts them; 0 for Chinese."""
    if CHINESE.search(original):
        return 0
    return sum(old != new for old, new in zip(split(original), split(perturbed), strict=False))


def split(text: str) -> list[str]:
    """The words of a cleaned text as TextAttack splits it, without Chinese: letters and digits, and ' and - inside."""
    parts = (part.strip(EDGES) for token in text.split() for part in WORD.findall(token.strip(EDGES)))
    return [part for part in parts if part]
