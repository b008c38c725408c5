"""JSON cards: one for each result, with its numbers and how they were computed."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import metadata
from typing import Any

from flat_dist.config.schema import Config
from flat_dist.evaluation.result import Result
from flat_dist.evaluation.significance import Comparison, Interval
from flat_dist.report import paper
from flat_dist.report.formatting import standard_error

FORMAT = "flat_dist.card/1"

VERSIONS = ("flat_dist", "torch", "transformers", "textattack", "captum", "lime", "scikit-learn", "scipy", "ray")
"""Packages that the numbers depend on."""


@dataclass(frozen=True)
class Origin:
    """The data, model, attack and attributions behind a result, as plain values."""

    data: Mapping[str, Any]
    """Name, source, fingerprint, split and size of the data."""
    checkpoint: Mapping[str, Any]
    """Architecture, folder and fingerprint of the model."""
    attack: Mapping[str, Any]
    """Identity of the attack (recipe, resources, seed, limits, versions), rows by status, and its shards."""
    attributions: Mapping[str, Mapping[str, Any]]
    """Settings and folder of each attribution method, by name."""
    validity: Mapping[str, Any] = field(default_factory=dict)
    """Sources of the sentence encoder and of the language model."""


def card(config: Config, settings: Mapping[str, Any], result: Result, origin: Origin) -> dict[str, Any]:
    """The card of a result, as plain values.

    Args:
        config: settings and hardware of the measurement.
        settings: everything that the results depend on.
        result: the numbers.
        origin: what they were measured on.
    """
    seen = config.attack.name if result.trained_on is not None else None
    dataset = origin.data["name"]
    published = paper.numbers(dataset, origin.checkpoint["architecture"], result.training, result.attack, seen)
    return {
        "format": FORMAT,
        "model": {"training": result.training, "round": result.round, **origin.checkpoint},
        "data": dict(origin.data),
        "accuracy": {
            **_share(result.accuracy, origin.data["texts"], published.accuracy),
            **_compared(result.accuracy_interval, result.accuracy_comparisons),
        },
        "after_attack_accuracy": {
            **_share(result.after_attack_accuracy, result.n, published.after_attack_accuracy),
            "probabilities": result.after_attack_accuracy_probabilities,
            **_compared(result.after_attack_interval, result.comparisons),
            "attack": _attack(config, result, origin),
        },
        "macro_f1": result.macro_f1,
        "by_class": {name: asdict(one) for name, one in result.by_class.items()},
        "by_changed_words": result.by_changed_words,
        "by_neighbours": result.by_neighbours,
        "saturated": result.saturated,
        "failed_unchanged": result.failed_unchanged,
        "attack_success_rate": result.attack_success_rate,
        "mean_queries": result.mean_queries,
        "words_changed": result.words_changed,
        "validity": {which: asdict(found) for which, found in result.validity.items()} | _measured_with(result, origin),
        "interpretations": _interpretations(config, result, origin, published),
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


def _measured_with(result: Result, origin: Origin) -> dict[str, Any]:
    return {"measured_with": dict(origin.validity)} if result.validity else {}


def _attack(config: Config, result: Result, origin: Origin) -> dict[str, Any]:
    sampling = f"{result.n} texts drawn by the seed" if config.evaluation.sample else f"{result.n} texts"
    return {"name": result.attack, "seen_in_training": result.trained_on, "sampling": sampling, **origin.attack}


def _interpretations(config: Config, result: Result, origin: Origin, published: paper.Numbers) -> dict[str, Any]:
    return {
        name: {
            **asdict(interpretation),
            "sampling": _sampling(config, name),
            **origin.attributions.get(name, {}),
            "paper": {
                "dataset": paper.source(origin.data["name"]),
                "kendall_tau": published.kendall_tau.get(name),
                "top_5": published.top_5.get(name),
                "texts": "all test texts: compare with all_texts",
            },
        }
        for name, interpretation in result.interpretations.items()
    }


def _share(value: float | None, n: int, published: float | None) -> dict[str, Any]:
    """A share, its standard error over n texts, and the paper's number."""
    return {"value": value, "n": n, "standard_error": standard_error(value, n), "paper": published}


def _compared(interval: Interval | None, comparisons: Mapping[str, Comparison]) -> dict[str, Any]:
    """The 95 % interval over texts, and the comparisons with other models by their names."""
    return {
        "interval": interval and asdict(interval),
        "compared_with": {name: asdict(compared) for name, compared in comparisons.items()},
    }


def _sampling(config: Config, method: str) -> str:
    count = getattr(config.evaluation, f"{method}_pairs")
    drawn = f"at most {count} of them, drawn by the seed, first those that the attack changed for all models"
    sampling = drawn if count else "all of them"
    return f"pairs: {config.evaluation.pairs}; {sampling}"
