"""The queue of chunks that wait for a worker, and how chunks are split."""

import math
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

ATTEMPTS = 2
"""Crashes of an example that is processed alone before it is recorded as an error."""

PARTS = 16
"""Number of parts that a chunk is split into after it crashed its worker."""


@dataclass(frozen=True)
class Chunk:
    """Consecutive examples of one unit, which one worker processes in one call."""

    stage: int
    """Index of the stage."""
    unit: int
    """Index of the unit in its stage. Each unit is written as one file."""
    start: int
    """First row, among the stage's examples."""
    stop: int
    """Row after the last one."""

    def __len__(self) -> int:
        return self.stop - self.start

    def split(self, size: int) -> list["Chunk"]:
        """Chunks of `size` examples; the last one has the rest."""
        return [
            replace(self, start=start, stop=min(start + size, self.stop))
            for start in range(self.start, self.stop, size)
        ]


class WorkQueue:
    """Chunks that wait for a worker, in the order in which they are handed out.

    Args:
        units: whole units, the most expensive first.
        smallest: minimum number of examples of a chunk, by stage; smaller chunks are less efficient.
    """

    def __init__(self, units: Iterable[Chunk], smallest: Sequence[int]):
        self._waiting = deque(units)
        self._smallest = smallest
        self._crashes = Counter[Chunk]()
        self.examples = sum(map(len, self._waiting))
        """Number of examples that wait."""

    def __bool__(self) -> bool:
        return bool(self._waiting)

    @property
    def chunks(self) -> int:
        """Approximate number of workers that could get a chunk now."""
        return max(self.examples // self._smallest[self._waiting[0].stage], len(self._waiting)) if self else 0

    def take(self, workers: int) -> Chunk:
        """The next chunk for one of `workers` workers: a unit, or at most a worker's share of what waits.

        Chunks get smaller towards the end, so that all workers finish at nearly the same time (guided self-scheduling,
        Polychronopoulos and Kuck 1987).
        """
        chunk = self._waiting.popleft()
        smallest = self._smallest[chunk.stage]
        size = max(smallest, math.ceil(self.examples / max(workers, 1)))
        if len(chunk) >= size + smallest:
            self._waiting.appendleft(replace(chunk, start=chunk.start + size))
            chunk = replace(chunk, stop=chunk.start + size)
        self.examples -= len(chunk)
        return chunk

    def requeue(self, chunk: Chunk) -> None:
        """Put back a chunk that was lost, where none of its examples is suspect."""
        self._waiting.appendleft(chunk)
        self.examples += len(chunk)

    def record_crash(self, chunk: Chunk) -> bool:
        """Put back a chunk that crashed its worker.

        A chunk of several examples is split into `PARTS`: among 256 examples, the failing one is alone after two
        crashes. A single example is tried again after all other work, because something else may have caused the crash.

        Returns:
            Whether the chunk is a single example that has used up its `ATTEMPTS`; then it is not put back.
        """
        if len(chunk) == 1:
            self._crashes[chunk] += 1
            if self._crashes[chunk] == ATTEMPTS:
                return True
            self._waiting.append(chunk)
        else:
            self._waiting.extendleft(reversed(chunk.split(math.ceil(len(chunk) / PARTS))))
        self.examples += len(chunk)
        return False
