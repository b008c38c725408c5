"""Hands out chunks to Ray actors, collects their results, and survives worker crashes.

Each actor has one call in flight, so a crash leaves one chunk in doubt. The driver starts another actor and splits the
chunk until the failing example is isolated; an example that crashes its worker alone is recorded as an error. A chunk
that is lost with its node is given to another worker, and no example is suspected. An actor that hangs is ended, and
then counts as crashed.
"""

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import ray
from ray.exceptions import OutOfMemoryError, RayActorError, RayTaskError

from flat_dist.config.errors import UserError
from flat_dist.runtime import capacity, ray_folder
from flat_dist.runtime.progress import Bar, Display
from flat_dist.scheduling.stage import ChunkedStage
from flat_dist.scheduling.work_queue import ATTEMPTS, Chunk, WorkQueue
from flat_dist.scheduling.worker import Answer
from flat_dist.scheduling.worker_group import WorkerGroup
from flat_dist.scheduling.worker_pool import CHECK_MACHINES, STARTS, PooledWorker, Task, UnitToWrite, WorkerPool


def run_stages(
    stages: Sequence[ChunkedStage], groups: Sequence[WorkerGroup], name: str, max_failures: float, display: Display
) -> None:
    """Process and write everything that is missing in the stages, and finish each stage as soon as it is complete.

    Args:
        stages: what to do.
        groups: the workers.
        name: what a worker is called in messages, such as: attack worker.
        max_failures: share of a stage's examples that may be recorded as errors.
        display: shows a bar for each stage.

    Raises:
        UserError: the cluster has no room for a worker, or as in `Scheduler.run`.
        RuntimeError: as in `Scheduler.run`.
    """
    waiting = [unit for number, stage in enumerate(stages) for unit in stage.open(number)]
    bars = [display.bar(stage.title, stage.examples.num_rows, stage.done) for stage in stages]
    for stage, bar in zip(stages, bars, strict=True):
        if stage.finish_if_complete():
            bar.finish()
    if not waiting:
        return
    capacity.wait_for_resources(groups[0].resources, f"an {name}", display.log_line)
    queue = WorkQueue(waiting, [stage.smallest_chunk for stage in stages])
    Scheduler(stages, bars, queue, WorkerPool(groups, display, name), max_failures).run()


