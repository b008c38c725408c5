"""Explaining pairs as a stage that workers process in units of similar pairs. No Ray here."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from flat_dist.evaluation.attributions import SCHEMA, AttributionMethod
from flat_dist.scheduling.stage import ChunkedStage
from flat_dist.storage.arrow import PART, read_table, valid_parts, write_table
from flat_dist.storage.file_validation import DEFAULT_REMEDY, DamagedFileError
from flat_dist.storage.folder import Folder
from flat_dist.storage.stage import Output

PAIRS = "pairs"
"""Name of the table of a complete stage."""

UNIT, TRANSFORMER_UNIT = 32, 2
"""Pairs of a unit, which is what a crash of the driver may lose. A transformer takes a hundred times as long."""


@dataclass(frozen=True)
class AttributionJob:
    """What to explain pairs with, in plain values that travel to the workers."""

    checkpoint: str
    """Folder of the model."""
    method: AttributionMethod
    output: str
    """Folder of the stage."""
    device: str
    stall_seconds: float = 0.0
    """Seconds without progress after which a worker ends its process; 0: never."""


@dataclass(frozen=True)
class AttributionUnit:
    """A unit that is written."""

    table: pa.Table
    """Rows of `flat_dist.evaluation.attributions.SCHEMA`."""

    @property
    def counts(self) -> dict[str, int]:
        """Number of pairs that could not be explained."""
        return {"error": count_errors(self.table)}


@dataclass
class AttributionStage(ChunkedStage):
    """Pairs that one method explains, sorted by length: similar pairs share most of their work."""

    FAILED = "pairs could not be explained"

    job: AttributionJob
    places: list[int]
    """For each of the sorted pairs, its row in the result."""
    transformer: bool
    """Whether the model is a transformer."""
    commit: Callable[[Output], None]
    """Marks the folder as complete."""

    @property
    def folder(self) -> Folder:
        """The stage's folder."""
        return Folder(self.job.output)

    @property
    def unit_size(self) -> int:
        """Pairs of a unit."""
        return TRANSFORMER_UNIT if self.transformer else UNIT

    @property
    def smallest_chunk(self) -> int:
        """A unit: it is only split after a crash."""
        return self.unit_size

    def find_written(self) -> Iterable[tuple[int, AttributionUnit]]:
        """Undamaged units of an interrupted run."""

        def belongs(number: int, pairs: pa.Table) -> bool:
            if number >= self.total:
                return False
            expected: list[str] = self.rows(self.unit(number))["example_id"].to_pylist()
            return expected == pairs["pair_id"].to_pylist()

        for part in valid_parts(self.folder, SCHEMA, belongs):
            yield part.number, AttributionUnit(part.table)

    def error_result(self, row: Mapping[str, Any], cause: str) -> tuple[str, dict[str, Any]]:
        """A row without attributions."""
        name = row["example_id"]
        return name, {"pair_id": name, "label": row["label"], "status": row["status"], "error": cause}

    def finish(self) -> None:
        """Write all pairs as one table, in their original order, and remove the units."""
        tables = [self.written[number].table for number in range(self.total)]
        order = sorted(range(len(self.places)), key=self.places.__getitem__)
        pairs = pa.concat_tables([SCHEMA.empty_table(), *tables])
        write_table(self.folder, PAIRS, pairs.take(pa.array(order, pa.int64())))
        self.commit(Output([f"{PAIRS}.arrow"], after_commit=self._remove_units))

    def _remove_units(self) -> None:
        for name in self.folder.names():
            if PART.fullmatch(name):
                self.folder.delete(name)


def attribution_stage(
    title: str, job: AttributionJob, pairs: pa.Table, transformer: bool, commit: Callable[[Output], None]
) -> AttributionStage:
    """The stage that explains pairs.

    Args:
        title: of the stage, for messages.
        job: the model and the method.
        pairs: rows of `flat_dist.data.shards.SCHEMA`.
        transformer: whether the model is a transformer; its units are smaller.
        commit: marks the folder as complete.
    """
    words = [text.count(" ") for text in pairs["original_text"].to_pylist()]
    places = sorted(range(len(words)), key=lambda row: -words[row])
    examples = pairs.take(pa.array(places, pa.int64()))
    return AttributionStage(title, job, examples, places, transformer, commit)


def read_pairs(folder: Folder) -> pa.Table:
    """The table of a complete stage; those of older versions get an empty column error.

    Raises:
        FileNotFoundError: the stage is not complete.
        DamagedFileError: the table is damaged, or has another schema.
    """
    table = read_table(folder, PAIRS)
    if "error" not in table.schema.names:
        table = table.append_column(SCHEMA.field("error"), pa.nulls(table.num_rows, pa.string()))
    if not table.schema.equals(SCHEMA):
        raise DamagedFileError(
            f"{folder.place(f'{PAIRS}.arrow')} is a table of another schema, {table.schema.names}: {DEFAULT_REMEDY}"
        )
    return table


def count_errors(pairs: pa.Table) -> int:
    """Number of pairs that could not be explained."""
    return pairs.num_rows - pairs["error"].null_count


def without_errors(pairs: pa.Table) -> pa.Table:
    """The pairs that could be explained."""
    return pairs.filter(pc.is_null(pairs["error"]))
