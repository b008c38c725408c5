"""How many workers a pool starts, and what it reports while none is ready. No Ray is started."""

from typing import Any

import pytest
import ray
from ray.exceptions import ActorDiedError

from flat_dist.config.errors import UserError
from flat_dist.runtime import capacity
from flat_dist.runtime.progress import Display
from flat_dist.scheduling import worker_pool
from flat_dist.scheduling.worker_group import WorkerGroup
from flat_dist.scheduling.worker_pool import PooledWorker, WorkerPool


class Actor:
    """Never ready."""

    def __init__(self) -> None:
        self.ready = self
        self.ended = False

    def remote(self) -> object:
        return object()


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    total = {"CPU": 8.0, "GPU": 1.0}
    monkeypatch.setattr(capacity, "total", lambda: dict(total))
    monkeypatch.setattr(ray, "cluster_resources", lambda: total)
    monkeypatch.setattr(ray, "available_resources", lambda: {"CPU": 0.5})
    return total


def pool(*groups: WorkerGroup) -> WorkerPool:
    return WorkerPool(groups, Display(quiet=True))


def group(gpus: float, wanted: int) -> WorkerGroup:
    def stop(actor: Any) -> None:
        actor.ended = True

    return WorkerGroup("cpu", gpus, wanted, Actor, stop)


def test_the_number_of_workers_follows_the_size_of_the_cluster(cluster: dict[str, float]) -> None:
    one = pool(group(0, 0))
    one.adjust(100)
    assert len(one.calls) == 8
    cluster["CPU"] = 12.0
    one.adjust(100)
    actors = [worker.actor for worker in one.workers]
    assert len(actors) == 12
    cluster["CPU"] = 3.0
    one.adjust(100)
    assert len(one.calls) == 3
    assert sum(actor.ended for actor in actors) == 9


def test_cpu_workers_use_the_cpus_that_gpu_workers_leave(cluster: dict[str, float]) -> None:
    mixed = pool(group(0.25, 0), group(0, 100))
    mixed.adjust(100)
    found = [worker.group.gpus for worker in mixed.workers]
    assert (found.count(0.25), found.count(0)) == (4, 4)


def test_no_more_workers_are_started_than_there_is_work_for(cluster: dict[str, float]) -> None:
    few = pool(group(0, 0))
    few.adjust(2)
    assert len(few.calls) == 2


def test_it_reports_what_it_waits_for(cluster: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    waiting = pool(group(0.25, 0), group(0, 2))
    monkeypatch.setattr(waiting.display, "log_line", lines.append)
    waiting.adjust(100)
    assert not lines
    for _ in range(2):
        waiting._waiting_since -= worker_pool.WAITING_SECONDS + 1
        waiting._said -= worker_pool.WAITING_SECONDS / 2 + 1
        waiting.adjust(100)
    assert lines == [
        "waiting for the first attack worker to start: it needs 1 CPU and 0.25 GPU or 1 CPU; "
        "the cluster has 8 CPU and 1 GPU, free: 0.5 CPU"
    ]


def test_too_many_workers_that_die_before_they_are_ready_end_the_run(cluster: dict[str, float]) -> None:
    dying = pool(group(0, 2))
    dying.adjust(100)
    worker, deaths = PooledWorker(Actor(), dying.groups[0]), 0
    with pytest.raises(UserError, match="6 attack workers in a row died before they could start"):
        while True:
            dying.fail_start(worker, ActorDiedError())
            deaths += 1
    assert deaths == 2 * worker_pool.STARTS - 1
