"""Stages: folders named by a hash of their config and inputs, so that what is finished is found again."""

import hashlib
import json
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import pyarrow as pa

from flat_dist import assets
from flat_dist.attack.job import AttackJob
from flat_dist.attack.limits import DEFAULTS, resolve, unit_size
from flat_dist.attack.provenance import provenance
from flat_dist.config import Config, content_hash
from flat_dist.data.datasets import SPLITS, Dataset
from flat_dist.data.storage import Folder
from flat_dist.data.tables import read_table, write_table
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models.encoders import TRANSFORMERS

VERSION = 1
"""Raised when a change of the code makes the results of older stages wrong."""

DONE = "stage.json"
"""Written last into a stage's folder, with what went into it; stages with a manifest of their own need none."""

HASHED_AT_ONCE = 2**16
"""Example ids that are in memory at a time."""


def folder(storage: Folder, label: str, inputs: Mapping[str, Any]) -> Folder:
    """Where a stage with these inputs writes."""
    return storage / "stages" / f"{label}-{content_hash({'version': VERSION, **inputs})}"


def dataset(storage: Folder, data: Dataset) -> Folder:
    """The stage of a dataset's three splits, as Arrow tables that workers read; written if it is not there."""
    target = folder(storage, "data", {"fingerprint": data.fingerprint})
    if not target.exists(DONE):
        for split in SPLITS:
            write_table(target, split, getattr(data, split))
        described = {name: getattr(data, name) for name in ("fingerprint", "label_names", "source")}
        target.write_json(DONE, described)
    return target


def read_dataset(folder: Folder) -> Dataset:
    """The dataset that `dataset` left in a folder."""
    described = folder.read_json(DONE)
    splits = {split: read_table(folder, split) for split in SPLITS}
    return Dataset(**splits, label_names=tuple(described["label_names"]), source=described["source"])


def attack(
    config: Config, storage: Folder, checkpoint: Folder, examples: pa.Table, data: str, recipe: str, number: int
) -> AttackJob:
    """The job of attacking examples.

    Args:
        config: seed, and settings of the attack.
        storage: folder of the run's stages.
        checkpoint: folder of the victim.
        examples: columns example_id, text and label.
        data: fingerprint of the dataset they are from.
        recipe: name of the attack.
        number: round, 0 for attacks that only measure.

    Raises:
        UserError: the checkpoint or the synonyms cannot be read.
    """
    transformer = checkpoints.describe(checkpoint)["model"]["name"] in TRANSFORMERS
    limits = resolve(config.attack, transformer)
    size = unit_size(config.attack, limits)
    identity = {
        "recipe": recipe,
        "resources": provenance(recipe, config.attack.synonyms, assets.prepare()),
        "checkpoint": checkpoints.fingerprint(checkpoint),
        "seed": config.seed,
        "limits": {"queries": limits.max_queries, "seconds": limits.max_seconds},
        "versions": {name: metadata.version(name) for name in ("textattack", "torch", "nltk")},
    }
    attacked = content_hash([_hash(examples["example_id"]), data])
    inputs = {**identity, "examples": attacked, "unit_size": size, "round": number}
    return AttackJob(
        recipe=recipe,
        checkpoint=checkpoint.uri,
        synonyms=config.attack.synonyms,
        output=folder(storage, f"attack-{recipe}", inputs).uri,
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
