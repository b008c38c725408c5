"""Groups of workers on a Ray cluster: how many workers a group may have, and what each of them needs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import ray

from flat_dist.scheduling.worker import OPTIONS, Worker

PENDING = 4
"""Number of workers that may wait for nodes to join, unless more have already started: then as many as those. Pending
workers tell an autoscaling cluster to grow, and it grows in steps."""


@dataclass(frozen=True)
class WorkerGroup:
    """Workers that all need the same resources."""

    device: str
    gpus: float
    """Share of a GPU for each worker, in addition to one CPU."""
    wanted: int
    """Number of workers; 0: as many as the cluster has room for."""
    start: Callable[[], Any]
    """Asks Ray for a worker; returns its actor at once."""
    stop: Callable[[Any], None] = ray.kill
    """Ends an actor."""
    release: Callable[[Any], None] = ray.kill
    """Called with a healthy actor for which no work is left."""

    @property
    def resources(self) -> dict[str, float]:
        """Resources of one worker."""
        return {"CPU": 1.0} | ({"GPU": self.gpus} if self.gpus else {})

    def capacity(self, total: Mapping[str, float]) -> int:
        """Number of workers that fit on a cluster with these resources."""
        return min(int(total.get(name, 0) / amount + 1e-9) for name, amount in self.resources.items())

    def limit(self, total: Mapping[str, float], grows: bool, started: int) -> int:
        """Maximum number of workers, including those that wait for resources.

        Args:
            total: resources of the cluster.
            grows: whether nodes may join.
            started: number of workers that have started.
        """
        capacity = self.capacity(total)
        if not self.wanted:
            return capacity
        return min(self.wanted, max(capacity, started + max(PENDING, started)) if grows else capacity)


def ray_group(worker: type[Worker], device: str, gpus: float = 0.0, wanted: int = 0) -> WorkerGroup:
    """A group whose workers are new actors, which end with the work."""
    actor = ray.remote(num_cpus=1, num_gpus=gpus, **OPTIONS)(worker)
    return WorkerGroup(device, gpus, wanted, lambda: actor.remote())


@contextmanager
def reusable(groups: Sequence[WorkerGroup]) -> Iterator[list[WorkerGroup]]:
    """The same groups, whose healthy workers stay from one call of `run_stages` to the next, until the context ends.

    They keep their resources: nothing else may need them within the context.
    """
    idle: list[list[Any]] = [[] for _ in groups]

    def keep(group: WorkerGroup, actors: list[Any]) -> WorkerGroup:
        return replace(group, start=lambda: actors.pop() if actors else group.start(), release=actors.append)

    try:
        yield [keep(*pair) for pair in zip(groups, idle, strict=True)]
    finally:
        for group, actors in zip(groups, idle, strict=True):
            for actor in actors:
                group.release(actor)


class WarmWorkers:
    """Workers of one process that are kept from one stage to the next, because a worker takes long to start.

    They reserve no CPU in Ray, because they are idle while others work: the caller must reserve one for each.

    Args:
        worker: class of the actors.
    """

    def __init__(self, worker: type[Worker]) -> None:
        self.idle: list[Any] = []
        self._worker = worker

    def group(self, wanted: int) -> WorkerGroup:
        """A group of `wanted` workers on CPUs."""
        return WorkerGroup("cpu", 0.0, wanted, self._start, release=self.idle.append)

    def start_early(self, count: int) -> None:
        """Ask for workers before there is work: they import packages while the driver prepares it."""
        self.idle += [self._new() for _ in range(count)]

    def _start(self) -> Any:
        return self.idle.pop() if self.idle else self._new()

    def _new(self) -> Any:
        return ray.remote(num_cpus=0, **OPTIONS)(self._worker).remote()
