"""Workers that stay for a whole run: each trains, attacks and explains.

A worker takes ten seconds to start, because it imports PyTorch and TextAttack; a run on one machine would spend a third
of its time so. Workers that stay are for a machine's CPUs alone. On a cluster they would keep nodes that others could
use, and on a GPU memory that training needs: there, each phase has its own workers, and Ray Train trains.
"""

from typing import Any

import torch

from flat_dist.config.schema import Config
from flat_dist.config.serialization import from_dict
from flat_dist.evaluation.attribution_stage import AttributionJob
from flat_dist.runtime import capacity
from flat_dist.runtime.malloc import return_freed_memory
from flat_dist.runtime.progress import Bar
from flat_dist.scheduling.session import Session, Watched
from flat_dist.scheduling.worker import Worker
from flat_dist.scheduling.worker_call import call_worker
from flat_dist.scheduling.worker_group import WarmWorkers, WorkerGroup
from flat_dist.storage.folder import Folder
from flat_dist.training import distributed
from flat_dist.training.job import LEAST_STALL_SECONDS, Train, TrainingJob
from flat_dist.training.progress import shown

EARLY = 4
"""Workers that start before there is work. On larger machines, others follow when there is enough for them."""


class RunWorker(Worker):
    """Attacks texts, explains pairs, and trains models, one after another."""

    def make_session(self) -> Session:
        """A session that holds the attack's resources, which take longest to load."""
        from flat_dist.attack.pool.session import AttackSession

        self._explaining: Session | None = None
        return AttackSession()

    def session_for(self, job: Any) -> Session:
        """The session that attacks, or the one that explains."""
        if not isinstance(job, AttributionJob):
            return self.session
        if self._explaining is None:
            from flat_dist.evaluation.attribution_session import AttributionSession

            self._explaining = AttributionSession()
        return self._explaining

    def train(self, job: TrainingJob, output: str, kept: str, stall_seconds: float) -> None:
        """Train, as `flat_dist.training.single_task.train_here`.

        Args:
            job: what to train, and on what.
            output: folder of the result.
            kept: folder of the state from which an interrupted training resumes.
            stall_seconds: seconds without an answer of the model after which this process ends; 0: never.
        """
        from flat_dist.training.single_task import train_here

        self.current = watched = Watched()
        watched.loading = True

        def tick() -> None:
            watched.loading = False
            watched.watchdog.tick()

        with watched.watchdog:
            watched.watchdog.seconds = stall_seconds
            try:
                train_here(job, output, kept, tick)
            finally:
                torch.set_num_threads(1)  # attacks and attributions must not depend on the number of threads
                return_freed_memory()


def run_workers(config: Config) -> WorkerGroup | None:
    """Workers that have been asked to start, and stay; None: each phase shall have its own.

    Args:
        config: with hardware resolved.
    """
    if capacity.joined() or "cuda" in (config.training.device, config.attack.device):
        return None
    warm = WarmWorkers(RunWorker)
    group = warm.group(config.attack.workers)
    warm.start_early(min(config.attack.workers or group.capacity(capacity.total()), EARLY))
    return group


def trainer(config: Config, workers: WorkerGroup | None) -> Train:
    """Trains in one of the workers that stay; with several training workers, or without such workers, by Ray Train."""
    return train_in(workers) if workers and config.training.workers == 1 else distributed.train


def train_in(group: WorkerGroup) -> Train:
    """A function that trains in one of the workers, as `distributed.train` does with one worker."""

    def train(job: TrainingJob, run_name: str, storage: Folder, output: Folder, bar: Bar) -> None:
        stall_seconds = from_dict(Config, job.config, job.name).attack.stall_seconds
        limit = stall_seconds and max(stall_seconds, LEAST_STALL_SECONDS)
        kept = (storage / run_name).uri
        with shown(output, bar):
            call_worker(
                group, f"train {job.name}", lambda actor: actor.train.remote(job, output.uri, kept, limit), limit
            )

    return train
