"""What an attack stage consists of: units, each of which becomes one shard, and the chunks in which they are attacked.

A shard does not depend on how its unit was cut. So a unit that killed its worker is cut to find the example that did
it, and the last units are cut so that no worker is left alone with much to do.
"""

import json
import math
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flat_dist.attack.plan import AttackJob
from flat_dist.config.errors import UserError
from flat_dist.data.shards import Record, ShardInfo, finished_units, read_manifest, verify_shards, write_manifest
from flat_dist.storage.folder import Folder

ATTEMPTS = 2
"""Workers that one example may cost, attacked alone, before it is set aside."""

PARTS = 16
"""Chunks that a chunk is cut in after it took its worker with it."""


class Examples(Protocol):
    """Columns example_id, text and label: a table, or a file that is read chunk by chunk."""

    @property
    def num_rows(self) -> int:
        """How many there are."""
        ...

    def slice(self, offset: int, length: int) -> pa.Table:
        """Some rows."""
        ...


@dataclass(frozen=True)
class Chunk:
    """Neighbouring examples of a unit, which one worker attacks."""

    stage: int
    unit: int
    start: int
    """Row of the stage's examples."""
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def cut(self, size: int) -> list["Chunk"]:
        """Pieces of `size` examples, the last of what is left."""
        return [
            replace(self, start=start, stop=min(start + size, self.stop))
            for start in range(self.start, self.stop, size)
        ]


