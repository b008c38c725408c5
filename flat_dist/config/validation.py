"""Checks the values of a config."""

import dataclasses
import math
from collections.abc import Container, Iterator
from typing import Any

from flat_dist.config import attacks
from flat_dist.config.choices import choices
from flat_dist.config.errors import UserError, check_text, option, unknown
from flat_dist.config.schema import Config, SubstitutesConfig

LOWEST: dict[str, float] = {
    "data.max_length": 1,
    "data.min_frequency": 0,
    "model.embedding_dim": 1,
    "model.kernels": 1,
    "model.kernel_widths": 1,
    "model.hidden_size": 1,
    "model.mask_hidden_size": 1,
    "model.group_masks": 0,
    "objective.beta": 0,
    "objective.gamma": 0,
    "objective.adversarial_weight": 0,
    "objective.initial_beta": 0,
    "objective.beta_decay": 0,
    "substitutes.candidates": 1,
    "substitutes.smoothing": 0,
    "substitutes.steps": 1,
    "training.rounds": 0,
    "training.epochs": 1,
    "training.epochs_per_round": 1,
    "training.batch_size": 1,
    "training.clip": 0,
    "training.round_clip": 0,
    "training.adv_learning_rate": 0,
    "training.flat_learning_rate": 0,
    "training.mask_learning_rate": 0,
    "training.weight_decay": 0,
    "training.buckets": 1,
    "training.workers": 1,
    "training.cpus_per_worker": 1,
    "training.micro_batch": 0,
    "training.memory_gib": 0,
    "attack.sample": 0,
    "attack.neighbours": 0,
    "attack.unit_size": 0,
    "attack.concurrent": 0,
    "attack.batch_size": 0,
    "attack.cache_size": 1024,
    "attack.max_queries": 0,
    "attack.max_seconds": 0,
    "attack.stall_seconds": 0,
    "attack.max_failures": 0,
    "attack.temperature": 0.01,
    "attack.workers": 0,
    "attack.cpu_workers": 0,
    "evaluation.sample": 0,
    "evaluation.neighbours": 1,
    "evaluation.ig_pairs": 0,
    "evaluation.ig_steps": 1,
    "evaluation.lime_pairs": 0,
    "evaluation.lime_samples": 10,
    "seed": 0,
}
"""Numeric fields, and the minimum of each."""

HIGHEST = 2**31 - 1
"""The maximum of whole numbers: all libraries in use accept it."""

HIGHEST_SEED = 2**32 - 1
"""The maximum seed of NumPy."""

FILLED = ("training.kinds", "model.kernel_widths", "evaluation.attacks", "evaluation.scores")
"""Lists that must not be empty."""

DISTINCT = (
    "training.kinds",
    "training.freeze_embeddings",
    "evaluation.attacks",
    "evaluation.scores",
    "evaluation.explain",
    "evaluation.neighbours",
)
"""Lists that must not contain a value twice."""

POSITIVE = (
    "model.temperature",
    "training.learning_rate",
    "training.round_learning_rate",
    "attack.max_changed",
    "evaluation.lime_kernel_width",
)
"""Numeric fields that must be above zero."""

BELOW_ONE = (
    "model.dropout",
    "model.encoder_dropout",
    "training.warmup",
    "training.word_dropout",
    "model.initial_importance",
    "substitutes.warmup",
    "attack.gpus_per_worker",
)
"""Fields that must be at least 0 and below 1."""

MOST: dict[str, float] = {"attack.max_changed": 1, "substitutes.smoothing": 1, "attack.temperature": 1000}
"""Numeric fields with a maximum of their own. Beyond the limits of the temperature, float32 makes ties of different
probabilities, or has no number for a logit: predictions would change."""

ATTACK_NAMES = ("attack.name", "evaluation.attacks")
"""Fields that name attacks."""

SHARES = ("substitutes.positions", "substitutes.share")
"""Fields that must be above 0 and at most 1."""

SUBSTITUTES = {"steps": ("gradient", "both"), "share": ("both",)}
"""Values of `training.adversaries` with which a field of `substitutes` has an effect. The other fields have one with
all values but attack."""


OWN_OF_CLASSIFIER = (
    "data.max_length",
    "model.dropout",
    "model.encoder_dropout",
    "model.pooling",
    "training.epochs",
    "training.learning_rate",
    "training.init",
)
"""Fields that a fine-tuned classifier decides itself, or that are about the training that it has behind it."""


