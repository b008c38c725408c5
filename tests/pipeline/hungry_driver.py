"""Attacks four examples, the third of which takes all memory that Ray allows: VICTIM OUTPUT EXAMPLES."""

import os
import sys
import time
from collections.abc import Sequence

import numpy as np
import psutil
import pyarrow.parquet as pq

from flat_dist import cluster
from flat_dist.attack import pool
from flat_dist.attack.job import AttackJob
from flat_dist.config import AttackConfig
from flat_dist.data.shards import Example, Record
from flat_dist.progress import Display
from tests.pipeline.attack_driver import stage

ROOM = 4 * 2**30
"""Bytes that may be used beside what is, before Ray's memory monitor ends a worker."""


class Hungry(pool.AttackWorker):
    """Takes memory until it is ended."""

    def __init__(self) -> None:
        super().__init__()
        attack = self.session.attack

        def attack_hungrily(job: AttackJob, examples: Sequence[Example]) -> list[Record]:
            kept = []
            while any(example.example_id == "test-2" for example in examples):
                kept.append(np.ones(2**24))
                time.sleep(0.02)
            return attack(job, examples)

        self.session.attack = attack_hungrily


if __name__ == "__main__":
    victim, output, examples = sys.argv[1:]
    memory = psutil.virtual_memory()
    threshold = (memory.total - memory.available + ROOM) / memory.total
    os.environ["RAY_memory_usage_threshold"] = str(threshold)  # noqa: SIM112, Ray's own spelling
    with cluster.connected(cpus=1), Display() as display:
        attacked = stage(victim, output, pq.read_table(examples))
        pool.generate([attacked], AttackConfig(device="cpu", max_failures=0.25), display, Hungry)
