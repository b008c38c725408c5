"""Stages: folders named by a hash of their config and inputs, so that what is finished is found again.

A stage is finished when its marker, which is written last, is there, names the inputs that it was asked for, and every
file that it lists has the content that it had. What is damaged is made again, under the stage's lock, and said to be.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from typing import Any

import pyarrow as pa

from flat_dist import assets
from flat_dist.attack.job import AttackJob
from flat_dist.attack.limits import DEFAULTS, resolve, unit_size
from flat_dist.attack.provenance import provenance
from flat_dist.config import Config, content_hash
from flat_dist.data import datasets
from flat_dist.data.checked import DamagedFileError
from flat_dist.data.datasets import SPLITS, Dataset
from flat_dist.data.storage import Folder
from flat_dist.data.tables import read_table, write_table
from flat_dist.lock import held
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models.encoders import TRANSFORMERS

VERSION = 2
"""Raised when a change of the code makes the results of older stages wrong."""

DONE = "stage.json"
"""The marker of a stage; stages with a manifest of their own need none."""

HASHED_AT_ONCE = 2**16
"""Example ids that are in memory at a time."""


def folder(storage: Folder, label: str, inputs: Mapping[str, Any]) -> Folder:
    """Where a stage with these inputs writes."""
    return storage / "stages" / f"{label}-{content_hash({'version': VERSION, **inputs})}"


@dataclass(frozen=True)
class Marker:
    """What a finished stage says of itself."""

    inputs: dict[str, Any]
    """What went into it."""
    files: dict[str, str]
    """sha256 of each file that it consists of."""
    notes: dict[str, Any] = field(default_factory=dict)
    """Said for people: nothing depends on it."""


def is_finished(target: Folder, inputs: Mapping[str, Any]) -> bool:
    """Whether a stage of these inputs is finished, and all of it is as it was; each file is read once in a process."""
    try:
        marker: Marker = target.read_json(DONE, Marker)
        return marker.inputs == _plain(inputs) and all(
            target.sha256(name) == digest for name, digest in marker.files.items()
        )
    except (FileNotFoundError, DamagedFileError):
        return False


def begin(target: Folder, inputs: Mapping[str, Any], say: Callable[[str], None]) -> bool:
    """Whether there is anything to do for a stage whose lock is held.

    If it was finished and is damaged, it is emptied first, and that is said. What an interrupted job left stays.
    """
    if is_finished(target, inputs):
        return False
    if target.exists(DONE):
        say(f"{target.uri} is damaged, or from an older version: it is made again")
        target.clear()
    return True


def commit(target: Folder, inputs: Mapping[str, Any], files: Sequence[str], **notes: Any) -> None:
    """Say that a stage is finished, and consists of these files."""
    hashes = {name: target.sha256(name) for name in files}
    target.write_json(DONE, asdict(Marker(_plain(inputs), hashes, notes)))
    target.clear_leftovers()


def _plain(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON gives them back."""
    plain: dict[str, Any] = json.loads(json.dumps(inputs))
    return plain


def dataset(storage: Folder, data: Dataset, say: Callable[[str], None] = lambda line: None) -> Folder:
    """The stage of a dataset's three splits, as Arrow tables that workers read; written if it is not there, or damaged.

    Args:
        storage: folder of the stages.
        data: the dataset.
        say: says a line.
    """
    target = folder(storage, "data", {"fingerprint": data.fingerprint})
    inputs = {"fingerprint": data.fingerprint, "label_names": data.label_names}
    if not is_finished(target, inputs):
        with held(target, "write the dataset", say):
            if begin(target, inputs, say):
                for split in SPLITS:
                    write_table(target, split, getattr(data, split))
                commit(target, inputs, [f"{split}.arrow" for split in SPLITS], source=data.source)
    return target


def read_dataset(target: Folder) -> Dataset:
    """The dataset that `dataset` left in a folder.

    Raises:
        DamagedFileError: it is not as it was left.
    """
    marker: Marker = target.read_json(DONE, Marker)
    splits = {split: read_table(target, split, datasets.SCHEMA) for split in SPLITS}
    return Dataset(**splits, label_names=tuple(marker.inputs["label_names"]), source=marker.notes["source"])


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
