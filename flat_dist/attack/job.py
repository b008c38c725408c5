"""An attack stage in plain values, which travel to the workers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flat_dist.attack.limits import Limits


@dataclass(frozen=True)
class AttackJob:
    """What to attack with which recipe, and where the shards go."""

    recipe: str
    checkpoint: str
    """Folder of the victim."""
    synonyms: str
    """Where TextFooler's neighbours come from; see `flat_dist.attack.synonyms`."""
    output: str
    """Folder of the shards."""
    round_number: int
    """0 for attacks that only measure."""
    seed: int
    device: str
    limits: Mapping[str, Limits]
    """How much at once, by device."""
    unit_size: int
    """Examples of a unit of work, which becomes one shard."""
    identity: Mapping[str, Any]
    """Recipe, resources, checkpoint hash, seed and versions, as written into every shard."""
    stall_seconds: float = 0.0
    """Seconds without progress after which a worker ends its process; 0: never."""