def validate(config: Config) -> None:
    """Raise UserError for the first field with an invalid value."""
    for name, value in _fields(config):
        if (allowed := choices(name)) and value not in allowed:
            raise unknown(f"value of {option(name)}", str(value), allowed)
        if name == "evaluation.attacks" and value == attacks.ALL:
            raise UserError(f"{option(name)} {value} is only for flat-dist evaluate: name the attacks")
        if name in ATTACK_NAMES:
            attacks.check(value, f"value of {option(name)}")
        if isinstance(value, str):
            check_text(option(name), value)
        elif isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{option(name)} is {value}, but must be a finite number")
        elif isinstance(value, int) and value > (most := HIGHEST_SEED if name == "seed" else HIGHEST):
            raise UserError(f"{option(name)} must be at most {most}")
    for name in FILLED:
        if not _values(config, name):
            raise UserError(f"{option(name)} is empty: name at least one value")
    for name in DISTINCT:
        if len(set(values := _values(config, name))) < len(values):
            raise UserError(f"{option(name)} contains a value twice ({', '.join(map(str, values))}): name each once")
    for name, least in LOWEST.items():
        for value in _values(config, name):
            if value is not None and (not math.isfinite(value) or value < least):
                raise UserError(f"{option(name)} is {value}, but must be at least {least}")
    for name in POSITIVE:
        for value in _values(config, name):
            if not math.isfinite(value) or value <= 0:
                raise UserError(f"{option(name)} is {value}, but must be above 0")
    for name, limit in MOST.items():
        for value in _values(config, name):
            if value > limit:
                raise UserError(f"{option(name)} is {value}, but must be at most {limit:g}")
    for name in BELOW_ONE:
        for value in _values(config, name):
            if value is not None and not 0 <= value < 1:
                raise UserError(f"{option(name)} is {value}, but must be at least 0 and below 1")
    for name in SHARES:
        for value in _values(config, name):
            if not 0 < value <= 1:
                raise UserError(f"{option(name)} is {value}, but must be above 0 and at most 1")
    _check_target(config)


def _check_target(config: Config) -> None:
    """Raise UserError if adversarial texts should follow the prediction on clean texts that are not beside them."""
    if config.objective.adversarial_target == "label":
        return
    needs = "--objective.adversarial-target prediction compares each text with its own substitutes: it needs"
    if config.training.adversaries in ("attack", "both"):
        raise UserError(f"{needs} --training.adversaries gradient or random, not {config.training.adversaries}")
    if config.objective.weighting == "union":
        raise UserError(f"{needs} --objective.weighting balanced, not union")


def check_effect(config: Config, given: Container[str]) -> None:
    """Raise UserError for an option that is given, but has no effect: one of `substitutes`, or of a classifier.

    Args:
        config: with the options that are given.
        given: their names, such as --substitutes.share. A preset may set such fields for other adversaries.
    """
    for name in map(option, OWN_OF_CLASSIFIER if config.model.name == "classifier" else ()):
        if name in given:
            raise UserError(
                f"{name} has no effect with --model.name classifier, which is used as it is before the first round: "
                "leave it out"
            )
    adversaries = config.training.adversaries
    for one in dataclasses.fields(SubstitutesConfig):
        used_by = SUBSTITUTES.get(one.name, ("gradient", "random", "both"))
        name = option(f"substitutes.{one.name}")
        if name not in given:
            continue
        if adversaries not in used_by:
            raise UserError(
                f"{name} has no effect with --training.adversaries {adversaries}: leave it out, or choose "
                f"{' or '.join(used_by)}"
            )
        if one.name == "share" and config.objective.weighting == "union":
            raise UserError(f"{name} has no effect with --objective.weighting union: leave it out, or choose balanced")


def _fields(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Name and value of every field of a dataclass; one pair for each value of a list."""
    for one in dataclasses.fields(config):
        value, name = getattr(config, one.name), f"{prefix}{one.name}"
        if dataclasses.is_dataclass(value):
            yield from _fields(value, f"{name}.")
        else:
            yield from ((name, item) for item in (value if isinstance(value, tuple) else (value,)))


def _values(config: Config, name: str) -> tuple[Any, ...]:
    value: Any = config
    for part in name.split("."):
        value = getattr(value, part)
    return value if isinstance(value, tuple) else (value,)
