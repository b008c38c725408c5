"""Attack workers on a Ray cluster: how many there may be, what each asks for, and why one does not come."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import ray

from flat_dist.attack.pool.actor import ACTOR, AttackWorker
from flat_dist.config.schema import AttackConfig

PENDING = 4
"""Workers that may wait for nodes which are not there yet, or as many as there are already, if that is more: to a
cluster that grows, they are the sign that it should, and it grows in steps."""


@dataclass(frozen=True)
class WorkerGroup:
    """Workers of one kind."""

    device: str
    gpus: float
    """Share of a GPU that each asks for, beside a CPU."""
    wanted: int
    """How many; 0: as many as the cluster has room for."""
    start: Callable[[], Any]
    """Asks Ray for one more; returns its actor at once."""
    stop: Callable[[Any], None] = ray.kill
    """Ends an actor."""
    release: Callable[[Any], None] = ray.kill
    """Takes an actor that is well and has nothing more to do."""

    @property
    def asks(self) -> dict[str, float]:
        """Resources of one worker."""
        return {"CPU": 1.0} | ({"GPU": self.gpus} if self.gpus else {})

    def capacity(self, total: Mapping[str, float]) -> int:
        """How many fit on a cluster."""
        return min(int(total.get(name, 0) / amount + 1e-9) for name, amount in self.asks.items())

    def limit(self, total: Mapping[str, float], grows: bool, there: int) -> int:
        """How many there may be, those that wait for room included.

        Args:
            total: resources of the cluster.
            grows: whether nodes may join.
            there: how many have started.
        """
        capacity = self.capacity(total)
        if not self.wanted:
            return capacity
        return min(self.wanted, max(capacity, there + max(PENDING, there)) if grows else capacity)


def worker_groups(config: AttackConfig, worker: type[AttackWorker] = AttackWorker) -> list[WorkerGroup]:
    """The workers that a config asks for: on its device, and CPU workers beside those on GPUs."""
    wanted = [(config.device, config.gpus_per_worker, config.workers)]
    if config.gpus_per_worker and config.cpu_workers:
        wanted.append(("cpu", 0.0, config.cpu_workers))
    return [WorkerGroup(device, gpus, count, _starter(worker, gpus)) for device, gpus, count in wanted]


class WarmWorkers:
    """Attack workers of one process that stay from one attack to the next, for they take long to start.

    They ask Ray for no processor, because they stand idle while others work: it is for whoever keeps them to have one
    for each.
    """

    def __init__(self) -> None:
        self.idle: list[Any] = []

    def group(self, config: AttackConfig) -> WorkerGroup:
        """CPU workers, as many as the config asks for."""
        return WorkerGroup("cpu", 0.0, config.workers, self._start, release=self.idle.append)

    def _start(self) -> Any:
        actor = ray.remote(num_cpus=0, **ACTOR)(AttackWorker)
        return self.idle.pop() if self.idle else actor.remote()


def _starter(worker: type[AttackWorker], gpus: float) -> Callable[[], Any]:
    actor = ray.remote(num_cpus=1, num_gpus=gpus, **ACTOR)(worker)
    return lambda: actor.remote()
