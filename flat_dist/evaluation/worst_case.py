"""The worst outcome of each text over several attacks on the same model, as AutoAttack counts it for images.

The rows of the attacks are merged into rows of an attack, so that everything that reads those reads these.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from flat_dist.config.attacks import file_name
from flat_dist.config.schema import Scores
from flat_dist.data.shards import MANIFEST, read_manifest, read_shards, with_metadata, write_manifest, write_shard
from flat_dist.models.artifact import ModelArtifact
from flat_dist.storage.arrow import write_table
from flat_dist.storage.folder import Folder
from flat_dist.storage.stage import Artifact, Output, Stage

ORDER = ("skipped", "successful", "timeout", "failed", "error")
"""Statuses, the worst for the model first. A text that could not be attacked counts as unchanged if another attack
could."""

ORIGINS = "origins"
"""Table that names the attack of each merged row."""


@dataclass(frozen=True)
class AttackPart:
    """One of the attacks that are merged."""

    attack: str
    scores: Scores
    shards: Artifact
    """Rows of `flat_dist.data.shards.SCHEMA`."""


def worst_case(tables: Sequence[pa.Table]) -> tuple[pa.Table, np.ndarray]:
    """The worst row of each text, and the number of the table that it is from.

    A text may be missing in some of the tables: those attacks left it unchanged. Of successful attacks the one that
    changed fewest words is taken; ties are broken by the order of the tables.

    Args:
        tables: rows of `flat_dist.data.shards.SCHEMA`, at least one table; the first one gives the order of texts.
    """
    rows = pa.concat_tables(tables).combine_chunks()
    chosen: dict[str, tuple[tuple[int, int], int]] = {}
    columns = (rows[name].to_pylist() for name in ("example_id", "status", "swaps"))
    for number, (example_id, status, swaps) in enumerate(zip(*columns, strict=True)):
        rank = ORDER.index(status), len(swaps) if status == "successful" else 0
        if example_id not in chosen or rank < chosen[example_id][0]:
            chosen[example_id] = rank, number
    numbers = np.array([number for _, number in chosen.values()], dtype=np.int64)
    ends = np.cumsum([table.num_rows for table in tables])
    return rows.take(numbers), np.searchsorted(ends, numbers, side="right")


def merge(parts: Sequence[AttackPart]) -> pa.Table:
    """The worst rows of attacks."""
    return worst_case([read_shards(part.shards.folder) for part in parts])[0]


def worst_case_stage(model: ModelArtifact, attack: str, parts: Sequence[AttackPart]) -> Stage:
    """The stage that merges attacks on a model, and writes the result as an attack's shards.

    Args:
        model: the model under attack.
        attack: name of the attack, or `WORST`.
        parts: the attacks; the first one has all texts.
    """
    merged = [[part.attack, part.scores, part.shards.fingerprint] for part in parts]

    def fill(folder: Folder) -> Output:
        rows, sources = worst_case([read_shards(part.shards.folder) for part in parts])
        identity = _identity(model, attack, parts)
        shard = write_shard(folder, 0, with_metadata(rows, identity))
        write_table(folder, ORIGINS, _origins(rows, parts, sources))
        write_manifest(folder, [shard], identity, {})
        return Output([shard.name, f"{ORIGINS}.arrow"], records=[MANIFEST])

    return Stage(
        name=f"worst-case-{file_name(attack)}",
        title=f"worst case of {attack} on {model.label}",
        inputs={"checkpoint": model.fingerprint, "recipe": attack, "parts": merged},
        fill=fill,
    )


def _origins(rows: pa.Table, parts: Sequence[AttackPart], sources: np.ndarray) -> pa.Table:
    attacks, scores = ([getattr(parts[source], name) for source in sources] for name in ("attack", "scores"))
    return pa.table({"example_id": rows["example_id"], "attack": attacks, "scores": scores})


def _identity(model: ModelArtifact, attack: str, parts: Sequence[AttackPart]) -> dict[str, Any]:
    """What the manifest says: what all parts have in common, and the parts by name."""
    manifests = [read_manifest(part.shards.folder) or {"identity": {}} for part in parts]
    first, *others = [manifest["identity"] for manifest in manifests]
    common = {name: value for name, value in first.items() if all(other.get(name) == value for other in others)}
    named = {f"{part.attack}, {part.scores}": part.shards.folder.name for part in parts}
    return {**common, "checkpoint": model.fingerprint, "recipe": attack, "parts": named}
