"""How many workers a group may have. No Ray is started."""

import pytest
import ray

from flat_dist.attack.pool.run import worker_groups
from flat_dist.config.schema import AttackConfig
from flat_dist.runtime.capacity import describe
from flat_dist.scheduling.worker_group import WarmWorkers, WorkerGroup, reusable

TWO_GPUS = {"CPU": 16.0, "GPU": 2.0}


def group(gpus: float = 0.0, wanted: int = 0) -> WorkerGroup:
    return WorkerGroup("cuda" if gpus else "cpu", gpus, wanted, lambda: None)


@pytest.mark.parametrize(
    ("gpus", "total", "capacity"),
    [
        (0, TWO_GPUS, 16),
        (0.5, TWO_GPUS, 4),
        (0.333, TWO_GPUS, 6),
        (0.99, TWO_GPUS, 2),
        (0.25, {"CPU": 3, "GPU": 1}, 3),
        (0.5, {"CPU": 8}, 0),
        (0, {}, 0),
        (0, {"CPU": 0.5}, 0),
    ],
)
def test_capacity_of_a_cluster(gpus: float, total: dict[str, float], capacity: int) -> None:
    assert group(gpus).capacity(total) == capacity


def test_a_fixed_cluster_is_not_asked_for_more_than_it_has() -> None:
    assert group(wanted=5).limit(TWO_GPUS, grows=False, started=0) == 5
    assert group(wanted=50).limit(TWO_GPUS, grows=False, started=16) == 16
    assert group().limit(TWO_GPUS, grows=True, started=16) == 16


def test_an_autoscaling_cluster_is_asked_in_steps_until_there_are_enough_workers() -> None:
    total, started, asked = {"CPU": 0.0}, 0, []
    while started < 100:  # this cluster adds at once what it is asked for
        asked.append(group(wanted=100).limit(total, grows=True, started=started))
        started = asked[-1]
        total = {"CPU": float(started)}
    assert asked == [4, 8, 16, 32, 64, 100]


def test_cpu_workers_in_addition_to_gpu_workers() -> None:
    config = AttackConfig(device="cuda", gpus_per_worker=0.5, workers=4, cpu_workers=3)
    on_gpus, on_cpus = worker_groups(config)
    assert (on_gpus.device, on_gpus.resources, on_gpus.wanted) == ("cuda", {"CPU": 1.0, "GPU": 0.5}, 4)
    assert (on_cpus.device, on_cpus.resources, on_cpus.wanted) == ("cpu", {"CPU": 1.0}, 3)
    assert len(worker_groups(AttackConfig(device="cpu", cpu_workers=3))) == 1


def test_resources_as_text() -> None:
    assert describe({"CPU": 1.0, "GPU": 0.5, "memory": 7.0}) == "1 CPU and 0.5 GPU"
    assert describe({}) == "none"


def test_warm_workers_are_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    class FakeRay:
        def __init__(self, worker: type) -> None:
            self.remote = worker

    monkeypatch.setattr(ray, "remote", lambda **options: FakeRay)
    workers = WarmWorkers(object)  # type: ignore[arg-type]
    first, second = workers.group(2), workers.group(2)
    one, other = first.start(), first.start()
    assert one is not other
    first.release(one)
    assert second.start() is one
    assert second.start() not in (one, other)


def test_reusable_workers_stay_until_the_context_ends() -> None:
    started, released = iter(range(9)), []
    groups = [WorkerGroup("cpu", 0.0, 2, lambda: next(started), release=released.append) for _ in range(2)]
    with pytest.raises(KeyboardInterrupt), reusable(groups) as (first, second):
        actors = [first.start(), first.start(), second.start()]
        assert actors == [0, 1, 2]
        first.release(1)
        second.release(2)
        assert (first.start(), first.start(), second.start()) == (1, 3, 2)
        first.release(3)
        second.release(2)
        assert released == []
        raise KeyboardInterrupt
    assert released == [3, 2]
