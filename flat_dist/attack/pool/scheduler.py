"""Gives chunks of attacks to Ray actors, and takes what comes of them, whatever dies meanwhile.

One chunk is in flight per actor, so one chunk is in doubt when an actor dies. Ray restarts and retries nothing: the
driver replaces the actor and cuts the chunk, until the example that kills is alone; one that kills alone is set aside
as a row with status error. What was lost with a node is given to another, and blamed on no example. An actor that hangs
is ended, and is then as dead as the others.
"""

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import ray
from ray.exceptions import OutOfMemoryError, RayActorError, RayTaskError

from flat_dist.attack.plan import AttackJob
from flat_dist.attack.pool.liveness import Liveness
from flat_dist.attack.pool.work_queue import ATTEMPTS, AttackStage, Chunk, WorkQueue
from flat_dist.attack.pool.worker_group import WorkerGroup
from flat_dist.config.errors import UserError
from flat_dist.data.shards import Record, ShardInfo
from flat_dist.runtime import capacity, ray_folder
from flat_dist.runtime.progress import Bar, Display

LOOK_SECONDS = 2.0
"""How often the driver looks how large the cluster is."""
WAITING_SECONDS = 30.0
"""How often it says what it waits for."""
STARTS = 3
"""Times that as many workers as there are places may die, one after another, before any of them is ready."""
LOOK_AFTER = "look after the memory and the file systems of the machines, and give the command again"


@dataclass(frozen=True)
class _ShardToWrite:
    """A unit that was attacked in chunks, whose shard is to be written."""

    stage: int
    unit: int
    records: Sequence[Record]
    attempt: int = 1


@dataclass(eq=False)
class _Worker:
    """An actor, and what it is doing."""

    actor: Any
    group: WorkerGroup
    node: str = ""
    """Where it is, once it is ready."""
    task: Chunk | _ShardToWrite | None = None
    since: float = field(default_factory=time.monotonic)
    """When it was started, or the task was given to it."""
    hung: bool = False
    """It was ended for that."""

    def __post_init__(self) -> None:
        self.liveness = Liveness(self.actor, self.since)

    def take(self, task: "Chunk | _ShardToWrite") -> None:
        """Begin a task."""
        self.task, self.since = task, time.monotonic()
        self.liveness = Liveness(self.actor, self.since)


