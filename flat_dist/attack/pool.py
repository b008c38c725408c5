"""Spreads attacks over Ray actors: small units, pulled, each written as one shard.

One unit is in flight per actor, so one unit is in doubt when an actor dies. Ray restarts and retries nothing: the
driver replaces the actor and tries the unit again; a unit that kills a second actor is attacked example by example,
and the example that kills is set aside as a row with status error.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import ray
from ray.exceptions import RayActorError, RayTaskError

from flat_dist.attack import profile
from flat_dist.attack.session import AttackJob, AttackSession
from flat_dist.config import AttackConfig, UserError
from flat_dist.data.shards import (
    Example,
    Record,
    ShardInfo,
    finished_units,
    read_manifest,
    write_manifest,
)
from flat_dist.data.storage import Folder
from flat_dist.progress import Bar, Display

ATTEMPTS = 2
"""Actors that one unit, or one example, may cost before it is given up."""


@dataclass(frozen=True)
class Unit:
    """Examples of one stage that become one shard."""

    stage: int
    number: int
    examples: tuple[Example, ...]

    @property
    def words(self) -> int:
        """Words of all its texts, which its cost goes by."""
        return sum(example.text.count(" ") + 1 for example in self.examples)


@dataclass
class Stage:
    """A job with the examples it attacks, and how far it has come."""

    title: str
    job: AttackJob
    examples: pa.Table
    """Columns example_id, text and label."""
    total: int = 0
    """Units that it has in all, once it is open."""
    shards: dict[int, ShardInfo] = field(default_factory=dict)
    restarts: int = 0
    seconds: Counter[str] = field(default_factory=Counter)
    """Seconds that actors spent on it in this call, added up, by component (`flat_dist.attack.profile`)."""

    def open(self, number: int) -> list[Unit]:
        """Its units that no whole shard holds yet, the longest first; the others' shards are taken over."""
        rows = [Example(row["example_id"], row["text"], row["label"]) for row in self.examples.to_pylist()]
        size = self.job.unit_size
        chunks = [tuple(rows[start : start + size]) for start in range(0, len(rows), size)]
        self.shards = finished_units(Folder(self.job.output), [[example.example_id for example in c] for c in chunks])
        units = [Unit(number, index, chunk) for index, chunk in enumerate(chunks) if index not in self.shards]
        self.total = len(chunks)
        return sorted(units, key=lambda unit: (-unit.words, unit.number))

    def keep(self, unit: int, info: ShardInfo) -> bool:
        """Take a shard; true, and the manifest is written, if it was the last."""
        self.shards[unit] = info
        return self.commit_if_whole()

    def commit_if_whole(self) -> bool:
        """Write the manifest if no unit is missing."""
        if len(self.shards) < self.total:
            return False
        seconds = {name: round(spent, 3) for name, spent in self.seconds.items()}
        timings = {"worker_seconds": round(sum(seconds.values()), 3), "profile": seconds, "restarts": self.restarts}
        write_manifest(Folder(self.job.output), self.shards.values(), self.job.identity, timings)
        return True

    def describe(self) -> str:
        """Rows by status, so far."""
        counts = Counter[str]()
        for info in self.shards.values():
            counts.update(info.counts)
        return ", ".join(f"{count} {status}" for status, count in counts.most_common())


class AttackWorker:
    """The actor: attacks units of any job, keeping what the last job needed."""

    def __init__(self) -> None:
        self.session = AttackSession()

    def ready(self) -> None:
        """Returns once the worker can attack."""

    def run(self, job: AttackJob, unit: Unit) -> tuple[ShardInfo, dict[str, float]]:
        """Attack a unit and write its shard; with it come the seconds that took, by component."""
        before = self.session.profile.seconds()
        info = self.session.run(job, unit.number, unit.examples)
        after = self.session.profile.seconds()
        return info, {name: after[name] - before[name] for name in after}

    def attack(self, job: AttackJob, example: Example) -> Record:
        """Attack one example."""
        return self.session.attack(job, [example])[0]

    def write(self, job: AttackJob, number: int, records: Sequence[Record]) -> ShardInfo:
        """Write the shard of a unit that was attacked example by example."""
        return self.session.write(job, number, records)


