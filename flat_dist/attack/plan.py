"""An attack stage in plain values, which travel to the workers."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import pyarrow as pa

from flat_dist.attack.limits import DEFAULTS, Limits, resolve, unit_size
from flat_dist.config.schema import Config
from flat_dist.config.serialization import content_hash
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models.encoders import TRANSFORMERS
from flat_dist.resources import assets
from flat_dist.resources.provenance import provenance
from flat_dist.storage.folder import Folder
from flat_dist.storage.stage import folder


@dataclass(frozen=True)
class AttackJob:
    """What to attack with which attack, and where the shards go."""

    attack: str
    """Its name, such as pwws."""
    checkpoint: str
    """Folder of the victim."""
    synonyms: str
    """Where TextFooler's neighbours come from; see `flat_dist.resources.synonyms`."""
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
    """Attack (under the key "recipe"), resources, checkpoint hash, seed and versions, as written into every shard."""
    stall_seconds: float = 0.0
    """Seconds without progress after which a worker ends its process; 0: never."""


HASHED_AT_ONCE = 2**16
"""Example ids that are in memory at a time."""


def attack(
    config: Config, storage: Folder, checkpoint: Folder, examples: pa.Table, data: str, attack: str, number: int
) -> AttackJob:
    """The job of attacking examples.

    Args:
        config: seed, and settings of the attack.
        storage: folder of the run's stages.
        checkpoint: folder of the victim.
        examples: columns example_id, text and label.
        data: fingerprint of the dataset they are from.
        attack: name of the attack.
        number: round, 0 for attacks that only measure.

    Raises:
        UserError: the checkpoint or the synonyms cannot be read.
    """
    transformer = checkpoints.describe(checkpoint)["model"]["name"] in TRANSFORMERS
    limits = resolve(config.attack, transformer)
    size = unit_size(config.attack, limits)
    identity = {
        "recipe": attack,
        "resources": provenance(attack, config.attack.synonyms, assets.prepare()),
        "checkpoint": checkpoints.fingerprint(checkpoint),
        "seed": config.seed,
        "limits": {"queries": limits.max_queries, "seconds": limits.max_seconds},
        "versions": {name: metadata.version(name) for name in ("textattack", "torch", "nltk")},
    }
    attacked = content_hash([_hash(examples["example_id"]), data])
    inputs = {**identity, "examples": attacked, "unit_size": size, "round": number}
    return AttackJob(
        attack=attack,
        checkpoint=checkpoint.uri,
        synonyms=config.attack.synonyms,
        output=folder(storage, f"attack-{attack}", inputs).uri,
        round_number=number,
        seed=config.seed,
        device=config.attack.device,
        limits={device: resolve(config.attack, transformer, device) for device in DEFAULTS},
        unit_size=size,
        identity=identity,
        stall_seconds=config.attack.stall_seconds,
    )


def _hash(ids: pa.ChunkedArray) -> str:
    """A hash of a column of strings, some at a time: as Python's own strings, millions take gigabytes."""
    digest = hashlib.sha256()
    for start in range(0, len(ids), HASHED_AT_ONCE):
        digest.update(json.dumps(ids.slice(start, HASHED_AT_ONCE).to_pylist()).encode())
    return digest.hexdigest()
