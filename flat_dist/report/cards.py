"""JSON cards: one for each result, with its numbers and how they were computed."""

import math
from collections.abc import Mapping
from dataclasses import asdict
from importlib import metadata
from typing import Any

from flat_dist.config.schema import Config
from flat_dist.evaluation.result import Result
from flat_dist.report import paper

FORMAT = "flat_dist.card/1"

VERSIONS = ("flat_dist", "torch", "transformers", "textattack", "captum", "lime", "scikit-learn", "scipy", "ray")
"""Packages that the numbers depend on."""


def card(
    config: Config,
    settings: Mapping[str, Any],
    result: Result,
    data: Mapping[str, Any],
    checkpoint: Mapping[str, Any],
    attack: Mapping[str, Any],
    attributions: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """The card of a result, as plain values.

    Args:
        config: settings and hardware of the measurement.
        settings: everything that the results depend on.
        result: the numbers.
        data: name, source, fingerprint, split and size of the data.
        checkpoint: architecture, folder and fingerprint of the model.
        attack: the attack's identity (recipe, resources, seed, limits, versions), rows by status, and its shards.
        attributions: settings and folder of each attribution method, by name.
    """
    seen = config.attack.name if result.trained_on is not None else None
    dataset, architecture = data["name"], checkpoint["architecture"]
    published = paper.numbers(dataset, architecture, result.training, result.attack, seen)
    drawn = f"{result.n} texts" if not config.evaluation.sample else f"{result.n} texts drawn by the seed"
    return {
        "format": FORMAT,
        "model": {"training": result.training, "round": result.round, **checkpoint},
        "data": dict(data),
        "accuracy": _share(result.accuracy, data["texts"], published.accuracy),
        "after_attack_accuracy": {
            **_share(result.after_attack_accuracy, result.n, published.after_attack_accuracy),
            "attack": {"name": result.attack, "seen_in_training": result.trained_on, "sampling": drawn, **attack},
        },
        "attack_success_rate": result.attack_success_rate,
        "mean_queries": result.mean_queries,
        "words_changed": result.words_changed,
        "interpretations": {
            name: {
                **asdict(consistency),
                "sampling": _sampling(config, name),
                **attributions.get(name, {}),
                "paper": {
                    "dataset": paper.source(dataset),
                    "kendall_tau": published.kendall_tau.get(name),
                    "top_5": published.top_5.get(name),
                },
            }
            for name, consistency in result.interpretations.items()
        },
        "paper": {"dataset": paper.source(dataset), "standard": "shares in [0, 1]"},
        "seed": config.seed,
        "hardware": {
            "named": config.hardware,
            "training": config.training.device,
            "precision": config.training.precision,
            "attack": config.attack.device,
        },
        "versions": {name: metadata.version(name) for name in VERSIONS},
        "settings": dict(settings),
    }


def _share(value: float, n: int, published: float | None) -> dict[str, Any]:
    """A share, its standard error over n texts, and the paper's number."""
    return {"value": value, "n": n, "standard_error": math.sqrt(value * (1 - value) / n), "paper": published}


def _sampling(config: Config, method: str) -> str:
    count = getattr(config.evaluation, f"{method}_pairs")
    drawn = f"at most {count} of them, drawn by the seed" if count else "all of them"
    return f"pairs: {config.evaluation.pairs}; {drawn}"
