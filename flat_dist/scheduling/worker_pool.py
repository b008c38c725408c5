"""The workers of a scheduler: starts as many as the cluster has room for, and ends those that hang."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray

from flat_dist.config.errors import UserError
from flat_dist.runtime import capacity
from flat_dist.runtime.progress import Display
from flat_dist.scheduling.liveness import Liveness
from flat_dist.scheduling.work_queue import Chunk
from flat_dist.scheduling.worker_group import WorkerGroup

UPDATE_SECONDS = 2.0
"""How often the pool looks for new or lost nodes."""
WAITING_SECONDS = 30.0
"""How often it says what it waits for."""
STARTS = 3
"""The run ends after this many failed starts in a row, or failed loads, for each worker of the pool at its largest."""
CHECK_MACHINES = "check the memory and the file systems of the machines, then run the same command again"


@dataclass(frozen=True)
class UnitToWrite:
    """A unit whose chunks are all processed, and which a worker has yet to write."""

    stage: int
    unit: int
    results: Sequence[Any]
    attempt: int = 1


Task = Chunk | UnitToWrite


@dataclass(eq=False)
class PooledWorker:
    """An actor and its current task."""

    actor: Any
    group: WorkerGroup
    node: str = ""
    """Id of its node, once it is ready."""
    task: Task | None = None
    since: float = field(default_factory=time.monotonic)
    """When it was started, or got its task."""
    asked: float = field(default_factory=time.time)
    """When it was started, in seconds since the epoch."""
    hung: bool = False
    """Whether the driver ended it because it made no progress."""

    def __post_init__(self) -> None:
        self.liveness = Liveness(self.actor, self.since)

    def take(self, task: Task) -> None:
        """Begin a task."""
        self.task, self.since = task, time.monotonic()
        self.liveness = Liveness(self.actor, self.since)


@dataclass
class WorkerPool:
    """Workers of one or several groups, and their calls in flight."""

    groups: Sequence[WorkerGroup]
    display: Display
    name: str = "attack worker"
    """What a worker is called in messages, after "an"."""
    calls: dict[ray.ObjectRef, PooledWorker] = field(default_factory=dict)
    """Calls in flight. Each worker has exactly one."""
    largest: int = 1
    """Largest number of workers so far."""
    failed_starts: int = 0
    """Workers that died before they were ready, since a worker was last ready."""

    def __post_init__(self) -> None:
        self._updated = float("-inf")
        self._waiting_since = self._said = time.monotonic()

    @property
    def workers(self) -> Iterator[PooledWorker]:
        """All workers."""
        return iter(self.calls.values())

    @property
    def started(self) -> int:
        """Number of workers that are ready."""
        return sum(bool(worker.node) for worker in self.workers)

    @property
    def working(self) -> int:
        """Number of workers that have a task."""
        return sum(worker.task is not None for worker in self.workers)

    @property
    def is_update_due(self) -> bool:
        """Whether the number of workers should be adjusted again."""
        return time.monotonic() - self._updated > UPDATE_SECONDS

    def update_soon(self) -> None:
        """Adjust the number of workers as soon as possible, because a worker or its node was lost."""
        self._updated = float("-inf")

    def wait(self) -> list[ray.ObjectRef]:
        """Wait until a call has ended, or briefly; return all calls that have ended."""
        if not self.calls:
            time.sleep(UPDATE_SECONDS / 10)
            return []
        references = list(self.calls)
        done, _ = ray.wait(references, num_returns=1, timeout=UPDATE_SECONDS / 2)
        return ray.wait(references, num_returns=len(references), timeout=0)[0] if done else []

    def adjust(self, useful: int) -> None:
        """Start and stop workers to match the cluster's size and the amount of work.

        Args:
            useful: number of workers that have a task or could get one.
        """
        self._updated = time.monotonic()
        total, grows = capacity.total(), capacity.joined()
        for group in self.groups:
            workers = [worker for worker in self.workers if worker.group is group]
            starting = [worker for worker in workers if not worker.node]
            limit = min(group.limit(total, grows, len(workers) - len(starting)), useful)
            for _ in range(len(workers), limit):
                self._start(group)
            for worker in starting[: max(len(workers) - limit, 0)]:
                self._stop(worker)
            useful -= min(limit, useful)
            total["CPU"] = total.get("CPU", 0) - min(limit, group.capacity(total))
        self.largest = max(self.largest, len(self.calls))
        self._report_waiting()

    def stop_hanging(self, limits: Sequence[float]) -> None:
        """End workers that make no progress. Their calls then fail like those of workers that crash.

        Args:
            limits: seconds without progress that are allowed, by stage; 0: no limit.
        """
        start_limit = max(limits, default=0) if all(limits) else 0
        for worker in self.workers:
            if worker.task is None:
                hangs = worker.liveness.is_hanging_at_start(start_limit)
            else:
                hangs = worker.liveness.is_hanging(limits[worker.task.stage])
            if hangs and not worker.hung:
                worker.hung = True
                worker.group.stop(worker.actor)

    def stop_all(self) -> None:
        """End all workers."""
        for worker in self.workers:
            worker.group.stop(worker.actor)

    def fail_start(self, worker: PooledWorker, error: Exception) -> None:
        """Record that a worker died before it was ready.

        Raises:
            UserError: too many workers in a row died.
            RuntimeError: the worker's constructor raised an exception.
        """
        self.failed_starts += 1
        if getattr(error, "_actor_init_failed", False):  # the message has the traceback
            raise RuntimeError(f"an {self.name} could not start: {error}") from error
        if self.failed_starts == STARTS * self.largest:
            raise UserError(
                f"{self.failed_starts} {self.name}s in a row {'hung' if worker.hung else 'died'} before they could "
                f"start: {CHECK_MACHINES}"
            ) from error

    def _start(self, group: WorkerGroup) -> None:
        worker = PooledWorker(group.start(), group)
        self.calls[worker.actor.ready.remote()] = worker

    def _stop(self, stopped: PooledWorker) -> None:
        self.calls = {reference: worker for reference, worker in self.calls.items() if worker is not stopped}
        stopped.group.stop(stopped.actor)

    def _report_waiting(self) -> None:
        now = time.monotonic()
        if self.started:
            self._waiting_since = now
        elif min(now - self._waiting_since, now - self._said) > WAITING_SECONDS:
            self._said = now
            needs = " or ".join(capacity.describe(group.resources) for group in self.groups)
            total, free = capacity.describe(ray.cluster_resources()), capacity.describe(ray.available_resources())
            self.display.log_line(
                f"waiting for the first {self.name} to start: it needs {needs}; the cluster has {total}, free: {free}"
            )
