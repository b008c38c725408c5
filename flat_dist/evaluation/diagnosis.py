"""Why no attack or few succeeded, or all did, from the rows of the attack and the counts of its candidates."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from flat_dist.attack.candidate_counts import CandidateCounts
from flat_dist.evaluation.accuracy import MIN_TEXTS, AttackSummary, after_attack, predicts_one_class
from flat_dist.evaluation.classes import mean

MOST = 0.5
"""Share of the attacks from which something is said to be the reason."""

FAR_BELOW = 2
"""Standard errors below chance from which labels are said to be mapped wrongly."""

UNSURE = 0.2
"""Median distance of the predicted class's probability from that of chance below which a model is said to be unsure."""

MANY_WORDS = 0.3
"""Mean share of changed words from which attacks are said to change many."""


NEARLY_ALL = 0.9
"""Share of candidates or words from which a constraint is said to stop an attack."""

FEW = 0.1
"""Share of candidates that constraints reject up to which they are said to stop little."""

NO_COUNTS = CandidateCounts()


def describe(counts: CandidateCounts) -> str:
    """What became of the candidates of an attack, in words; empty if none were counted."""
    if not counts.words:
        return ""
    fixed = counts.fixed.total()
    words = f"{counts.words:,} of {counts.words + fixed:,} words" if fixed else f"{counts.words:,} words"
    excluded = f" (not: {_listed(counts.fixed, counts.words + fixed)})" if fixed else ""
    without = f", none for {counts.without:,} of them" if counts.without else ""
    found = f"{counts.candidates:,} candidates for {words}{excluded}{without}"
    if not counts.candidates:
        return found
    rejected = _listed(counts.rejected, counts.candidates)
    return f"{found}; passed: {counts.passed:,}" + (f"; rejected: {rejected}" if rejected else "")


