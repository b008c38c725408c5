"""A report's page as a run makes it, of made-up numbers: for tests that need no model."""

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from flat_dist.evaluation.attack_margins import AttackMargins
from flat_dist.evaluation.attributions import SCHEMA
from flat_dist.evaluation.consistency import Consistency, align, kendall_tau, top_k_intersection
from flat_dist.evaluation.model_consistency import AllTexts, ModelConsistency
from flat_dist.evaluation.result import Result
from flat_dist.evaluation.substitutions import Replacement
from flat_dist.evaluation.top_k import KS
from flat_dist.evaluation.word_importance import Correlation, Words
from flat_dist.report.page import Importance, Page, Saliency

LABELS = ("negative", "positive")
VOCABULARY = (
    *("the", "a", "of", "and", "film", "movie", "story", "it", "with", "that", "this", "is", "an", "as", "one", "by"),
    *("comedy", "drama", "plot", "cast", "funny", "clever", "dull", "moving", "tedious", "charming", "flat", "awful"),
    *("brilliant", "warm", "sharp", "predictable", "original", "tired", "fresh", "director", "script", "ending"),
)
SUBSTITUTES = {"film": "cinema", "clever": "proficient", "dull": "pesky", "funny": "amusing", "awful": "appalling"}
TRAININGS = ("base", "adv", "flat")


def pair(
    pair_id: str, original: Sequence[str], perturbed: Sequence[str], rng: np.random.Generator, **others: Any
) -> dict[str, Any]:
    """A row of two texts with attributions drawn at random, that add up to opposite numbers for the two classes."""
    before, after = (rng.normal(0, 0.1, len(words)) for words in (original, perturbed))
    alignment = align(original, perturbed)
    kept = [(sign * before[[i for i, _ in alignment]], sign * after[[j for _, j in alignment]]) for sign in (-1, 1)]
    score = rng.uniform(0.55, 0.99)
    return {
        "pair_id": pair_id,
        "label": 1,
        "status": "successful",
        "original_words": list(original),
        "perturbed_words": list(perturbed),
        "original_scores": [1 - score, score],
        "perturbed_scores": [score, 1 - score],
        "original_attributions": [-before, before],
        "perturbed_attributions": [-after, after],
        "alignment": [{"original": i, "perturbed": j} for i, j in alignment],
        "kendall_tau": [kendall_tau(*both) for both in kept],
        "top_k": [[top_k_intersection(*both, k) for k in KS if alignment] for both in kept],
        "completeness_error": 0.0123,
        **others,
    }


@functools.cache
def saliency(training: str, attack: str, method: str, count: int, seed: int, words: int = 20) -> Saliency:
    """Pairs of texts in which a third of the words that have a substitute are replaced; originals go by pair alone."""
    rows = []
    for number in range(count):
        text = np.random.default_rng(number).choice(VOCABULARY, words).tolist()
        rng = np.random.default_rng([seed, number])
        changed = [SUBSTITUTES.get(word, word) if rng.random() < 0.4 else word for word in text]
        changed[0] = f"{changed[0]}-{training}"
        error = {} if method == "ig" else {"completeness_error": None}
        rows.append(pair(f"{number}", text, changed, rng, **error))
    return Saliency(training, attack, method, pa.Table.from_pylist(rows, SCHEMA))


def saliencies(attacks: Sequence[str] = ("textfooler", "pwws"), count: int = 70, words: int = 20) -> list[Saliency]:
    """Three models; the last pair of base is none of the others'."""
    return [
        saliency(training, attack, method, count + (training == "base"), seed, words)
        for attack in attacks
        for method in ("ig", "lime")
        for seed, training in enumerate(TRAININGS)
    ]


def results(attacks: Sequence[str] = ("textfooler", "pwws")) -> list[Result]:
    return [
        Result(
            training=training,
            round=2 * (training != "base"),
            attack=attack,
            trained_on=attack == "textfooler",
            accuracy=0.745 + 0.01 * position,
            after_attack_accuracy=0.035 + 0.02 * position + 0.04 * (attack == "pwws"),
            attack_success_rate=0.94 - 0.02 * position,
            mean_queries=101.4,
            words_changed=0.137,
            n=400,
            by_changed_words={
                "probabilities": {at: round(0.745 - 0.006 * at, 4) for at in range(0, 101, 10)},
                "worst": {at: round(0.74 - 0.007 * at + 0.0001 * position, 4) for at in range(0, 101, 10)},
            },
            by_neighbours={1: 0.6, 8: 0.3 + 0.01 * position, 50: 0.1} if attack == "textfooler" else {},
            interpretations={
                "ig": interpretation(Consistency(0.44 + 0.05 * position, _curve(position), 100, 3, 1, 0.00123)),
                "lime": interpretation(
                    Consistency(0.33 + 0.03 * position, _curve(position - 1), 100, 0), own_pairs=300
                ),
            },
        )
        for attack in attacks
        for position, training in enumerate(TRAININGS)
    ]


