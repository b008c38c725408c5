"""How much a worker does at once, and what one example may cost."""

from dataclasses import dataclass

from flat_dist.config.schema import AttackConfig


@dataclass(frozen=True)
class Limits:
    """Plain values that travel to the workers; the first three change no result."""

    concurrent: int
    """Examples under attack at the same time."""
    batch_size: int
    """Texts that the victim sees at once on a GPU."""
    cache_size: int
    """Entries of each cache."""
    max_queries: int = 0
    """Texts that the victim may be asked about for one example; 0: no limit."""
    max_seconds: float = 0.0
    """Seconds that may be spent on one example; 0: no limit. A batch's time is shared out among its texts."""


DEFAULTS = {
    "cpu": {"words": Limits(64, 64, 0), "transformer": Limits(16, 64, 0)},
    "cuda": {"words": Limits(256, 1024, 0), "transformer": Limits(64, 256, 0)},
}
"""On a CPU a batch should stay in the processor's cache; on a GPU it should fill the processor. A transformer takes a
hundred times a word model's time, so that fewer examples should be in doubt when its worker dies."""

PER_UNIT = 4
"""Examples of a unit of work for each that is under attack at the same time: batches run empty only at its end."""


def resolve(config: AttackConfig, transformer: bool, device: str = "") -> Limits:
    """The limits that a configuration asks for, with the defaults of device and victim where it leaves them open."""
    default = DEFAULTS[device or config.device]["transformer" if transformer else "words"]
    return Limits(
        concurrent=config.concurrent or default.concurrent,
        batch_size=config.batch_size or default.batch_size,
        cache_size=config.cache_size,
        max_queries=config.max_queries,
        max_seconds=config.max_seconds,
    )


def unit_size(config: AttackConfig, limits: Limits) -> int:
    """Examples of a unit of work."""
    return config.unit_size or PER_UNIT * limits.concurrent
