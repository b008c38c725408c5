"""Gives pieces of attacks to Ray actors, and takes what comes of them, whatever dies meanwhile.

One piece is in flight per actor, so one piece is in doubt when an actor dies. Ray restarts and retries nothing: the
driver replaces the actor and cuts the piece, until the example that kills is alone; one that kills alone is set aside
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
from flat_dist.attack.pool.liveness import Signs
from flat_dist.attack.pool.work_queue import ATTEMPTS, Piece, Stage, Work
from flat_dist.attack.pool.worker_group import Crew
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
class _Writing:
    """A unit that was attacked in pieces, whose shard is to be written."""

    stage: int
    unit: int
    records: Sequence[Record]
    attempt: int = 1


@dataclass(eq=False)
class _Worker:
    """An actor, and what it is doing."""

    actor: Any
    crew: Crew
    node: str = ""
    """Where it is, once it is ready."""
    task: Piece | _Writing | None = None
    since: float = field(default_factory=time.monotonic)
    """When it was hired, or the task was given to it."""
    hangs: bool = False
    """It was ended for that."""

    def __post_init__(self) -> None:
        self.signs = Signs(self.actor, self.since)

    def take(self, task: "Piece | _Writing") -> None:
        """Begin a task."""
        self.task, self.since = task, time.monotonic()
        self.signs = Signs(self.actor, self.since)


@dataclass
class Pool:
    """Workers, what each is doing, and what is still to do."""

    stages: Sequence[Stage]
    bars: Sequence[Bar]
    crews: Sequence[Crew]
    work: Work
    display: Display
    max_failures: float = 1.0
    """Share of a stage's examples that may end as errors."""
    busy: dict[ray.ObjectRef, _Worker] = field(default_factory=dict)
    """Calls in flight."""
    writing: deque[_Writing] = field(default_factory=deque)
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
                worker.crew.stop(worker.actor)

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
        useful = sum(worker.task is not None for worker in self.busy.values()) + self.work.pieces
        useful = max(useful, bool(self.writing))  # who attacks will write, sooner than a new worker has started
        for crew in self.crews:
            there = [worker for worker in self.busy.values() if worker.crew is crew]
            starting = [worker for worker in there if not worker.node]
            limit = min(crew.limit(total, grows, len(there) - len(starting)), useful)
            for _ in range(len(there), limit):
                self._hire(crew)
            for worker in starting[: max(len(there) - limit, 0)]:
                self._dismiss(worker)
            useful -= min(limit, useful)
            total["CPU"] = total.get("CPU", 0) - min(limit, crew.room(total))
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
                hangs = worker.signs.hang_at_start(start_limit)
            else:
                hangs = worker.signs.hang(limits[worker.task.stage])
            if hangs and not worker.hangs:
                worker.hangs = True
                worker.crew.stop(worker.actor)

    def _hire(self, crew: Crew) -> None:
        worker = _Worker(crew.start(), crew)
        self.busy[worker.actor.ready.remote()] = worker

    def _dismiss(self, dismissed: _Worker) -> None:
        self.busy = {reference: worker for reference, worker in self.busy.items() if worker is not dismissed}
        dismissed.crew.stop(dismissed.actor)

    def _say_what_it_waits_for(self) -> None:
        now = time.monotonic()
        if any(worker.node for worker in self.busy.values()):
            self._waiting_since = now
        elif min(now - self._waiting_since, now - self._said) > WAITING_SECONDS:
            self._said = now
            asks = " or ".join(capacity.describe(crew.asks) for crew in self.crews)
            total, free = capacity.describe(ray.cluster_resources()), capacity.describe(ray.available_resources())
            self.display.say(
                f"attacks wait for a worker to start, which asks for {asks}; the cluster has {total}, and free: {free}"
            )

    def _give(self, worker: _Worker) -> None:
        if not (self.writing or self.work):
            worker.crew.retire(worker.actor)
            return
        task = self.writing.popleft() if self.writing else self.work.take(len(self.busy) + 1)
        stage = self.stages[task.stage]
        job = replace(stage.job, device=worker.crew.device)
        worker.take(task)
        self.busy[self._call(worker.actor, job, stage, task)] = worker

    def _call(self, actor: Any, job: AttackJob, stage: Stage, task: Piece | _Writing) -> ray.ObjectRef:
        if isinstance(task, _Writing):
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

    def _keep(self, task: Piece | _Writing, result: ShardInfo | list[Record], seconds: dict[str, float]) -> None:
        stage = self.stages[task.stage]
        self.failed_loads = 0
        stage.seconds.update(seconds)
        if isinstance(result, ShardInfo):
            stage.keep(task.unit, result)
            stage.check_failures(stage.counts["error"], self.max_failures)
            self._show(task.stage, self.bars[task.stage], len(task) if isinstance(task, Piece) else 0)
        elif isinstance(task, Piece):
            self._keep_part(task, result)

    def _keep_part(self, piece: Piece, records: Sequence[Record]) -> None:
        whole = self.stages[piece.stage].keep_part(piece, records)
        if whole is not None:
            self.writing.append(_Writing(piece.stage, piece.unit, whole))
        self._show(piece.stage, self.bars[piece.stage], len(piece))

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

    def _lose(self, worker: _Worker, task: Piece | _Writing | None, error: Exception) -> None:
        blameless = worker.node and worker.node not in {node["NodeID"] for node in ray.nodes() if node["Alive"]}
        self._looked = float("-inf")  # its place may be free, or gone
        if task is None:
            self._lose_start("hung" if worker.hangs else "died", error)
            return
        stage = self.stages[task.stage]
        stage.restarts += 1
        if not blameless:
            ray_folder.keep()
        if worker.hangs and worker.signs.loading:
            blameless = True
            self._lose_load(stage, error)
        if isinstance(task, _Writing):
            self._write_again(task, bool(blameless), error)
        elif blameless:
            self.work.again(task)
        elif self.work.lost(task):
            self._set_aside(task, _cause(error, time.monotonic() - worker.since, stage.job.stall_seconds))

    def _lose_start(self, why: str, error: Exception) -> None:
        self.failed_starts += 1
        if getattr(error, "_actor_init_failed", False):  # with the traceback of what it raised
            raise RuntimeError(f"an attack worker could not start: {error}") from error
        if self.failed_starts == STARTS * self.places:
            raise UserError(
                f"{self.failed_starts} attack workers in turn {why} before they could start: {LOOK_AFTER}"
            ) from error

    def _lose_load(self, stage: Stage, error: Exception) -> None:
        self.failed_loads += 1
        if self.failed_loads == STARTS * self.places:
            raise UserError(
                f"{self.failed_loads} attack workers in turn could not load {stage.job.checkpoint} in "
                f"{stage.job.stall_seconds:g} s (--attack.stall_seconds): {LOOK_AFTER}"
            ) from error

    def _write_again(self, task: _Writing, blameless: bool, error: Exception) -> None:
        if task.attempt == ATTEMPTS and not blameless:
            output = self.stages[task.stage].job.output
            raise UserError(
                f"{ATTEMPTS} workers ended while they wrote shard {task.unit} of {output}: {LOOK_AFTER}"
            ) from error
        self.writing.appendleft(task if blameless else replace(task, attempt=task.attempt + 1))

    def _set_aside(self, piece: Piece, cause: str) -> None:
        stage = self.stages[piece.stage]
        (row,) = stage.rows(piece).to_pylist()
        self.display.say(f"{stage.title}: {row['example_id']} is set aside: {cause}")
        stage.set_aside += 1
        record = Record(row["example_id"], row["label"], row["text"], row["text"], "error", error=cause)
        self._keep_part(piece, [record])
        stage.check_failures(stage.set_aside, self.max_failures)


def _cause(error: Exception, seconds: float, stall_seconds: float) -> str:
    if isinstance(error, OutOfMemoryError):
        cause = "took more memory than its machine has"
    elif 0 < stall_seconds <= seconds:  # the log of its worker, which is kept, has the stack if it stalled
        cause = f"made no progress for {stall_seconds:g} s, or ended its worker process"
    else:
        cause = "ended its worker process"
    return f"{type(error).__name__}: {cause}, {ATTEMPTS} times alone"
