"""Does the growing dataset pay? Adv and FLAT round by round, on three sources of adversarial texts.

- attack: in each round all training texts are attacked, and training has the attacked texts of all rounds so far.
- gradient: training makes substitutes on the fly. Nothing else differs.
- smoothed: gradient, from word vectors smoothed over the substitutes, as the recipe has it. Attacked texts have no such
  start, so that this source alone does not say what growing data is worth.

A step has as many adversarial texts as clean ones from each source, so that after the same round all have had the same
number of steps and of texts: that is the equal compute. How long it took is in the card, too.
"""

from collections.abc import Mapping
from dataclasses import replace

from flat_dist.config.schema import Config

SOURCES: Mapping[str, str] = {"attack": "attacked texts", "gradient": "on the fly", "smoothed": "on the fly, smoothed"}
"""What the page calls a source of adversarial texts."""

EQUAL_COMPUTE = "optimiser steps, each with as many adversarial texts as clean ones; attacks are not counted"
"""What models of the same round have in common."""


def configs(config: Config) -> dict[str, Config]:
    """The config of each source, made of a cell's config, which is that of smoothed."""
    gradient = replace(config, substitutes=replace(config.substitutes, smoothing=0.0))
    attack = replace(gradient, training=replace(config.training, adversaries="attack"))
    return dict(zip(SOURCES, (attack, gradient, config), strict=True))


def row_of(kind: str, source: str, number: int) -> str:
    """Name of a model in the card: base, or kind of training, source and round, such as flat-attack-2."""
    return f"{kind}-{source}-{number}" if number else "base"
