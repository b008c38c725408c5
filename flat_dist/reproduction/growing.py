"""Does the growing dataset pay? Adv and FLAT round by round, on two sources of adversarial texts.

In each round all training texts are attacked, and training has the attacked texts of all rounds so far (source attack);
or training makes substitutes on the fly (source gradient). Nothing else differs. A step has as many adversarial texts
as clean ones from either source, so that after the same round both have had the same number of steps and of texts:
that is the equal compute. How long it took is in the card, too.
"""

from collections.abc import Mapping
from dataclasses import replace

from flat_dist.config.schema import Adversaries, Config

SOURCES: Mapping[Adversaries, str] = {"attack": "attacked texts", "gradient": "on the fly"}
"""Where adversarial texts of training come from, and what the page calls it."""

EQUAL_COMPUTE = "optimiser steps, each with as many adversarial texts as clean ones; attacks are not counted"
"""What models of the same round have in common."""


def configs(config: Config) -> list[Config]:
    """The configs of the sources: they differ in `training.adversaries` alone."""
    return [replace(config, training=replace(config.training, adversaries=source)) for source in SOURCES]


def row_of(kind: str, source: str, number: int) -> str:
    """Name of a model in the card: base, or kind of training, source and round, such as flat-attack-2."""
    return f"{kind}-{source}-{number}" if number else "base"