def _listed(counts: Mapping[str, int], whole: int) -> str:
    """Counts with their shares, the largest first."""
    ranked = sorted(counts.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {count:,} ({count / whole:.0%})" for name, count in ranked if count)


def blocked(counts: CandidateCounts) -> str:
    """What stops an attack before the model is asked; empty if nothing does."""
    fixed, reasons = counts.fixed.total(), []
    if fixed >= NEARLY_ALL * (counts.words + fixed) > 0:
        reasons.append(f"nearly all words may not change ({_listed(counts.fixed, counts.words + fixed)})")
    reasons += filter(None, [unknown_words(counts)])
    rejected = counts.rejected.total()
    if rejected >= NEARLY_ALL * counts.candidates > 0:
        reasons.append(
            f"constraints reject {rejected:,} of {counts.candidates:,} candidates: "
            f"{_listed(counts.rejected, counts.candidates)}"
        )
    return "; ".join(reasons)


def unknown_words(counts: CandidateCounts) -> str:
    """Says that the attack has no candidate for most words; empty if it has."""
    if not counts.without >= MOST * counts.words > 0:
        return ""
    return (
        f"no candidate for {counts.without:,} of {counts.words:,} words (are the texts in another language than the "
        "attack's synonyms?)"
    )


def below_chance(rows: pa.Table) -> str:
    """What to say of a model that is right on clearly fewer texts than chance is; else empty.

    Args:
        rows: columns status, label and original_scores, of an attack.
    """
    scored = [scores for scores in rows["original_scores"].to_pylist() if scores]
    statuses = rows["status"].cast(pa.string()).to_pylist()
    n = len(statuses) - statuses.count("error")
    if not n or not scored or predicts_one_class(rows):
        return ""
    chance, accuracy = 1 / len(scored[0]), 1 - statuses.count("skipped") / n
    margin = FAR_BELOW * math.sqrt(chance * (1 - chance) / n)
    said = f"it classifies {100 * accuracy:.1f} % of {n:,} texts correctly, but chance is {100 * chance:.1f} %"
    advice = "the labels of the data are probably mapped to other classes than the model's: check --data.label-names"
    if accuracy < chance - margin:
        return f"{said}: {advice}"
    if not accuracy:
        return f"none of its predictions for {n:,} texts is correct, so that nothing was attacked: {advice}"
    return ""


def diagnose(rows: pa.Table, counts: CandidateCounts = NO_COUNTS) -> str:
    """Why none of the attacks succeeded, or all of them did; empty if there are too few to say, or if some did, unless
    they are a minority and most words have no candidate.

    Args:
        rows: of `flat_dist.data.shards.SCHEMA`, of one attack on one model.
        counts: of the attack's candidates, where they are known.
    """
    if set(rows["status"].cast(pa.string()).to_pylist()) <= {"error"} or predicts_one_class(rows):
        return ""
    summary = after_attack(rows)
    successful, failed, timeout = (summary.counts[name] for name in ("successful", "failed", "timeout"))
    attacked = successful + failed + timeout
    if attacked < MIN_TEXTS:
        return ""
    if 0 < successful < attacked:
        reason = unknown_words(counts) if successful < MOST * attacked else ""
        return reason and f"only {successful:,} of {attacked:,} attacks succeeded: {reason}"
    tried = [row for row in rows.to_pylist() if row["status"] in ("successful", "failed", "timeout")]
    if successful:
        return f"all {attacked:,} attacks succeeded: {_why_all(summary, tried, counts)}"
    return f"none of {attacked:,} attacks succeeded: {_why_none(summary, tried, counts)}"


def _why_none(summary: AttackSummary, tried: Sequence[dict[str, Any]], counts: CandidateCounts) -> str:
    """Reasons of most attacks; without any, how far they came."""
    ended = [row for row in tried if row["status"] == "failed"]
    reasons = {
        "ended at a limit: raise --attack.max-queries or --attack.max-seconds": len(tried) - len(ended),
        "saw a probability of exactly 1, which hides small changes: let attacks see margins, or set "
        "--attack.temperature": sum(max(row["original_scores"]) == 1 for row in tried),
        "asked the model at most once a word and changed nothing: few words or none have substitutes that pass the "
        "constraints (are the texts in another language than the attack's synonyms?)": sum(map(_hardly_tried, ended)),
        "changed words without any change of the scores: the model does not read them (--data.max-length), or does not "
        "know them": sum(map(_scores_stay, tried)),
    }
    found = [f"{count:,} {reason}" for reason, count in reasons.items() if count >= MOST * len(tried)]
    found += filter(None, [blocked(counts)])
    if found:
        return "; ".join(found)
    nearest = min(row["perturbed_scores"][row["label"]] for row in tried)
    queries = "" if summary.mean_queries is None else f", with {summary.mean_queries:.0f} queries a text"
    return f"the lowest probability of a true class that they reached is {nearest:.2f}{queries}"


def _why_all(summary: AttackSummary, tried: Sequence[dict[str, Any]], counts: CandidateCounts) -> str:
    chance = 1 / len(tried[0]["original_scores"])
    confidence = statistics.median(max(row["original_scores"]) for row in tried)
    reasons = []
    if confidence < chance + UNSURE:
        reasons.append(
            f"the model is unsure: the median probability of its predictions is {confidence:.2f} before the attack; "
            "train it for longer, or on more texts"
        )
    if (summary.words_changed or 0) >= MANY_WORDS:
        reasons.append(
            f"they changed {100 * (summary.words_changed or 0):.0f} % of a text's words: limit it with "
            "--attack.max-changed"
        )
    rejected = counts.rejected.total()
    if counts.candidates and rejected <= FEW * counts.candidates:
        reasons.append(f"constraints reject only {rejected:,} of {counts.candidates:,} candidates")
    if reasons:
        return "; ".join(reasons)
    changed = mean([len(row["swaps"]) for row in tried]) or 0
    return (
        f"{changed:.1f} changed words a text were enough, as is usual without adversarial training; see how valid the "
        "texts are before comparing models"
    )


def _hardly_tried(row: dict[str, Any]) -> bool:
    """Whether a failed attack asked for little more than the importance of each word."""
    queries = row["num_queries"]
    return not row["swaps"] and queries is not None and queries <= len(row["original_text"].split()) + 1


def _scores_stay(row: dict[str, Any]) -> bool:
    return bool(row["swaps"]) and row["original_scores"] == row["perturbed_scores"]
