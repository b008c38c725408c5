"""Attacks two examples; the second one takes all memory that Ray allows: VICTIM OUTPUT EXAMPLES."""

import os
import sys
import time
from collections.abc import Sequence

import numpy as np
import psutil
import pyarrow.parquet as pq

from flat_dist.attack.plan import AttackJob
from flat_dist.attack.pool.actor import AttackWorker
from flat_dist.attack.pool.run import worker_groups
from flat_dist.config.schema import AttackConfig
from flat_dist.data.shards import Example, Record
from flat_dist.runtime import cluster
from flat_dist.runtime.progress import Display
from tests.pipeline.attack_driver import plan, run

EXTRA_MEMORY = 8 * 2**30
"""Bytes that may be used in addition to what is in use now, before Ray's memory monitor ends a worker. Ray counts the
memory of the whole machine, so a small value could be used up by other tests."""


def worker_class(text: str) -> type[AttackWorker]:
    """A class of workers that allocate memory until they are ended, if one of their examples has this text."""

    class AllocatingWorker(AttackWorker):
        def __init__(self) -> None:
            super().__init__()
            attack = self.session.process

            def allocate_or_process(job: AttackJob, examples: Sequence[Example]) -> list[Record]:
                kept = []
                while any(example.text == text for example in examples):
                    kept.append(np.ones(2**24))
                    time.sleep(0.02)
                return attack(job, examples)

            self.session.process = allocate_or_process

    return AllocatingWorker


if __name__ == "__main__":
    victim, output, examples = sys.argv[1:]
    memory = psutil.virtual_memory()
    threshold = (memory.total - memory.available + min(EXTRA_MEMORY, memory.available // 2)) / memory.total
    os.environ["RAY_memory_usage_threshold"] = str(threshold)  # noqa: SIM112, Ray's own spelling
    with cluster.connected(cpus=1), Display() as display:
        table = pq.read_table(examples)
        attack = plan(victim, output, table, unit_size=1)
        worker = worker_class(table["text"][1].as_py())
        config = AttackConfig(device="cpu", max_failures=0.5)
        run(attack, config, display, worker_groups(config, worker))
