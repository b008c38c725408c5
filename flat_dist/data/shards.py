"""Shards of attacked examples: the Arrow schema, and the manifest that is the only commit.

A shard's name ends in the hash of its content, so a restarted job can verify it without any other record. Readers use
only shards that the manifest lists.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa

from flat_dist.config.errors import UserError
from flat_dist.storage.arrow import PART, from_bytes, sha256, valid_parts, write_part
from flat_dist.storage.file_validation import DamagedFileError
from flat_dist.storage.folder import Folder

FORMAT = "flat_dist.shard/1"
MANIFEST = "manifest.json"
STATUSES = ("successful", "failed", "skipped", "timeout", "error")
"""Attack successful; attack failed; already misclassified; limit reached; could not be attacked."""

REMEDY = "run again the command that wrote it"

SWAP = pa.struct([("index", pa.int32()), ("original", pa.string()), ("substitute", pa.string())])

SCHEMA = pa.schema(
    [
        ("example_id", pa.string()),
        ("round", pa.int32()),
        ("label", pa.int32()),
        ("original_text", pa.string()),
        ("perturbed_text", pa.string()),
        ("status", pa.dictionary(pa.int8(), pa.string())),
        ("original_scores", pa.list_(pa.float32())),
        ("perturbed_scores", pa.list_(pa.float32())),
        ("swaps", pa.list_(SWAP)),
        ("num_queries", pa.int32()),
        ("error", pa.string()),
    ]
)


@dataclass(frozen=True)
class Example:
    """A clean example to attack."""

    example_id: str
    text: str
    label: int


@dataclass(frozen=True)
class Swap:
    """Words of the original, starting at word `index`, and their substitute; either may be empty."""

    index: int
    original: str
    substitute: str


@dataclass(frozen=True)
class Record:
    """One attacked example: the columns of `SCHEMA` without scores, which are predicted per shard."""

    example_id: str
    label: int
    original_text: str
    perturbed_text: str
    status: str
    swaps: tuple[Swap, ...] = ()
    num_queries: int | None = 0
    """None if not counted."""
    error: str | None = None


@dataclass(frozen=True)
class ShardInfo:
    """A shard in a manifest."""

    name: str
    rows: int
    sha256: str
    counts: Mapping[str, int] = field(default_factory=dict)


def to_table(
    records: Sequence[Record],
    original_scores: Sequence[Sequence[float] | None],
    perturbed_scores: Sequence[Sequence[float] | None],
    round_number: int,
    metadata: Mapping[str, Any],
) -> pa.Table:
    """Records and their scores (N, C), None if unknown, as a table of `SCHEMA`; `metadata` goes into its schema."""
    rows = [asdict(record) for record in records]
    columns: dict[str, Any] = (
        {name: [row[name] for row in rows] for name in rows[0]} if rows else {name: [] for name in SCHEMA.names}
    )
    columns |= {
        "round": [round_number] * len(rows),
        "original_scores": original_scores,
        "perturbed_scores": perturbed_scores,
        # The same dictionary in every shard, whatever its statuses.
        "status": pa.DictionaryArray.from_arrays(
            pa.array([STATUSES.index(record.status) for record in records], pa.int8()), pa.array(STATUSES)
        ),
    }
    return with_metadata(pa.table([columns[name] for name in SCHEMA.names], schema=SCHEMA), metadata)


def with_metadata(rows: pa.Table, metadata: Mapping[str, Any]) -> pa.Table:
    """Rows of `SCHEMA` whose schema says their format, and what made them."""
    encoded = {"format": FORMAT} | {key: json.dumps(value, sort_keys=True) for key, value in metadata.items()}
    return rows.replace_schema_metadata(encoded)


def write_shard(folder: Folder, unit: int, table: pa.Table) -> ShardInfo:
    """Write one unit's table as a zstd-compressed Arrow IPC file."""
    part = write_part(folder, unit, table)
    return ShardInfo(part.name, table.num_rows, part.sha256, count_statuses(table))


def count_statuses(table: pa.Table) -> dict[str, int]:
    """Rows of each status, in the order of `STATUSES`."""
    counted = Counter(table["status"].to_pylist())
    return {status: counted[status] for status in STATUSES if counted[status]}


