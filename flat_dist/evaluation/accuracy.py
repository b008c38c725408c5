"""Accuracy before and after an attack, from the rows that the attack left (paper, Section 5.1, Tables 2 and 3)."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from flat_dist.config.errors import UserError, unknown
from flat_dist.data.shards import STATUSES


@dataclass(frozen=True)
class AttackSummary:
    """What an attack did to a model. Shares are in [0, 1]; None where there is nothing to take a mean over."""

    n: int
    """Examples scored: every row but those with status error, about which nothing is known."""
    standard_accuracy: float
    """Share of the n examples that the model classifies right before the attack: those not skipped."""
    after_attack_accuracy: float
    """Share of the n examples still classified right after it: failed, and timeout (nothing found in the time given).

    Skipped examples count as wrong. A timeout proves less than a failed attack: leaving them out would take off
    counts["timeout"] / n.
    """
    attack_success_rate: float | None
    """Successful attacks as a share of all attacks: successful, failed and timeout."""
    mean_queries: float | None
    """Victim queries of an attack that ended by itself (successful or failed); a timeout's depend on the machine."""
    words_changed: float | None
    """Mean share of an original text's words that a successful attack changed; punctuation is no word."""
    counts: dict[str, int]
    """Rows by status, all five of them."""


def after_attack(table: pa.Table) -> AttackSummary:
    """Summarise the rows of an attack.

    Args:
        table: columns status (string or dictionary), num_queries (int32), original_text (string) and
            swaps (list of struct: index, original, substitute; one for each changed word).

    Raises:
        UserError: there is no row to score, or a status is unknown.
    """
    table = table.set_column(table.column_names.index("status"), "status", table["status"].cast(pa.string()))
    counts = _count(table["status"])
    n = sum(counts.values()) - counts["error"]
    if not n:
        raise UserError(
            f"no attacked example to score: {counts['error']} rows, all with status error; see their column error"
        )
    held = counts["failed"] + counts["timeout"]
    attacked = counts["successful"] + held
    ended = table.filter(pc.is_in(table["status"], pa.array(["successful", "failed"])))
    return AttackSummary(
        n=n,
        standard_accuracy=attacked / n,
        after_attack_accuracy=held / n,
        attack_success_rate=counts["successful"] / attacked if attacked else None,
        mean_queries=pc.mean(ended["num_queries"]).as_py(),
        words_changed=_words_changed(table.filter(pc.equal(table["status"], "successful"))),
        counts=counts,
    )


def _count(status: pa.ChunkedArray) -> dict[str, int]:
    found: Counter[Any] = Counter(status.to_pylist())
    for value in found:
        if value not in STATUSES:
            raise unknown("status in the rows of an attack", str(value), STATUSES)
    return {value: found[value] for value in STATUSES}


def _words_changed(successful: pa.Table) -> float | None:
    texts, swaps = successful["original_text"].to_pylist(), successful["swaps"].to_pylist()
    shares = [len(changed) / _count_words(text) for text, changed in zip(texts, swaps, strict=True)]
    return sum(shares) / len(shares) if shares else None


def _count_words(text: str) -> int:
    """Words of a text: what stands between spaces and has at least one letter or digit."""
    return sum(any(character.isalnum() for character in token) for token in text.split())
