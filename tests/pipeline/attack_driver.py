"""Runs one attack stage in a process of its own, so that a test can kill it: VICTIM OUTPUT EXAMPLES WORKERS."""

import sys
import time
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from flat_dist.attack.limits import resolve
from flat_dist.attack.plan import AttackJob, AttackPlan
from flat_dist.attack.pool.actor import AttackWorker
from flat_dist.attack.pool.run import run_attacks, worker_groups
from flat_dist.config.schema import AttackConfig
from flat_dist.data.shards import Example, Record
from flat_dist.models.artifact import ModelArtifact
from flat_dist.runtime import cluster
from flat_dist.runtime.progress import Display
from flat_dist.scheduling.worker_group import WorkerGroup
from flat_dist.storage.folder import Folder
from flat_dist.storage.stage import Executor


class AttackInFolder(AttackPlan):
    """An attack whose shards go into the folder that its job names."""

    def folder(self, storage: Folder) -> Folder:
        return Folder(self.job.output)


def plan(victim: str, output: str, examples: pa.Table, stall_seconds: float = 0.0, unit_size: int = 4) -> AttackPlan:
    """The attack that the tests run."""
    identity = {"recipe": "pwws", "seed": 3}
    limits = {"cpu": resolve(AttackConfig(device="cpu"), transformer=False)}
    job = AttackJob("pwws", victim, "counterfit", output, 1, 3, "cpu", limits, unit_size, identity, stall_seconds)
    model = ModelArtifact(Folder(victim), "victim", model_name="victim")
    return AttackInFolder(
        name="attack", title="attack", inputs=identity, keep_damaged=True, model=model, job=job, examples=examples
    )


def run(plan: AttackPlan, config: AttackConfig, display: Display, groups: Sequence[WorkerGroup]) -> None:
    """Run an attack."""
    run_attacks([plan], config, Executor(Folder(plan.job.output), display.log_line), display, groups)


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
        config = AttackConfig(workers=int(workers), device="cpu")
        run(plan(victim, output, pq.read_table(examples)), config, display, worker_groups(config, SlowWorker))