def finished_units(folder: Folder, ids: Callable[[int], Sequence[str]], count: int) -> Iterator[tuple[int, ShardInfo]]:
    """Valid shards of an interrupted job, with the numbers of their units.

    Files whose content does not match the hash in the name, with other examples or another schema are removed.

    Args:
        folder: of the shards.
        ids: example ids of a unit.
        count: number of units.
    """

    def belongs(unit: int, table: pa.Table) -> bool:
        return unit < count and table["example_id"].to_pylist() == ids(unit)

    for part in valid_parts(folder, SCHEMA, belongs):
        yield part.number, ShardInfo(part.name, part.table.num_rows, part.sha256, count_statuses(part.table))


def write_manifest(
    folder: Folder, shards: Iterable[ShardInfo], identity: Mapping[str, Any], timings: Mapping[str, Any]
) -> None:
    """Write the manifest, which commits the shards."""
    infos = sorted(shards, key=lambda shard: shard.name)
    counts = Counter[str]()
    for shard in infos:
        counts.update(shard.counts)
    manifest = {
        "format": FORMAT,
        "identity": identity,
        "rows": sum(shard.rows for shard in infos),
        "counts": {status: counts[status] for status in STATUSES if counts[status]},
        "shards": [asdict(shard) for shard in infos],
        "timings": timings,
    }
    folder.write_json(MANIFEST, manifest)


@dataclass(frozen=True)
class _Manifest:
    """Fields of a manifest and their types."""

    format: str
    identity: dict[str, Any]
    rows: int
    counts: dict[str, int]
    shards: list[ShardInfo]
    timings: dict[str, Any]

    def is_consistent(self) -> bool:
        """Whether the counts agree and the shard names are valid."""
        counts = Counter[str]()
        for shard in self.shards:
            counts.update(shard.counts)
        return (
            self.format == FORMAT
            and all(PART.fullmatch(shard.name) for shard in self.shards)
            and all(sum(shard.counts.values()) == shard.rows for shard in self.shards)
            and self.rows == sum(shard.rows for shard in self.shards)
            and self.counts == dict(counts)
            and set(counts) <= set(STATUSES)
        )


def read_manifest(folder: Folder) -> dict[str, Any] | None:
    """The manifest; None if the stage is not finished or the file is damaged."""
    try:
        manifest: _Manifest = folder.read_json(MANIFEST, _Manifest)
    except (FileNotFoundError, DamagedFileError):
        return None
    return asdict(manifest) if manifest.is_consistent() else None


def read_counts(folder: Folder) -> dict[str, Any]:
    """What became of the candidates of a finished attack, as `CandidateCounts.to_dict` has it; empty if that was not
    counted. Of an attack that was interrupted, the counts are of the texts after the last interrupt."""
    counts: dict[str, Any] = ((read_manifest(folder) or {}).get("timings") or {}).get("candidates") or {}
    return counts


def read_shards(folder: Folder) -> pa.Table:
    """All rows of a finished attack stage, in the order of its plan.

    Raises:
        UserError: the stage is not finished, or a shard is missing or damaged.
    """
    manifest = read_manifest(folder)
    if manifest is None and folder.exists(MANIFEST):
        raise DamagedFileError(f"{folder.place(MANIFEST)} is damaged: {REMEDY}")
    if manifest is None:
        raise UserError(f"{folder.uri} has no {MANIFEST}: the attack that writes it has not finished")
    tables = [table.replace_schema_metadata(None) for table in _read(folder, manifest)]
    return pa.concat_tables(tables or [SCHEMA.empty_table()])


def _read(folder: Folder, manifest: Mapping[str, Any]) -> Iterator[pa.Table]:
    infos = [ShardInfo(**shard) for shard in manifest["shards"]]
    for info, data in zip(infos, _contents(folder, infos), strict=True):
        yield _table(folder, info, data)


def _contents(folder: Folder, infos: Sequence[ShardInfo]) -> Iterator[bytes]:
    try:
        yield from folder.read_many([info.name for info in infos])
    except FileNotFoundError as error:
        raise DamagedFileError(f"a shard is missing from {folder.uri}: {error}; {REMEDY}") from error


def _table(folder: Folder, info: ShardInfo, data: bytes) -> pa.Table:
    if sha256(data) != info.sha256:
        raise DamagedFileError(
            f"shard {info.name} in {folder.uri} is damaged: its sha256 does not match the manifest; {REMEDY}"
        )
    table = from_bytes(data, SCHEMA, folder.place(info.name), REMEDY)
    if table.num_rows != info.rows:
        raise DamagedFileError(
            f"shard {info.name} in {folder.uri} has {table.num_rows} rows, not {info.rows}; {REMEDY}"
        )
    return table
