"""What a worker process holds between calls: the model and the resources of its current job. No Ray here."""

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import pyarrow as pa

from flat_dist.runtime.malloc import return_freed_memory
from flat_dist.runtime.timeline import Phase, Recorder
from flat_dist.scheduling.stage import Job
from flat_dist.scheduling.watchdog import Watchdog


class Watched:
    """Work whose progress the driver watches, and whose time is recorded."""

    def __init__(self) -> None:
        self.watchdog = Watchdog()
        self.recorder = Recorder()
        self.loading = False
        """Whether it still loads what it needs."""


class Session(Watched, ABC):
    """Processes examples of one job at a time. Consecutive calls for the same job load its model once."""

    PHASE: ClassVar[Phase]
    """What its work counts as in the run's timeline."""

    def __init__(self) -> None:
        super().__init__()
        self.job: Any = None
        """The job that is loaded."""

    def read(self, examples: pa.Table) -> Sequence[Any]:
        """Examples as `process` takes them."""
        rows: list[dict[str, Any]] = examples.to_pylist()
        return rows

    @abstractmethod
    def load(self, job: Any) -> None:
        """Load the model and the resources of a job; called while the watchdog is off."""

    @abstractmethod
    def process(self, job: Any, examples: Sequence[Any]) -> list[Any]:
        """Results of examples, one each."""

    @abstractmethod
    def write(self, job: Any, number: int, results: Sequence[Any]) -> Any:
        """Write the results of a whole unit.

        Returns:
            What the stage needs to know of the written unit.
        """

    def run(self, job: Any, number: int, examples: Sequence[Any]) -> Any:
        """Process and write a whole unit. The file does not depend on earlier calls."""
        info = self.write(job, number, self.process(job, examples))
        return_freed_memory()
        return info

    def seconds(self) -> dict[str, float]:
        """Seconds spent so far, by component; and counts that a stage wants to be added up."""
        return {}

    def switch_to(self, job: Job) -> None:
        """Load a job unless it is already loaded."""
        self.watchdog.last_tick = time.monotonic()
        if job != self.job:
            self.loading = True
            self.watchdog.seconds = job.stall_seconds
            with self.recorder.phase("data"):
                self.load(job)
            self.job, self.loading = job, False