@dataclass
class Pool:
    """Actors, the unit that each is working on, and what is still to do."""

    stages: Sequence[Stage]
    bars: Sequence[Bar]
    start: Callable[[], Any]
    """Starts an actor."""
    waiting: deque[Unit]
    busy: dict[ray.ObjectRef, tuple[Any, Unit | None]] = field(default_factory=dict)
    """Calls in flight: the actor, and its unit, which is None while the actor starts."""
    attempts: Counter[tuple[int, int]] = field(default_factory=Counter)

    def run(self, size: int) -> None:
        """Work with `size` actors until nothing is waiting or in flight; end every actor, whatever happens.

        Raises:
            RuntimeError: an actor could not be started.
        """
        try:
            for _ in range(min(size, len(self.waiting))):
                self._hire()
            while self.busy:
                done, _ = ray.wait(list(self.busy), num_returns=1, timeout=1.0)
                for reference in done:
                    self._collect(reference)
        finally:
            for actor, _ in self.busy.values():
                ray.kill(actor)

    def _hire(self) -> None:
        actor = self.start()
        self.busy[actor.ready.remote()] = actor, None

    def _give(self, actor: Any) -> None:
        if not self.waiting:
            ray.kill(actor)
            return
        unit = self.waiting.popleft()
        self.bars[unit.stage].start()
        self.busy[actor.run.remote(self.stages[unit.stage].job, unit)] = actor, unit

    def _collect(self, reference: ray.ObjectRef) -> None:
        actor, unit = self.busy.pop(reference)
        try:
            result = ray.get(reference)
        except RayActorError as error:
            if unit is None:
                raise RuntimeError(f"an attack worker could not start: {error}") from error
            self._lose(unit)
        except RayTaskError as error:  # Ray wraps what the worker raised in its own traceback
            raise error.cause if isinstance(error.cause, UserError) else error from error
        else:
            if unit is not None:
                info, seconds = result
                self.stages[unit.stage].seconds.update(seconds)
                self._keep(unit, info)
            self._give(actor)

    def _keep(self, unit: Unit, info: ShardInfo) -> None:
        stage, bar = self.stages[unit.stage], self.bars[unit.stage]
        whole = stage.keep(unit.number, info)
        bar.advance(info.rows, stage.describe())
        if whole:
            bar.finish()

    def _lose(self, unit: Unit) -> None:
        self.stages[unit.stage].restarts += 1
        self.attempts[unit.stage, unit.number] += 1
        if self.attempts[unit.stage, unit.number] < ATTEMPTS:
            self.waiting.appendleft(unit)
        else:
            self._keep(unit, self._one_by_one(unit))
        self._hire()

    def _one_by_one(self, unit: Unit) -> ShardInfo:
        stage = self.stages[unit.stage]
        actor, records = self.start(), []
        for example in unit.examples:
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    records.append(ray.get(actor.attack.remote(stage.job, example)))
                    break
                except RayActorError as error:
                    stage.restarts += 1
                    actor = self.start()
                    if attempt == ATTEMPTS:
                        records.append(_set_aside(example, error))
        info = ray.get(actor.write.remote(stage.job, unit.number, records))
        ray.kill(actor)
        return info


def _set_aside(example: Example, error: Exception) -> Record:
    cause = f"{type(error).__name__}: ended its worker process {ATTEMPTS} times"
    return Record(example.example_id, example.label, example.text, example.text, "error", error=cause)


def generate(
    stages: Iterable[Stage], config: AttackConfig, display: Display, worker: type[AttackWorker] = AttackWorker
) -> None:
    """Run attack stages on one pool: attack all examples that no finished shard holds yet, and commit the manifests.

    Args:
        stages: what to attack; those that are finished are left alone, and one that comes twice is run once.
        config: size of the pool and of its units.
        display: shows a bar for each stage.
        worker: what each actor is.

    Raises:
        UserError: the cluster has no place for a worker.
        RuntimeError: a worker could not be started.
    """
    distinct = {stage.job.output: stage for stage in stages}
    _attack(
        [stage for stage in distinct.values() if read_manifest(Folder(stage.job.output)) is None],
        config,
        display,
        worker,
    )
    if config.profile:
        for stage in distinct.values():
            manifest = read_manifest(Folder(stage.job.output))
            if manifest is not None:
                display.say(f"{stage.title}: {profile.describe(manifest['timings']['profile'])}")


def _attack(todo: Sequence[Stage], config: AttackConfig, display: Display, worker: type[AttackWorker]) -> None:
    if not todo:
        return
    waiting = deque(unit for number, stage in enumerate(todo) for unit in stage.open(number))
    bars = [display.bar(stage.title, stage.examples.num_rows) for stage in todo]
    for stage, bar in zip(todo, bars, strict=True):
        bar.advance(sum(info.rows for info in stage.shards.values()), stage.describe())
        if stage.commit_if_whole():
            bar.finish()
    options, size = placement(config)
    Pool(todo, bars, ray.remote(max_restarts=0, max_task_retries=0, **options)(worker).remote, waiting).run(size)


def placement(config: AttackConfig) -> tuple[dict[str, float], int]:
    """What each actor asks Ray for, and how many there may be.

    Raises:
        UserError: the cluster has no CPU, or not the GPU, that an actor asks for; it would wait for ever.
    """
    total = ray.cluster_resources()
    gpus = config.gpus_per_worker
    if gpus and total.get("GPU", 0) < gpus:
        raise UserError(
            f"--attack.gpus_per_worker is {gpus}, but this Ray cluster has no GPU: set it to 0, or add a node with one"
        )
    places = int(total.get("CPU", 0)) if not gpus else min(int(total.get("CPU", 0)), int(total["GPU"] / gpus + 1e-9))
    if places < 1:
        raise UserError("this Ray cluster has no CPU for an attack worker: start Ray with --num-cpus 1 or more")
    return {"num_cpus": 1, "num_gpus": gpus}, min(config.workers or places, places)
