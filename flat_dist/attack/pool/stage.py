"""An attack stage: what the scheduler needs to know of it. Each unit becomes one shard."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc

from flat_dist.attack import candidate_counts
from flat_dist.attack.plan import AttackJob
from flat_dist.data.shards import MANIFEST, Record, ShardInfo, finished_units, write_manifest
from flat_dist.scheduling.stage import ChunkedStage
from flat_dist.scheduling.work_queue import Chunk
from flat_dist.storage.folder import Folder
from flat_dist.storage.stage import Output


@dataclass
class AttackStage(ChunkedStage):
    """An attack job with the examples that it attacks; columns example_id, text and label."""

    FAILED = "examples could not be attacked"

    job: AttackJob
    commit: Callable[[Output], None] = lambda output: None
    """Marks the folder as complete."""

    @property
    def folder(self) -> Folder:
        """Folder of the shards."""
        return Folder(self.job.output)

    @property
    def unit_size(self) -> int:
        """Examples of a shard."""
        return self.job.unit_size

    @property
    def smallest_chunk(self) -> int:
        """Half of the examples that a worker attacks at the same time."""
        return max(1, self.job.limits[self.job.device].concurrent // 2)

    def find_written(self) -> Iterable[tuple[int, ShardInfo]]:
        """Undamaged shards of an interrupted run."""
        return finished_units(
            self.folder, lambda unit: self.rows(self.unit(unit))["example_id"].to_pylist(), self.total
        )

    def cost(self, unit: Chunk) -> float:
        """Relative cost of attacking a unit: a text of n words takes about n queries of n words each."""
        words = pc.count_substring(self.rows(unit)["text"], " ").to_numpy().astype(np.float64) + 1
        return float(words @ words)

    def error_result(self, row: Mapping[str, Any], cause: str) -> tuple[str, Record]:
        """A record with status error."""
        record = Record(row["example_id"], row["label"], row["text"], row["text"], "error", error=cause)
        return record.example_id, record

    def facts(self) -> dict[str, Any]:
        """The share of successful attacks so far."""
        attacked = sum(self.counts[status] for status in ("successful", "failed", "timeout"))
        return {"success_rate": round(self.counts["successful"] / attacked, 4) if attacked else None}

    def finish(self) -> None:
        """Write the manifest, and commit the folder."""
        counts = candidate_counts.from_flat(self.seconds)
        seconds = {
            name: round(spent, 3)
            for name, spent in self.seconds.items()
            if not name.startswith(candidate_counts.PREFIX)
        }
        timings = {"worker_seconds": round(sum(seconds.values()), 3), "profile": seconds, "restarts": self.restarts}
        if counts.words:
            timings["candidates"] = counts.to_dict()
        write_manifest(self.folder, self.written.values(), self.job.identity, timings)
        self.commit(Output([info.name for _, info in sorted(self.written.items())], records=[MANIFEST]))
