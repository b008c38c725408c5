"""Runs one attack stage in a process of its own, so that a test can kill it: VICTIM OUTPUT EXAMPLES WORKERS."""

import sys
import time
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from flat_dist.attack.limits import resolve
from flat_dist.attack.plan import AttackJob
from flat_dist.attack.pool import run
from flat_dist.attack.pool.actor import AttackWorker
from flat_dist.attack.pool.stage import AttackStage
from flat_dist.config.schema import AttackConfig
from flat_dist.data.shards import Example, Record
from flat_dist.runtime import cluster
from flat_dist.runtime.progress import Display


def stage(victim: str, output: str, examples: pa.Table, stall_seconds: float = 0.0, unit_size: int = 4) -> AttackStage:
    """The stage that the tests run."""
    identity = {"recipe": "pwws", "seed": 3}
    limits = {"cpu": resolve(AttackConfig(device="cpu"), transformer=False)}
    job = AttackJob("pwws", victim, "counterfit", output, 1, 3, "cpu", limits, unit_size, identity, stall_seconds)
    return AttackStage("attack", job, examples)


class SlowWorker(AttackWorker):
    """Takes a while for each example, so that its driver can be killed before it is done."""

    def __init__(self) -> None:
        super().__init__()
        attack = self.session.process

        def attack_slowly(job: AttackJob, examples: Sequence[Example]) -> list[Record]:
            time.sleep(0.3 * len(examples))
            return attack(job, examples)

        self.session.process = attack_slowly


if __name__ == "__main__":
    victim, output, examples, workers = sys.argv[1:]
    with cluster.connected(cpus=2), Display() as display:
        stages = [stage(victim, output, pq.read_table(examples))]
        run.run_attacks(stages, AttackConfig(workers=int(workers), device="cpu"), display, SlowWorker)