class WorkQueue:
    """Pieces that wait for a worker, the heaviest first.

    Args:
        units: whole units, in order.
        smallest: by stage, examples of a chunk at least; fewer are attacked less efficiently.
    """

    def __init__(self, units: Iterable[Chunk], smallest: Sequence[int]):
        self._waiting = deque(units)
        self._smallest = smallest
        self._deaths = Counter[Chunk]()
        self.examples = sum(map(len, self._waiting))

    def __bool__(self) -> bool:
        return bool(self._waiting)

    @property
    def chunks(self) -> int:
        """Workers that could be given something, about."""
        return max(self.examples // self._smallest[self._waiting[0].stage], len(self._waiting)) if self else 0

    def take(self, workers: int) -> Chunk:
        """The next chunk for one of so many workers: a unit, or no more than its share of what waits.

        So chunks get smaller towards the end, and workers end nearly together (guided self-scheduling, Polychronopoulos
        and Kuck 1987).
        """
        chunk = self._waiting.popleft()
        size = max(self._smallest[chunk.stage], math.ceil(self.examples / max(workers, 1)))
        if len(chunk) >= size + self._smallest[chunk.stage]:
            self._waiting.appendleft(replace(chunk, start=chunk.start + size))
            chunk = replace(chunk, stop=chunk.start + size)
        self.examples -= len(chunk)
        return chunk

    def requeue(self, chunk: Chunk) -> None:
        """A chunk was lost, through no fault of its examples."""
        self._waiting.appendleft(chunk)
        self.examples += len(chunk)

    def record_crash(self, chunk: Chunk) -> bool:
        """A chunk took its worker with it: whether it is one example, and that for the last time.

        It is cut in `PARTS`, so that among 256 examples the guilty one is alone after two losses. Alone, it is tried
        again when all else is done: the fault may have been another's.
        """
        if len(chunk) == 1:
            self._deaths[chunk] += 1
            if self._deaths[chunk] == ATTEMPTS:
                return True
            self._waiting.append(chunk)
        else:
            self._waiting.extendleft(reversed(chunk.cut(math.ceil(len(chunk) / PARTS))))
        self.examples += len(chunk)
        return False


@dataclass
class AttackStage:
    """A job with the examples it attacks, and how far it has come."""

    title: str
    job: AttackJob
    examples: Examples
    total: int = 0
    """Units that it has in all, once it is open."""
    shards: dict[int, ShardInfo] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    """Rows of the shards by status."""
    set_aside: int = 0
    """Examples that no worker survived, in this call."""
    restarts: int = 0
    seconds: Counter[str] = field(default_factory=Counter)
    """Seconds that workers spent on it in this call, added up, by component (`flat_dist.attack.engine.profile`)."""
    parts: dict[int, dict[int, Sequence[Record]]] = field(default_factory=dict)
    """Of units that are attacked in chunks: what has come of each, by its first row."""

    def manifest(self) -> Mapping | None:
        """The manifest of a finished stage whose shards are all as it says; None if there is anything to do."""
        folder = Folder(self.job.output)
        manifest = read_manifest(folder)
        identity = json.loads(json.dumps(self.job.identity))
        if manifest is None or manifest["identity"] != identity or not verify_shards(folder, manifest):
            return None
        return manifest

    def open(self, number: int) -> list[Chunk]:
        """Its units that no whole shard holds yet, the heaviest first; the others' shards are taken over."""
        self.total = math.ceil(self.examples.num_rows / self.job.unit_size)
        units = [replace(self.unit(unit), stage=number) for unit in range(self.total)]
        for unit, info in finished_units(Folder(self.job.output), lambda unit: self._ids(units[unit]), self.total):
            self._take_over(unit, info)
        weights = {unit: self._weight(unit) for unit in units if unit.unit not in self.shards}
        return sorted(weights, key=lambda unit: -weights[unit])

    def rows(self, chunk: Chunk) -> pa.Table:
        """The examples of a chunk."""
        return self.examples.slice(chunk.start, len(chunk)).combine_chunks()

    def _ids(self, unit: Chunk) -> list[str]:
        return self.rows(unit)["example_id"].to_pylist()

    def _weight(self, unit: Chunk) -> float:
        """What attacking it costs, in some unit: a text of n words takes about n questions of n words each."""
        words = pc.count_substring(self.rows(unit)["text"], " ").to_numpy().astype(np.float64) + 1
        return float(words @ words)

    def unit(self, number: int) -> Chunk:
        """All rows of a unit."""
        start = number * self.job.unit_size
        return Chunk(0, number, start, min(start + self.job.unit_size, self.examples.num_rows))

    def is_whole(self, chunk: Chunk) -> bool:
        """Whether it is a unit, and no less."""
        return len(chunk) == len(self.unit(chunk.unit))

    def keep_part(self, chunk: Chunk, records: Sequence[Record]) -> list[Record] | None:
        """Take the records of a chunk; all of its unit's in order, if it was the last."""
        parts = self.parts.setdefault(chunk.unit, {})
        parts[chunk.start] = records
        if sum(map(len, parts.values())) < len(self.unit(chunk.unit)):
            return None
        del self.parts[chunk.unit]
        return [record for start in sorted(parts) for record in parts[start]]

    def keep(self, unit: int, info: ShardInfo) -> None:
        """Take a shard; with the last, the manifest is written."""
        self._take_over(unit, info)
        self.commit_if_whole()

    def check_failures(self, errors: int, allowed: float) -> None:
        """Raise UserError if more than the allowed share of the examples could not be attacked."""
        if errors > allowed * self.examples.num_rows:
            raise UserError(
                f"{self.title}: {errors} of {self.examples.num_rows} examples could not be attacked, which is more "
                f"than --attack.max_failures {allowed:g} allows; the column error of {self.job.output} says why. What "
                "was done is kept: the same command with a larger --attack.max_failures goes on"
            )

    def _take_over(self, unit: int, info: ShardInfo) -> None:
        self.shards[unit] = info
        self.counts.update(info.counts)

    def commit_if_whole(self) -> bool:
        """Write the manifest if no unit is missing."""
        if len(self.shards) < self.total:
            return False
        seconds = {name: round(spent, 3) for name, spent in self.seconds.items()}
        timings = {"worker_seconds": round(sum(seconds.values()), 3), "profile": seconds, "restarts": self.restarts}
        write_manifest(Folder(self.job.output), self.shards.values(), self.job.identity, timings)
        return True
