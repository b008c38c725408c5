"""Spreads the attack over Ray actors: small units, pulled, each written as one shard.

One unit is in flight per actor, so one unit is in doubt when an actor dies. Ray restarts and retries nothing: the
driver replaces the actor and tries the unit again; a unit that kills a second actor is attacked example by example,
and the example that kills is set aside as a row with status error.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import ray
from ray.exceptions import RayActorError

from flat_dist.config import AttackConfig, UserError
from flat_dist.data.shards import Example, Record, ShardInfo, finished_units, read_manifest, write_manifest
from flat_dist.data.storage import Folder
from flat_dist.progress import Bar

STARTS = 2
"""Actors that one unit, or one example, may cost before it is given up."""


@dataclass(frozen=True)
class AttackJob:
    """An attack stage in plain values, which travel to the workers."""

    recipe: str
    checkpoint: str
    """Folder of the victim."""
    synonyms: str
    """Where TextFooler's neighbours come from; see `flat_dist.attack.synonyms`."""
    output: str
    """Folder of the shards."""
    round_number: int
    seed: int
    device: str
    identity: Mapping[str, Any]
    """Recipe, resources, checkpoint hash, seed and versions, as written into every shard."""


@dataclass(frozen=True)
class Unit:
    """Examples that become one shard."""

    number: int
    examples: tuple[Example, ...]

    @property
    def words(self) -> int:
        """Words of all its texts, which its cost goes by."""
        return sum(example.text.count(" ") + 1 for example in self.examples)


@ray.remote(max_restarts=0, max_task_retries=0)
class AttackWorker:
    """Holds a victim and an attack on it."""

    def __init__(self, job: AttackJob):
        from flat_dist.attack.session import AttackSession

        self.session = AttackSession(job)

    def ready(self) -> None:
        """Returns once the worker can attack."""

    def run(self, unit: Unit) -> ShardInfo:
        """Attack a unit and write its shard."""
        return self.session.run(unit)

    def attack(self, example: Example) -> Record:
        """Attack one example."""
        return self.session.attack(example)

    def write(self, number: int, records: Sequence[Record]) -> ShardInfo:
        """Write the shard of a unit that was attacked example by example."""
        return self.session.write(number, records)


@dataclass
class Pool:
    """Actors, the unit that each is working on, and what is still to do."""

    job: AttackJob
    options: Mapping[str, float]
    size: int
    waiting: deque[Unit]
    on_shard: Callable[[ShardInfo], None]
    busy: dict[ray.ObjectRef, tuple[Any, Unit | None]] = field(default_factory=dict)
    """Calls in flight: the actor, and its unit, which is None while the actor starts."""
    starts: dict[int, int] = field(default_factory=dict)
    restarts: int = 0

    def run(self) -> None:
        """Work until nothing is waiting or in flight; end every actor, whatever happens.

        Raises:
            RuntimeError: an actor could not be started.
        """
        try:
            for _ in range(min(self.size, len(self.waiting))):
                self._hire()
            while self.busy:
                done, _ = ray.wait(list(self.busy), num_returns=1, timeout=1.0)
                for reference in done:
                    self._collect(reference)
        finally:
            for actor, _ in self.busy.values():
                ray.kill(actor)

    def _hire(self) -> None:
        actor = AttackWorker.options(**self.options).remote(self.job)
        self.busy[actor.ready.remote()] = actor, None

    def _give(self, actor: Any) -> None:
        if not self.waiting:
            ray.kill(actor)
            return
        unit = self.waiting.popleft()
        self.busy[actor.run.remote(unit)] = actor, unit

    def _collect(self, reference: ray.ObjectRef) -> None:
        actor, unit = self.busy.pop(reference)
        try:
            info = ray.get(reference)
        except RayActorError as error:
            if unit is None:
                raise RuntimeError(f"an attack worker could not start: {error}") from error
            self._lose(unit)
        else:
            if info is not None:
                self.on_shard(info)
            self._give(actor)

    def _lose(self, unit: Unit) -> None:
        self.restarts += 1
        self.starts[unit.number] = self.starts.get(unit.number, 0) + 1
        if self.starts[unit.number] < STARTS:
            self.waiting.appendleft(unit)
        else:
            self.on_shard(self._one_by_one(unit))
        self._hire()

    def _one_by_one(self, unit: Unit) -> ShardInfo:
        start = AttackWorker.options(**self.options).remote
        actor, records = start(self.job), []
        for example in unit.examples:
            for attempt in range(1, STARTS + 1):
                try:
                    records.append(ray.get(actor.attack.remote(example)))
                    break
                except RayActorError as error:
                    self.restarts += 1
                    actor = start(self.job)
                    if attempt == STARTS:
                        records.append(_set_aside(example, error))
        info = ray.get(actor.write.remote(unit.number, records))
        ray.kill(actor)
        return info


def _set_aside(example: Example, error: Exception) -> Record:
    cause = f"{type(error).__name__}: ended its worker process {STARTS} times"
    return Record(example.example_id, example.label, example.text, example.text, "error", error=cause)


def plan(examples: pa.Table, unit_size: int) -> list[Unit]:
    """Units of at most `unit_size` examples, in the order of the table."""
    rows = [Example(row["example_id"], row["text"], row["label"]) for row in examples.to_pylist()]
    return [
        Unit(number, tuple(rows[start : start + unit_size]))
        for number, start in enumerate(range(0, len(rows), unit_size))
    ]


def generate(job: AttackJob, examples: pa.Table, config: AttackConfig, bar: Bar) -> dict[str, Any]:
    """Attack all examples that no finished shard holds yet, commit the manifest, and return it.

    Args:
        job: what to attack, and where to.
        examples: columns example_id, text and label.
        config: size of the pool and of its units.
        bar: follows the examples, those of an interrupted job first.

    Raises:
        UserError: the cluster has no place for a worker.
    """
    output = Folder(job.output)
    if (manifest := read_manifest(output)) is not None:
        bar.advance(manifest["rows"], "done before")
        return manifest
    units = plan(examples, config.unit_size)
    shards = finished_units(output, [[example.example_id for example in unit.examples] for unit in units])
    bar.advance(sum(info.rows for info in shards.values()), _describe(shards.values()))

    def keep(info: ShardInfo) -> None:
        shards[int(info.name.partition("-")[0])] = info
        bar.advance(info.rows, _describe(shards.values()))

    # The longest first, so that no long unit is left for the end.
    todo = sorted((unit for unit in units if unit.number not in shards), key=lambda unit: (-unit.words, unit.number))
    options, size = placement(config)
    pool = Pool(job, options, size, deque(todo), keep)
    began = time.monotonic()
    pool.run()
    timings = {"seconds": round(time.monotonic() - began, 3), "workers": size, "restarts": pool.restarts}
    write_manifest(output, shards.values(), job.identity, timings)
    manifest = read_manifest(output)
    assert manifest is not None
    return manifest


def _describe(shards: Iterable[ShardInfo]) -> str:
    counts = Counter[str]()
    for info in shards:
        counts.update(info.counts)
    return ", ".join(f"{count} {status}" for status, count in counts.most_common())


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
