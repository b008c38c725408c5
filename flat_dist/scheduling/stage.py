"""What the scheduler needs to know of a stage: its examples, how to call a worker, and where results go."""

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol

import pyarrow as pa

from flat_dist.config.errors import UserError
from flat_dist.scheduling.work_queue import Chunk


class Examples(Protocol):
    """Rows to process: a table, or a file that is read chunk by chunk."""

    @property
    def num_rows(self) -> int:
        """Number of rows."""
        ...

    def slice(self, offset: int, length: int) -> pa.Table:
        """Some rows."""
        ...


class Job(Protocol):
    """What a worker needs to know; a frozen dataclass of plain values."""

    @property
    def checkpoint(self) -> str:
        """Folder of the model."""
        ...

    @property
    def output(self) -> str:
        """Folder that the units are written to."""
        ...

    @property
    def device(self) -> str:
        """cpu or cuda."""
        ...

    @property
    def stall_seconds(self) -> float:
        """Seconds without progress after which a worker counts as hanging; 0: never."""
        ...


class UnitInfo(Protocol):
    """What a worker returns for a unit that it has written."""

    @property
    def counts(self) -> Mapping[str, int]:
        """Rows of the unit, by status; error: examples that failed."""
        ...


@dataclass
class ChunkedStage(ABC):
    """A stage that workers process in chunks and write in units, and its progress.

    How a unit is split into chunks does not change its result. So a unit that crashed its worker can be split until the
    failing example is isolated, and the last units can be split so that all workers stay busy.
    """

    FAILED: ClassVar[str]
    """Says what failed, for messages, such as: examples could not be attacked."""

    title: str
    job: Any
    """A `Job`."""
    examples: Examples
    written: dict[int, Any] = field(default_factory=dict, init=False)
    """The `UnitInfo` of each unit that is written, by the unit's index."""
    counts: Counter[str] = field(default_factory=Counter, init=False)
    """Rows of the written units, by status."""
    restarts: int = field(default=0, init=False)
    """Workers that crashed, in this call."""
    isolated: int = field(default=0, init=False)
    """Examples that crashed their workers alone, in this call."""
    seconds: Counter[str] = field(default_factory=Counter, init=False)
    """Seconds that workers spent in this call, added up, by component; and counts of a stage."""
    _results: dict[int, dict[int, Sequence[Any]]] = field(default_factory=dict, init=False)
    """Results of units that are processed in several chunks: by unit, by first row."""

    @property
    @abstractmethod
    def unit_size(self) -> int:
        """Examples of a unit."""

    @property
    @abstractmethod
    def smallest_chunk(self) -> int:
        """Minimum number of examples of a chunk."""

    @abstractmethod
    def find_written(self) -> Iterable[tuple[int, UnitInfo]]:
        """Undamaged units that an interrupted run has written, by their indices."""

    @abstractmethod
    def error_result(self, row: Mapping[str, Any], cause: str) -> tuple[str, Any]:
        """Id of an example, and the result that records it as an error."""

    @abstractmethod
    def finish(self) -> None:
        """Mark the stage as complete; called once, as soon as all units are written."""

    def cost(self, unit: Chunk) -> float:
        """Relative cost of a unit: the most expensive units are processed first."""
        return -unit.start

    def facts(self) -> dict[str, Any]:
        """Numbers that are shown beside the progress bar; None: not known yet."""
        return {}

    @property
    def total(self) -> int:
        """Number of units."""
        return math.ceil(self.examples.num_rows / self.unit_size)

    @property
    def done(self) -> int:
        """Number of examples in the written units."""
        return sum(len(self.unit(number)) for number in self.written)

    @property
    def is_complete(self) -> bool:
        """Whether all units are written."""
        return len(self.written) == self.total

    def unit(self, number: int, stage: int = 0) -> Chunk:
        """All rows of a unit."""
        start = number * self.unit_size
        return Chunk(stage, number, start, min(start + self.unit_size, self.examples.num_rows))

    def open(self, number: int) -> list[Chunk]:
        """Find the units that are already written, and return the others, the most expensive first.

        Args:
            number: the stage's index, which its chunks carry.
        """
        self.written, self.counts = {}, Counter()
        for unit, info in self.find_written():
            self._record(unit, info)
        missing = [self.unit(unit, number) for unit in range(self.total) if unit not in self.written]
        return sorted(missing, key=self.cost, reverse=True)

    def rows(self, chunk: Chunk) -> pa.Table:
        """The examples of a chunk."""
        return self.examples.slice(chunk.start, len(chunk)).combine_chunks()

    def is_unit(self, chunk: Chunk) -> bool:
        """Whether a chunk is a whole unit."""
        return len(chunk) == len(self.unit(chunk.unit))

    def job_on(self, device: str) -> Any:
        """The job for a worker on a device."""
        return replace(self.job, device=device)

    def keep_chunk(self, chunk: Chunk, results: Sequence[Any]) -> list[Any] | None:
        """Keep the results of a part of a unit; return those of the whole unit, in order, once it is complete."""
        parts = self._results.setdefault(chunk.unit, {})
        parts[chunk.start] = results
        if sum(map(len, parts.values())) < len(self.unit(chunk.unit)):
            return None
        del self._results[chunk.unit]
        return [result for start in sorted(parts) for result in parts[start]]

    def keep_unit(self, number: int, info: UnitInfo) -> None:
        """Record that a unit is written; after the last one, the stage is finished."""
        self._record(number, info)
        self.finish_if_complete()

    def _record(self, number: int, info: UnitInfo) -> None:
        self.written[number] = info
        self.counts.update(info.counts)

    def finish_if_complete(self) -> bool:
        """Finish the stage if no unit is missing."""
        if not self.is_complete:
            return False
        self.finish()
        return True

    def check_failures(self, failed: int, allowed: float) -> None:
        """As the function `check_failures`, for this stage."""
        check_failures(self.title, self.FAILED, self.job.output, (failed, self.examples.num_rows), allowed)


def check_failures(title: str, what: str, folder: str, counts: tuple[int, int], allowed: float) -> None:
    """Check the number of failed examples.

    Args:
        title: of the stage.
        what: says what failed, such as: examples could not be attacked.
        folder: the stage's folder.
        counts: number of failed examples, and of all examples.
        allowed: share of the examples that may fail.

    Raises:
        UserError: more examples failed.
    """
    failed, total = counts
    if failed > allowed * total:
        raise UserError(
            f"{title}: {failed} of {total} {what}, which is more than --attack.max-failures {allowed:g} allows; the "
            f"column error of {folder} says why. Finished work is kept: the same command with a larger "
            "--attack.max-failures continues"
        )
