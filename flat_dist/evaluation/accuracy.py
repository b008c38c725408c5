"""Accuracy before and after an attack, from the attack's rows (paper, Section 5.1, Tables 2 and 3)."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from flat_dist.config.errors import UserError, unknown
from flat_dist.data import sentence_pairs
from flat_dist.data.shards import STATUSES

MIN_TEXTS = 10
"""Minimum number of texts on which a model that predicts one class is said to do so: with fewer it may be chance."""


@dataclass(frozen=True)
class AttackSummary:
    """The results of an attack on a model. Shares are in [0, 1]; None for a mean over nothing."""

    n: int
    """Number of scored examples: all rows except those with status error."""
    standard_accuracy: float
    """Share of the n examples that the model classifies correctly before the attack: those not skipped."""
    after_attack_accuracy: float
    """Share of the n examples that are still correct after the attack: failed and timeout. Skipped ones are wrong.

    A timeout is weaker evidence than a failed attack. Without timeouts, the share is lower by counts["timeout"] / n.
    """
    attack_success_rate: float | None
    """Successful attacks as a share of all attacks: successful, failed and timeout."""
    mean_queries: float | None
    """Mean number of victim queries of successful and failed attacks. Those of timeouts depend on the machine."""
    words_changed: float | None
    """Mean share of a text's words that a successful attack changed, without punctuation."""
    saturated: float
    """Share of the n examples whose probability of the predicted class is exactly 1 before the attack: rounding then
    hides small changes of the logits from an attack that sees probabilities."""
    failed_unchanged: float | None
    """Share of failed attacks that changed no word."""
    counts: dict[str, int]
    """Number of rows by status, for all five statuses."""


def after_attack(table: pa.Table) -> AttackSummary:
    """Summarise the rows of an attack.

    Args:
        table: columns status (string or dictionary), num_queries (int32), original_text (string),
            swaps (list of struct: index, original, substitute; one for each changed word) and original_scores (list of
            float32, the probability of each class; None with the status error).

    Raises:
        UserError: there is no row to score, or a status is unknown.
    """
    table = table.set_column(table.column_names.index("status"), "status", table["status"].cast(pa.string()))
    counts = _count(table["status"])
    n = sum(counts.values()) - counts["error"]
    if not n:
        raise UserError(
            f"no attacked example to score: all {counts['error']} rows have the status error; see their column error"
        )
    robust = counts["failed"] + counts["timeout"]
    attacked = counts["successful"] + robust
    ended = table.filter(pc.is_in(table["status"], pa.array(["successful", "failed"])))
    return AttackSummary(
        n=n,
        standard_accuracy=attacked / n,
        after_attack_accuracy=robust / n,
        attack_success_rate=counts["successful"] / attacked if attacked else None,
        mean_queries=pc.mean(ended["num_queries"]).as_py(),
        words_changed=words_changed(table.filter(pc.equal(table["status"], "successful"))),
        saturated=_saturated(table.filter(pc.not_equal(table["status"], "error"))),
        failed_unchanged=_unchanged(table.filter(pc.equal(table["status"], "failed"))),
        counts=counts,
    )


def _count(status: pa.ChunkedArray) -> dict[str, int]:
    counts: Counter[Any] = Counter(status.to_pylist())
    for value in counts:
        if value not in STATUSES:
            raise unknown("status in the rows of an attack", str(value), STATUSES)
    return {value: counts[value] for value in STATUSES}


def words_changed(rows: pa.Table) -> float | None:
    """Mean share of a text's words that an attack changed, without punctuation; None without rows. Of pairs, those of
    the second sentence."""
    texts, swaps = map(sentence_pairs.attacked, rows["original_text"].to_pylist()), rows["swaps"].to_pylist()
    shares = [len(changed) / _count_words(text) for text, changed in zip(texts, swaps, strict=True)]
    return sum(shares) / len(shares) if shares else None


def _saturated(scored: pa.Table) -> float:
    return sum(max(scores) == 1 for scores in scored["original_scores"].to_pylist()) / scored.num_rows


def _unchanged(failed: pa.Table) -> float | None:
    changed = failed["swaps"].to_pylist()
    return sum(not swaps for swaps in changed) / len(changed) if changed else None


def predicts_one_class(table: pa.Table) -> bool:
    """Whether a model predicts one class for texts of several: it is then robust to any attack, and useless.

    Args:
        table: columns label and original_scores. Fewer than `MIN_TEXTS` rows say nothing.
    """
    predicted = {scores.index(max(scores)) for scores in table["original_scores"].to_pylist() if scores}
    return len(predicted) == 1 and table.num_rows >= MIN_TEXTS and len(set(table["label"].to_pylist())) > 1


def _count_words(text: str) -> int:
    """Number of words: tokens between spaces with at least one letter or digit."""
    return sum(any(character.isalnum() for character in token) for token in text.split())
