"""How many examples a worker attacks at the same time, and the maximum cost of one example."""

from dataclasses import dataclass

from flat_dist.config.attacks import max_queries
from flat_dist.config.schema import AttackConfig


@dataclass(frozen=True)
class Limits:
    """Plain values that travel to the workers. `concurrent` and `cache_size` do not change results."""

    concurrent: int
    """Examples under attack at the same time."""
    batch_size: int
    """Texts in one batch of the victim, on a GPU. It changes scores in the last digits."""
    cache_size: int
    """Entries of each cache."""
    max_queries: int = 0
    """Maximum number of victim queries per example; 0: no limit."""
    max_seconds: float = 0.0
    """Maximum number of seconds per example; 0: no limit. Each text of a batch counts an equal share of its time."""
    queries_per_word: int = 0
    """Maximum number of victim queries for each word of an example; 0: no limit."""

    def queries(self, words: int) -> int:
        """Maximum number of victim queries for a text with this many words; 0: no limit. An empty text counts as one
        word."""
        limits = (self.max_queries, self.queries_per_word * max(words, 1))
        return min((limit for limit in limits if limit), default=0)


DEFAULTS = {
    "cpu": {"words": Limits(64, 64, 0), "transformer": Limits(16, 64, 0)},
    "cuda": {"words": Limits(256, 1024, 0), "transformer": Limits(64, 256, 0)},
}
"""On a CPU, a batch should fit into the processor's cache; on a GPU, it should use the whole processor. A transformer
takes a hundred times as long as a word model, so its chunks are smaller: less work is lost when a worker crashes."""

ONE_BY_ONE = 4
"""`concurrent` where TextAttack itself attacks text by text. It is slow, so units are small: less work is lost."""

PER_UNIT = 4
"""Examples of a unit, as a multiple of those under attack at the same time: only the last batches are not full."""


def resolve(
    config: AttackConfig, transformer: bool, device: str = "", one_by_one: bool = False, attack: str = ""
) -> Limits:
    """The limits of a config; where it has none, the defaults for the device and the kind of victim.

    Args:
        config: of the attack.
        transformer: whether the victim is one.
        device: cpu or cuda; empty: that of the config.
        one_by_one: whether TextAttack itself attacks.
        attack: name or path, which decides how many queries there are by default; empty: that of the config.
    """
    default = DEFAULTS[device or config.device]["transformer" if transformer else "words"]
    return Limits(
        concurrent=config.concurrent or (ONE_BY_ONE if one_by_one else default.concurrent),
        batch_size=config.batch_size or default.batch_size,
        cache_size=config.cache_size,
        max_queries=max_queries(attack or config.name, config.max_queries),
        max_seconds=config.max_seconds,
    )


def unit_size(config: AttackConfig, limits: Limits) -> int:
    """Examples of a unit, which becomes one shard."""
    return config.unit_size or PER_UNIT * limits.concurrent
