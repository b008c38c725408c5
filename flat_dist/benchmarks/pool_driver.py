"""Measures what scheduling attacks costs the driver, with workers that do nothing.

It runs in its own process, so that the peak memory is the driver's. The examples are made on demand, because a table of
them would count as the driver's memory.
"""

import itertools
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import ray

from flat_dist.attack.plan import AttackJob
from flat_dist.attack.pool.stage import AttackStage
from flat_dist.data.shards import ShardInfo
from flat_dist.runtime import cluster
from flat_dist.runtime.progress import Display
from flat_dist.scheduling.scheduler import Scheduler
from flat_dist.scheduling.work_queue import WorkQueue
from flat_dist.scheduling.worker import Answer
from flat_dist.scheduling.worker_group import WorkerGroup
from flat_dist.scheduling.worker_pool import WorkerPool

UNIT = 256
"""Examples of a unit, as for a CNN."""
ACTORS = 2
"""Processes that act as all workers; each answers many calls at the same time."""
TEXTS = tuple("word " * words + "." for words in range(4, 36))
"""20 words on average."""


@dataclass(frozen=True)
class GeneratedExamples:
    """Examples that are made on demand."""

    num_rows: int

    def slice(self, offset: int, length: int) -> pa.Table:
        """Some rows; columns example_id, text and label."""
        rows = np.arange(offset, offset + length)
        texts = pa.array(TEXTS).take(pa.array(rows % len(TEXTS)))
        return pa.table({"example_id": pa.array(rows).cast(pa.string()), "text": texts, "label": rows % 2})


class IdleWorker:
    """Answers like a worker, and attacks nothing."""

    def ready(self) -> str:
        """Id of the node."""
        node: str = ray.get_runtime_context().get_node_id()
        return node

    def run(self, job: AttackJob, number: int, examples: pa.Table) -> Answer:
        """The manifest's entry of a unit."""
        return Answer(ShardInfo(f"{number:06d}.arrow", examples.num_rows, "0" * 64, {"failed": examples.num_rows}))


class _UnlimitedGroup(WorkerGroup):
    """As many workers as are wanted, whatever the cluster has."""

    def capacity(self, total: Any) -> int:
        return self.wanted


def _keep(actor: Any) -> None:
    """Do not end the actor: it acts as other workers too."""


def drive(examples: int, in_flight: int) -> dict[str, Any]:
    """Hand out and collect `examples` examples, with `in_flight` units in flight.

    Returns:
        Examples per second of the driver's processor time and of wall time, and the driver's peak memory in MiB.
    """
    actor = ray.remote(num_cpus=0, max_concurrency=max(in_flight // ACTORS, 1))(IdleWorker)
    actors = [actor.remote() for _ in range(ACTORS)]
    ray.get([one.ready.remote() for one in actors])
    turns = itertools.cycle(actors)
    with tempfile.TemporaryDirectory() as folder, Display(quiet=True) as display:
        job = AttackJob("none", "none", "none", folder, 0, 0, "cpu", {}, UNIT, {})
        group = _UnlimitedGroup("cpu", 0.0, in_flight, lambda: next(turns), _keep, _keep)
        processor, wall = time.process_time(), time.perf_counter()
        stage = AttackStage("none", job, GeneratedExamples(examples))
        queue = WorkQueue(stage.open(0), [UNIT])
        Scheduler([stage], [display.bar("none", examples)], queue, WorkerPool([group], display)).run()
        processor, wall = time.process_time() - processor, time.perf_counter() - wall
        assert len(json.loads((Path(folder) / "manifest.json").read_text())["shards"]) == len(stage.written)
    return {
        "units_in_flight": in_flight,
        "examples": examples,
        "examples_per_core_s": round(examples / processor),
        "examples_per_s": round(examples / wall),
        "driver_peak_mib": peak_mib(),
    }


def peak_mib() -> int:
    """Peak memory of this process in MiB; `getrusage` would include that of the process that started it."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) // 2**10


if __name__ == "__main__":
    with cluster.connected(cpus=ACTORS):
        print(json.dumps(drive(*map(int, sys.argv[1:]))), flush=True)