def interpretation(own: Consistency, own_pairs: int | None = None) -> ModelConsistency:
    """Of 400 texts, the attack left a hundred or more unchanged. The common pairs are half of the explained ones."""
    found = own.pairs if own_pairs is None else own_pairs
    common = replace(own, pairs=own.pairs // 2, undefined=0, unaligned=0)
    return ModelConsistency(
        common=common,
        own=own,
        common_interval=None if own.kendall_tau is None else (own.kendall_tau - 0.04, own.kendall_tau + 0.04),
        common_by_outcome={"successful": common},
        own_by_outcome={"failed": replace(own, pairs=10), "successful": replace(own, pairs=own.pairs - 10)},
        common_pairs=common.pairs,
        own_pairs=found,
        texts=400,
        unchanged={"skipped": 400 - found - 5, "failed": 5},
        all_texts=AllTexts(0.81, dict.fromkeys(KS, 0.87), (400 - found) / 400),
    )


def _curve(position: int) -> dict[int, float]:
    return {k: round(0.5 + 0.04 * k - 0.002 * k * k + 0.03 * position, 4) for k in KS}


def margins(training: str, middle: float) -> AttackMargins:
    """Successful attacks on texts around a margin, failed ones 10 above it; only skipped ones below 0."""
    steps = np.linspace(0.5, 9.5, 10)
    return AttackMargins(
        training, "textfooler", {"skipped": -steps, "successful": middle + steps, "failed": middle + 10 + steps}
    )


def rounds() -> list[Result]:
    return [
        Result(training, number, "textfooler", True, 0.74 + 0.01 * number, 0.03 + height * number, 0.9, 99.0, 0.1, 400)
        for training, height in (("base", 0), ("adv", 0.012), ("flat", 0.03))
        for number in range(3 if training != "base" else 1)
    ]


def words(count: int = 3000, seed: int = 0) -> Words:
    rng = np.random.default_rng(seed)
    frequency = np.sort(np.maximum(1, (2000 / np.arange(1, count + 1)).astype(np.int64)))[::-1]
    names = [*VOCABULARY, *(f"word{number}" for number in range(count - len(VOCABULARY)))]
    return Words(tuple(names), frequency, rng.poisson(frequency * 0.05), rng.beta(8, 4, count))


def importance(training: str, seed: int, count: int = 3000) -> Importance:
    correlations = (
        Correlation("importance-word_frequency", -0.0312, 0.0874, count),
        Correlation("importance-substitution_frequency", 0.1123, 3.21e-9, count),
        Correlation("word_frequency-substitution_frequency", None, None, count),
    )
    spread = np.abs(np.random.default_rng(seed).normal(0, 0.05 + 0.03 * seed, 1000))
    return Importance(training, words(count, seed), correlations, spread, "1,000 words, 10 synonyms each, from a table")


def page(**others: Any) -> Page:
    """The built-in run: three models, two attacks, two methods, two rounds."""
    replaced = [
        Replacement(word, 40 - 2 * at, ((other, 30 - at), ("flick", 5)))
        for at, (word, other) in enumerate(SUBSTITUTES.items())
    ]
    values: dict[str, Any] = {
        "title": "FLAT on the built-in sentences",
        "facts": {"dataset": "rotten_tomatoes_sample, 3,200 / 400 / 400 sentences", "seed": "0", "device": "cpu"},
        "dataset": "rotten_tomatoes_sample",
        "model": "cnn",
        "label_names": LABELS,
        "split": "test",
        "texts": 1600,
        "results": results(),
        "rounds": rounds(),
        "margins": [margins(training, 10.0 * place) for place, training in enumerate(TRAININGS)],
        "saliencies": saliencies(),
        "importances": [importance("flat without gamma", 1), importance("flat", 0)],
        "replacements": dict.fromkeys(TRAININGS, replaced),
        "cards": [{"training": "flat", "accuracy": 0.765, "tau": float("nan")}],
    }
    return Page(**{**values, **others})
