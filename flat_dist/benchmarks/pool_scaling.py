"""Measures how attacks scale: one worker against two, how evenly they finish, and what scheduling costs the driver."""

import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import ray

from flat_dist.attack.plan import TextsToAttack, plan_attack
from flat_dist.attack.pool.actor import AttackWorker
from flat_dist.attack.pool.stage import AttackStage
from flat_dist.benchmarks import common
from flat_dist.config.schema import Config
from flat_dist.data import datasets
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models.artifact import open_checkpoint
from flat_dist.runtime import cluster, hardware
from flat_dist.runtime.progress import Bar, Display
from flat_dist.scheduling.scheduler import Scheduler
from flat_dist.scheduling.work_queue import WorkQueue
from flat_dist.scheduling.worker import OPTIONS
from flat_dist.scheduling.worker_group import WorkerGroup
from flat_dist.scheduling.worker_pool import WorkerPool
from flat_dist.storage.folder import Folder

TURNS = ((1, 2), (2, 1))
"""Numbers of workers, in the order in which they are measured; both go first once, because of warm caches."""
WARM_UP = 64
"""Texts that each worker attacks before anything is measured."""
TAIL = 0.05
"""Share of the work that counts as its tail."""


class _TimedBar(Bar):
    """Records when how much was done."""

    def __init__(self, display: Display, total: int):
        super().__init__(display, "attack", total)
        self.times = [(time.perf_counter(), 0)]

    def advance(self, amount: int, note: str = "", **facts: Any) -> None:
        """Record the time."""
        super().advance(amount, note, **facts)
        if amount:
            self.times.append((time.perf_counter(), self.done))

    def took(self) -> float:
        """Seconds from the start of the first chunk to the end of the last."""
        return self.times[-1][0] - self.times[0][0]

    def tail(self) -> float:
        """Seconds that the tail of the work took, as a multiple of its share of all seconds."""
        moments, done = zip(*self.times, strict=True)
        began = float(np.interp((1 - TAIL) * self.total, done, moments))
        return (moments[-1] - began) / (TAIL * self.took())


def measure(
    config: Config, given: str | None, count: int, planned: int, in_flight: Sequence[int], display: Display
) -> dict[str, Any]:
    """Attack `count` texts with one worker and with two, in turns; then schedule `planned` examples without attacking.

    Args:
        config: victim and attack.
        given: folder of a victim; None: train one.
        count: texts of a turn.
        planned: examples that are handed to workers that do nothing.
        in_flight: numbers of such workers; one measurement for each.
        display: shows the progress.
    """
    dataset = datasets.load(config.data)
    with cluster.connected(), tempfile.TemporaryDirectory() as scratch, common.with_weights(config) as (config, _):
        config, _ = hardware.resolve(config, cluster.machine())
        folder = Folder(scratch)
        checkpoints.save(common.victim(config, dataset, given, display), folder / "victim")
        found = _workers(config, folder, common.distinct_examples(dataset), count, display)
    drivers = []
    for number in in_flight:
        display.log_line(f"driver: {planned} examples, {number} units in flight")
        drivers.append(_driver(planned, number))
    return found | {"driver": drivers}


def _workers(config: Config, folder: Folder, texts: Iterator[Any], count: int, display: Display) -> dict[str, Any]:
    stage = _stages(config, folder, texts)
    start = ray.remote(num_cpus=1, **OPTIONS)(AttackWorker).remote
    actors = [start() for _ in range(2)]
    warm = stage(WARM_UP)
    ray.get([actor.process.remote(warm.job, warm.examples) for actor in actors])
    rates: dict[int, list[float]] = {1: [], 2: []}
    tails: list[float] = []
    for turns in TURNS:
        attacked = stage(count)
        for workers in turns:
            bar = _run(attacked, actors[:workers], folder / f"shards-{len(tails)}-{workers}", display)
            rates[workers].append(count / bar.took())
            if workers == 2:
                tails.append(bar.tail())
    one, two = (statistics.mean(rates[workers]) for workers in (1, 2))
    ceiling = _ceiling(actors, stage(count // 2))
    return {
        "recipe": config.attack.name,
        "model": config.model.name,
        "examples": count,
        "examples_per_s": {"1": round(one, 2), "2": round(two, 2)},
        "efficiency": round(two / (2 * one), 3),
        "ceiling": round(ceiling, 3),
        "tail": round(statistics.mean(tails), 2),
    }


def _ceiling(actors: Sequence[Any], work: AttackStage) -> float:
    """Efficiency without scheduling and shards: each worker attacks the same texts in one call.

    It is below 1 because cores share caches and memory.
    """

    def seconds(*workers: Any) -> float:
        began = time.perf_counter()
        ray.get([worker.process.remote(work.job, work.examples) for worker in workers])
        return time.perf_counter() - began

    seconds(*actors)  # fills the caches of both
    return sum(map(seconds, actors)) / (len(actors) * seconds(*actors))


def _stages(config: Config, folder: Folder, texts: Iterator[Any]) -> Callable[[int], AttackStage]:
    """Returns a function that makes a stage of the next texts."""

    victim = open_checkpoint(folder / "victim")

    def stage(count: int) -> AttackStage:
        rows = list(itertools.islice(texts, count))
        columns = {name: [getattr(row, name) for row in rows] for name in ("example_id", "text", "label")}
        examples = pa.table(columns)
        plan = plan_attack(config, victim, TextsToAttack("bench", examples, "bench"), config.attack.name)
        return AttackStage("attack", plan.job, examples)

    return stage


def _run(stage: AttackStage, actors: Sequence[Any], output: Folder, display: Display) -> _TimedBar:
    """Attack a stage with workers that are already running and are kept."""
    turn = AttackStage(stage.title, replace(stage.job, output=output.uri), stage.examples)
    idle = list(actors)
    group = WorkerGroup("cpu", 0.0, len(actors), idle.pop, lambda _: None, idle.append)
    queue = WorkQueue(turn.open(0), [turn.smallest_chunk])
    bar = _TimedBar(display, turn.examples.num_rows)
    Scheduler([turn], [bar], queue, WorkerPool([group], display)).run()
    return bar


def _driver(examples: int, in_flight: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "flat_dist.benchmarks.pool_driver", str(examples), str(in_flight)]
    measured: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return measured