@dataclass
class Scheduler:
    """Stages in progress, the chunks that wait, and the workers."""

    stages: Sequence[ChunkedStage]
    bars: Sequence[Bar]
    queue: WorkQueue
    pool: WorkerPool
    max_failures: float = 1.0
    """Share of a stage's examples that may be recorded as errors."""
    to_write: deque[UnitToWrite] = field(default_factory=deque)
    failed_loads: int = 0
    """Workers that hung while they loaded, since a worker last returned a result."""

    def run(self) -> None:
        """Work until nothing waits and nothing is in flight; end every actor, whatever happens.

        Raises:
            UserError: too many examples failed, a unit could not be written, or too many workers in a row crashed or
                hung before they did any work.
            RuntimeError: a worker raised an exception when it started.
        """
        try:
            while self.queue or self.to_write or self.pool.working:
                if self.pool.is_update_due:
                    self._update()
                for reference in self.pool.wait():
                    self._collect(reference)
        finally:
            self.pool.stop_all()

    def _update(self) -> None:
        self.pool.stop_hanging([stage.job.stall_seconds for stage in self.stages])
        # Workers that are there already will write units before a new worker has started.
        self.pool.adjust(max(self.pool.working + self.queue.chunks, bool(self.to_write)))
        for number in range(len(self.bars)):
            self._show(number, 0)

    def _hand_out(self, worker: PooledWorker) -> None:
        """Give a worker its next task, or release it."""
        if not (self.to_write or self.queue):
            worker.group.release(worker.actor)
            return
        task: Task = self.to_write.popleft() if self.to_write else self.queue.take(len(self.pool.calls) + 1)
        worker.take(task)
        self.pool.calls[self._call(worker, task)] = worker

    def _call(self, worker: PooledWorker, task: Task) -> ray.ObjectRef:
        stage = self.stages[task.stage]
        job = stage.job_on(worker.group.device)
        if isinstance(task, UnitToWrite):
            return worker.actor.write.remote(job, task.unit, task.results)
        self.bars[task.stage].start()
        if stage.is_unit(task):
            return worker.actor.run.remote(job, task.unit, stage.rows(task))
        return worker.actor.process.remote(job, stage.rows(task))

    def _collect(self, reference: ray.ObjectRef) -> None:
        worker = self.pool.calls.pop(reference)
        task, worker.task = worker.task, None
        try:
            answer = ray.get(reference)
        except (RayActorError, OutOfMemoryError) as error:
            self._handle_crash(worker, task, error)
        except RayTaskError as error:  # Ray wraps what the worker raised in its own traceback
            if isinstance(error.cause, UserError):
                raise error.cause from None
            raise
        else:
            if task is None:
                worker.node, self.pool.failed_starts = answer, 0
            else:
                self.pool.display.timeline.add(answer.process, answer.spans, worker.asked)
                self._keep(task, answer)
            self._hand_out(worker)

    def _keep(self, task: Task, answer: Answer) -> None:
        stage = self.stages[task.stage]
        self.failed_loads = 0
        stage.seconds.update(answer.seconds)
        if isinstance(task, Chunk) and not stage.is_unit(task):
            self._keep_chunk(task, answer.result)
            return
        stage.keep_unit(task.unit, answer.result)
        stage.check_failures(stage.counts["error"], self.max_failures)
        self._show(task.stage, len(task) if isinstance(task, Chunk) else 0)

    def _keep_chunk(self, chunk: Chunk, results: Sequence[Any]) -> None:
        unit = self.stages[chunk.stage].keep_chunk(chunk, results)
        if unit is not None:
            self.to_write.append(UnitToWrite(chunk.stage, chunk.unit, unit))
        self._show(chunk.stage, len(chunk))

    def _show(self, number: int, examples: int) -> None:
        stage, bar = self.stages[number], self.bars[number]
        bar.advance(examples, **stage.facts(), workers=self.pool.started, restarts=stage.restarts)
        if stage.is_complete:
            bar.finish()

    def _handle_crash(self, worker: PooledWorker, task: Task | None, error: Exception) -> None:
        lost_node = worker.node and worker.node not in {node["NodeID"] for node in ray.nodes() if node["Alive"]}
        self.pool.update_soon()
        if task is None:
            self.pool.fail_start(worker, error)
            return
        stage = self.stages[task.stage]
        stage.restarts += 1
        if not lost_node:
            ray_folder.keep_logs()
        hung_at_load = worker.hung and worker.liveness.loading
        if hung_at_load:
            self._fail_load(stage, error)
        innocent = bool(lost_node or hung_at_load)
        if isinstance(task, UnitToWrite):
            self._write_again(task, innocent, error)
        elif innocent:
            self.queue.requeue(task)
        elif self.queue.record_crash(task):
            self._record_error(task, _cause(error, time.monotonic() - worker.since, stage.job.stall_seconds))

    def _fail_load(self, stage: ChunkedStage, error: Exception) -> None:
        self.failed_loads += 1
        if self.failed_loads == STARTS * self.pool.largest:
            raise UserError(
                f"{self.failed_loads} {self.pool.name}s in a row could not load {stage.job.checkpoint} in "
                f"{stage.job.stall_seconds:g} s (--attack.stall-seconds): {CHECK_MACHINES}"
            ) from error

    def _write_again(self, task: UnitToWrite, innocent: bool, error: Exception) -> None:
        if task.attempt == ATTEMPTS and not innocent:
            output = self.stages[task.stage].job.output
            raise UserError(
                f"{ATTEMPTS} workers crashed while they wrote unit {task.unit} of {output}: {CHECK_MACHINES}"
            ) from error
        self.to_write.appendleft(task if innocent else replace(task, attempt=task.attempt + 1))

    def _record_error(self, chunk: Chunk, cause: str) -> None:
        stage = self.stages[chunk.stage]
        (row,) = stage.rows(chunk).to_pylist()
        name, result = stage.error_result(row, cause)
        self.pool.display.log_line(f"{stage.title}: {name} is recorded as an error: {cause}")
        stage.isolated += 1
        self._keep_chunk(chunk, [result])
        stage.check_failures(stage.isolated, self.max_failures)


def _cause(error: Exception, seconds: float, stall_seconds: float) -> str:
    """Why an example counts as failed, as the column error says it."""
    if isinstance(error, OutOfMemoryError):
        cause = "took more memory than its machine has"
    elif 0 < stall_seconds <= seconds:  # the worker's log has its stack if it hung
        cause = f"made no progress for {stall_seconds:g} s, or ended its worker process"
    else:
        cause = "ended its worker process"
    return f"{type(error).__name__}: {cause}, {ATTEMPTS} times alone"
