"""What the pool says and does while no worker comes; no Ray is started."""

from typing import Any

import pytest

from flat_dist.attack import dispatch
from flat_dist.attack.crew import Crew
from flat_dist.attack.dispatch import Pool
from flat_dist.attack.units import Piece, Work
from flat_dist.progress import Display


class Actor:
    """Never ready."""

    def __init__(self) -> None:
        self.ready = self
        self.ended = False

    def remote(self) -> "Actor":
        return self


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    total = {"CPU": 8.0, "GPU": 1.0}
    monkeypatch.setattr(dispatch.ray, "cluster_resources", lambda: total)
    monkeypatch.setattr(dispatch.ray, "available_resources", lambda: {"CPU": 0.5})
    return total


def pool(*crews: Crew) -> Pool:
    work = Work([Piece(0, unit, 4 * unit, 4 * unit + 4) for unit in range(20)], [4])
    return Pool([], [], crews, work, Display(quiet=True))


def crew(gpus: float, wanted: int) -> Crew:
    def stop(actor: Any) -> None:
        actor.ended = True

    return Crew("cpu", gpus, wanted, Actor, stop)


def test_workers_follow_the_size_of_the_cluster(cluster: dict[str, float]) -> None:
    one = pool(crew(0, 0))
    one._look()
    assert len(one.busy) == 8
    cluster["CPU"] = 12.0
    one._look()
    actors = [worker.actor for worker in one.busy.values()]
    assert len(actors) == 12
    cluster["CPU"] = 3.0
    one._look()
    assert len(one.busy) == 3
    assert sum(actor.ended for actor in actors) == 9


def test_cpu_workers_take_what_those_on_gpus_leave(cluster: dict[str, float]) -> None:
    mixed = pool(crew(0.25, 0), crew(0, 100))
    mixed._look()
    found = [worker.crew.gpus for worker in mixed.busy.values()]
    assert (found.count(0.25), found.count(0)) == (4, 4)


def test_no_more_workers_are_hired_than_there_is_work_for(cluster: dict[str, float]) -> None:
    few = pool(crew(0, 0))
    while few.work.examples > 8:
        few.work.take(1)
    few._look()
    assert len(few.busy) == 2


def test_it_says_what_it_waits_for(cluster: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    waiting = pool(crew(0.25, 0), crew(0, 2))
    monkeypatch.setattr(waiting.display, "say", said.append)
    waiting._look()
    assert not said
    for _ in range(2):
        waiting._waiting_since -= dispatch.WAITING_SECONDS + 1
        waiting._said -= dispatch.WAITING_SECONDS / 2 + 1
        waiting._look()
    assert said == [
        "attacks wait for a worker to start, which asks for 1 CPU and 0.25 GPU or 1 CPU; "
        "the cluster has 8 CPU and 1 GPU, and free: 0.5 CPU"
    ]


def test_workers_that_die_before_they_are_ready_end_the_run_in_the_end(cluster: dict[str, float]) -> None:
    dying = pool(crew(0, 2))
    dying._look()
    deaths = 0
    with pytest.raises(RuntimeError, match="could not start: killed"):
        while True:
            dying._lose_start("killed", OSError("killed"))
            deaths += 1
    assert deaths == 2 * dispatch.STARTS - 1