@dataclass
class AttackScheduler:
    """Workers, what each is doing, and what is still to do."""

    stages: Sequence[AttackStage]
    bars: Sequence[Bar]
    worker_groups: Sequence[WorkerGroup]
    work: WorkQueue
    display: Display
    max_failures: float = 1.0
    """Share of a stage's examples that may end as errors."""
    busy: dict[ray.ObjectRef, _Worker] = field(default_factory=dict)
    """Calls in flight."""
    writing: deque[_ShardToWrite] = field(default_factory=deque)
    places: int = 1
    """Most workers that there were at a time."""
    failed_starts: int = 0
    """Since a worker was last ready."""
    failed_loads: int = 0
    """Since a worker last did something."""

    def __post_init__(self) -> None:
        self._looked = float("-inf")
        self._waiting_since = self._said = time.monotonic()

    def run(self) -> None:
        """Work until nothing is waiting or in flight; end every actor, whatever happens.

        Raises:
            UserError: too many examples could not be attacked, a shard could not be written, or workers die or hang,
                one after another, whatever they do.
            RuntimeError: a worker raised something as it started.
        """
        try:
            while self.work or self.writing or self._working():
                if time.monotonic() - self._looked > LOOK_SECONDS:
                    self._look()
                for reference in self._wait():
                    self._collect(reference)
        finally:
            for worker in self.busy.values():
                worker.group.stop(worker.actor)

    def _working(self) -> bool:
        return any(worker.task for worker in self.busy.values())

    def _wait(self) -> list[ray.ObjectRef]:
        """Calls that have ended: as soon as there is one, all of them."""
        if not self.busy:
            time.sleep(LOOK_SECONDS / 10)
            return []
        references = list(self.busy)
        done, _ = ray.wait(references, num_returns=1, timeout=LOOK_SECONDS / 2)
        return ray.wait(references, num_returns=len(references), timeout=0)[0] if done else []

    def _look(self) -> None:
        """Fit the number of workers to the cluster and to what is to do, and say how it goes."""
        self._looked = time.monotonic()
        self._end_those_that_hang()
        total, grows = dict(ray.cluster_resources()), capacity.joined()
        useful = sum(worker.task is not None for worker in self.busy.values()) + self.work.chunks
        useful = max(useful, bool(self.writing))  # who attacks will write, sooner than a new worker has started
        for group in self.worker_groups:
            there = [worker for worker in self.busy.values() if worker.group is group]
            starting = [worker for worker in there if not worker.node]
            limit = min(group.limit(total, grows, len(there) - len(starting)), useful)
            for _ in range(len(there), limit):
                self._start_worker(group)
            for worker in starting[: max(len(there) - limit, 0)]:
                self._stop_worker(worker)
            useful -= min(limit, useful)
            total["CPU"] = total.get("CPU", 0) - min(limit, group.capacity(total))
        self.places = max(self.places, len(self.busy))
        self._say_what_it_waits_for()
        for number, bar in enumerate(self.bars):
            self._show(number, bar, 0)

    def _end_those_that_hang(self) -> None:
        """Their calls then fail, as those of workers that die."""
        limits = [stage.job.stall_seconds for stage in self.stages]
        start_limit = max(limits, default=0) if all(limits) else 0
        for worker in self.busy.values():
            if worker.task is None:
                hung = worker.liveness.is_hanging_at_start(start_limit)
            else:
                hung = worker.liveness.is_hanging(limits[worker.task.stage])
            if hung and not worker.hung:
                worker.hung = True
                worker.group.stop(worker.actor)

    def _start_worker(self, group: WorkerGroup) -> None:
        worker = _Worker(group.start(), group)
        self.busy[worker.actor.ready.remote()] = worker

    def _stop_worker(self, stopped_worker: _Worker) -> None:
        self.busy = {reference: worker for reference, worker in self.busy.items() if worker is not stopped_worker}
        stopped_worker.group.stop(stopped_worker.actor)

    def _say_what_it_waits_for(self) -> None:
        now = time.monotonic()
        if any(worker.node for worker in self.busy.values()):
            self._waiting_since = now
        elif min(now - self._waiting_since, now - self._said) > WAITING_SECONDS:
            self._said = now
            asks = " or ".join(capacity.describe(group.asks) for group in self.worker_groups)
            total, free = capacity.describe(ray.cluster_resources()), capacity.describe(ray.available_resources())
            self.display.log_line(
                f"attacks wait for a worker to start, which asks for {asks}; the cluster has {total}, and free: {free}"
            )

    def _give(self, worker: _Worker) -> None:
        if not (self.writing or self.work):
            worker.group.release(worker.actor)
            return
        task = self.writing.popleft() if self.writing else self.work.take(len(self.busy) + 1)
        stage = self.stages[task.stage]
        job = replace(stage.job, device=worker.group.device)
        worker.take(task)
        self.busy[self._call(worker.actor, job, stage, task)] = worker

    def _call(self, actor: Any, job: AttackJob, stage: AttackStage, task: Chunk | _ShardToWrite) -> ray.ObjectRef:
        if isinstance(task, _ShardToWrite):
            return actor.write.remote(job, task.unit, task.records)
        self.bars[task.stage].start()
        if stage.is_whole(task):
            return actor.run.remote(job, task.unit, stage.rows(task))
        return actor.attack.remote(job, stage.rows(task))

    def _collect(self, reference: ray.ObjectRef) -> None:
        worker = self.busy.pop(reference)
        task, worker.task = worker.task, None
        try:
            result = ray.get(reference)
        except (RayActorError, OutOfMemoryError) as error:
            self._lose(worker, task, error)
        except RayTaskError as error:  # Ray wraps what the worker raised in its own traceback
            if isinstance(error.cause, UserError):
                raise error.cause from None
            raise
        else:
            if task is None:
                worker.node, self.failed_starts = result, 0
            else:
                self._keep(task, *result)
            self._give(worker)

    def _keep(self, task: Chunk | _ShardToWrite, result: ShardInfo | list[Record], seconds: dict[str, float]) -> None:
        stage = self.stages[task.stage]
        self.failed_loads = 0
        stage.seconds.update(seconds)
        if isinstance(result, ShardInfo):
            stage.keep(task.unit, result)
            stage.check_failures(stage.counts["error"], self.max_failures)
            self._show(task.stage, self.bars[task.stage], len(task) if isinstance(task, Chunk) else 0)
        elif isinstance(task, Chunk):
            self._keep_part(task, result)

    def _keep_part(self, chunk: Chunk, records: Sequence[Record]) -> None:
        whole = self.stages[chunk.stage].keep_part(chunk, records)
        if whole is not None:
            self.writing.append(_ShardToWrite(chunk.stage, chunk.unit, whole))
        self._show(chunk.stage, self.bars[chunk.stage], len(chunk))

    def _show(self, number: int, bar: Bar, examples: int) -> None:
        stage = self.stages[number]
        attacked = sum(stage.counts[status] for status in ("successful", "failed", "timeout"))
        facts: dict[str, Any] = {
            "success_rate": round(stage.counts["successful"] / attacked, 4) if attacked else None,
            "workers": sum(bool(worker.node) for worker in self.busy.values()),
            "restarts": stage.restarts,
        }
        bar.advance(examples, **facts)
        if len(stage.shards) == stage.total:
            bar.finish()

    def _lose(self, worker: _Worker, task: Chunk | _ShardToWrite | None, error: Exception) -> None:
        blameless = worker.node and worker.node not in {node["NodeID"] for node in ray.nodes() if node["Alive"]}
        self._looked = float("-inf")  # its place may be free, or gone
        if task is None:
            self._lose_start("hung" if worker.hung else "died", error)
            return
        stage = self.stages[task.stage]
        stage.restarts += 1
        if not blameless:
            ray_folder.keep()
        if worker.hung and worker.liveness.loading:
            blameless = True
            self._lose_load(stage, error)
        if isinstance(task, _ShardToWrite):
            self._write_again(task, bool(blameless), error)
        elif blameless:
            self.work.requeue(task)
        elif self.work.record_crash(task):
            self._set_aside(task, _cause(error, time.monotonic() - worker.since, stage.job.stall_seconds))

    def _lose_start(self, why: str, error: Exception) -> None:
        self.failed_starts += 1
        if getattr(error, "_actor_init_failed", False):  # with the traceback of what it raised
            raise RuntimeError(f"an attack worker could not start: {error}") from error
        if self.failed_starts == STARTS * self.places:
            raise UserError(
                f"{self.failed_starts} attack workers in turn {why} before they could start: {LOOK_AFTER}"
            ) from error

    def _lose_load(self, stage: AttackStage, error: Exception) -> None:
        self.failed_loads += 1
        if self.failed_loads == STARTS * self.places:
            raise UserError(
                f"{self.failed_loads} attack workers in turn could not load {stage.job.checkpoint} in "
                f"{stage.job.stall_seconds:g} s (--attack.stall_seconds): {LOOK_AFTER}"
            ) from error

    def _write_again(self, task: _ShardToWrite, blameless: bool, error: Exception) -> None:
        if task.attempt == ATTEMPTS and not blameless:
            output = self.stages[task.stage].job.output
            raise UserError(
                f"{ATTEMPTS} workers ended while they wrote shard {task.unit} of {output}: {LOOK_AFTER}"
            ) from error
        self.writing.appendleft(task if blameless else replace(task, attempt=task.attempt + 1))

    def _set_aside(self, chunk: Chunk, cause: str) -> None:
        stage = self.stages[chunk.stage]
        (row,) = stage.rows(chunk).to_pylist()
        self.display.log_line(f"{stage.title}: {row['example_id']} is set aside: {cause}")
        stage.set_aside += 1
        record = Record(row["example_id"], row["label"], row["text"], row["text"], "error", error=cause)
        self._keep_part(chunk, [record])
        stage.check_failures(stage.set_aside, self.max_failures)


def _cause(error: Exception, seconds: float, stall_seconds: float) -> str:
    if isinstance(error, OutOfMemoryError):
        cause = "took more memory than its machine has"
    elif 0 < stall_seconds <= seconds:  # the log of its worker, which is kept, has the stack if it stalled
        cause = f"made no progress for {stall_seconds:g} s, or ended its worker process"
    else:
        cause = "ended its worker process"
    return f"{type(error).__name__}: {cause}, {ATTEMPTS} times alone"
