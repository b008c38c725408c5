"""What the attack pool costs its driver, with workers that do nothing; a process of its own, to see its memory.

The examples are made when they are asked for: what a table of them would take is not the pool's.
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
from flat_dist.attack.pool.scheduler import AttackScheduler
from flat_dist.attack.pool.work_queue import AttackStage, WorkQueue
from flat_dist.attack.pool.worker_group import WorkerGroup
from flat_dist.data.shards import ShardInfo
from flat_dist.runtime import cluster
from flat_dist.runtime.progress import Display

UNIT = 256
"""Examples of a unit, as of a CNN's."""
ACTORS = 2
"""Processes that stand for all workers; each answers many calls at a time."""
TEXTS = tuple("word " * words + "." for words in range(4, 36))
"""20 words on average."""


@dataclass(frozen=True)
class Made:
    """So many examples, none of which is there before it is asked for."""

    num_rows: int

    def slice(self, offset: int, length: int) -> pa.Table:
        """Some rows; columns example_id, text and label."""
        rows = np.arange(offset, offset + length)
        texts = pa.array(TEXTS).take(pa.array(rows % len(TEXTS)))
        return pa.table({"example_id": pa.array(rows).cast(pa.string()), "text": texts, "label": rows % 2})


class Idle:
    """Answers for a worker, and attacks nothing."""

    def ready(self) -> str:
        """The node it is on."""
        node: str = ray.get_runtime_context().get_node_id()
        return node

    def run(self, job: AttackJob, number: int, examples: pa.Table) -> tuple[ShardInfo, dict[str, float]]:
        """What a manifest says of a unit."""
        return ShardInfo(f"{number:06d}.arrow", examples.num_rows, "0" * 64, {"failed": examples.num_rows}), {}


class _Many(WorkerGroup):
    """As many workers as are wanted, wherever they find capacity."""

    def capacity(self, total: Any) -> int:
        return self.wanted


def _keep(actor: Any) -> None:
    """Another is still at work in it."""


def drive(examples: int, in_flight: int) -> dict[str, Any]:
    """Plan and collect so many examples, with so many units in flight.

    Returns:
        Examples per second of the driver's processor time and of wall time, and the driver's peak memory in MiB.
    """
    actor = ray.remote(num_cpus=0, max_concurrency=max(in_flight // ACTORS, 1))(Idle)
    actors = [actor.remote() for _ in range(ACTORS)]
    ray.get([one.ready.remote() for one in actors])
    turns = itertools.cycle(actors)
    with tempfile.TemporaryDirectory() as folder, Display(quiet=True) as display:
        job = AttackJob("none", "none", "none", folder, 0, 0, "cpu", {}, UNIT, {})
        group = _Many("cpu", 0.0, in_flight, lambda: next(turns), _keep, _keep)
        processor, wall = time.process_time(), time.perf_counter()
        stage = AttackStage("none", job, Made(examples))
        work = WorkQueue(stage.open(0), [UNIT])
        AttackScheduler([stage], [display.bar("none", examples)], [group], work, display).run()
        processor, wall = time.process_time() - processor, time.perf_counter() - wall
        assert len(json.loads((Path(folder) / "manifest.json").read_text())["shards"]) == len(stage.shards)
    return {
        "units_in_flight": in_flight,
        "examples": examples,
        "examples_per_core_s": round(examples / processor),
        "examples_per_s": round(examples / wall),
        "driver_peak_mib": peak_mib(),
    }


def peak_mib() -> int:
    """The most memory that this process had; `getrusage` tells that of the process that started it, if that is more."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) // 2**10


if __name__ == "__main__":
    with cluster.connected(cpus=ACTORS):
        print(json.dumps(drive(*map(int, sys.argv[1:]))), flush=True)
