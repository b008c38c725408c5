"""How strong an attack is: candidates of a word, words that may change, queries. Plain values, without TextAttack."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from flat_dist.config.attacks import entry_of
from flat_dist.config.errors import UserError
from flat_dist.config.schema import AttackConfig, AttackSetting

LI2021_NEIGHBOURS = 50
"""Candidates of a word in Li et al. 2021, and victim queries for each word of a text: an attack may ask about as many
texts as the text has swaps of one word. (TextDefender passes query_budget=50, which its copy of TextAttack multiplies
by the number of words.)"""

LI2021_CHANGED, LI2021_CHANGED_IMDB = 0.3, 0.1
"""Largest share of a text's words that may change in Li et al. 2021; their texts of IMDB are long."""


@dataclass(frozen=True)
class Strength:
    """Limits of an attack beyond those of its recipe."""

    setting: AttackSetting = "original"
    neighbours: int = 0
    """Maximum number of candidates of a word; 0: as many as the recipe has."""
    max_changed: float = 1.0
    """Largest share of a text's words that may change; 1: no limit."""
    queries_per_word: int = 0
    """Maximum number of victim queries for each word of a text; 0: no limit."""

    def describe(self) -> str:
        """In words, after the name of an attack; empty for the attack's own strength."""
        parts = ["constraints of Li et al. 2021"] if self.setting == "li2021" else []
        if self.neighbours:
            parts.append(f"{self.neighbours} neighbours a word")
        if self.max_changed < 1:
            parts.append(f"at most {100 * self.max_changed:g} % of words changed")
        return "".join(f", {part}" for part in parts)

    def values(self) -> dict[str, Any]:
        """Plain values for manifests and shards."""
        return asdict(self)


def resolve_strength(config: AttackConfig, dataset: str | None, recipe: str) -> Strength:
    """The strength of an attack. Under li2021, smaller values of the config hold.

    Args:
        config: of the attack.
        dataset: the named dataset, such as imdb; None for other data.
        recipe: the attack's name, without an order of words.

    Raises:
        UserError: the config limits an attack whose candidates cannot be limited.
    """
    entry = entry_of(recipe)
    if not entry.has_strength and (config.setting, config.neighbours, config.max_changed) != ("original", 0, 1.0):
        raise UserError(
            f"--attack.setting, --attack.neighbours and --attack.max-changed do not hold for {recipe}, whose "
            "candidates and constraints are its own: leave them out, or choose textfooler or pwws"
        )
    if config.setting == "original":
        limits = config.neighbours < (entry.own_candidates or math.inf)
        return Strength("original", config.neighbours if limits else 0, config.max_changed)
    changed = LI2021_CHANGED_IMDB if dataset == "imdb" else LI2021_CHANGED
    neighbours = min(config.neighbours or LI2021_NEIGHBOURS, LI2021_NEIGHBOURS)
    return Strength(
        setting="li2021",
        neighbours=neighbours,
        max_changed=min(config.max_changed, changed),
        queries_per_word=neighbours,
    )
