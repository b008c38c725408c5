"""What the pool says and does while no worker comes, or none gets on; no Ray is started."""

import time
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from ray.exceptions import ActorDiedError

from flat_dist.attack.plan import AttackJob
from flat_dist.attack.pool import liveness, scheduler, session
from flat_dist.attack.pool.actor import AttackWorker, Heartbeat
from flat_dist.attack.pool.liveness import GRACE_SECONDS, START_SECONDS, Liveness
from flat_dist.attack.pool.scheduler import AttackScheduler
from flat_dist.attack.pool.session import AttackSession
from flat_dist.attack.pool.watchdog import Watchdog
from flat_dist.attack.pool.work_queue import AttackStage, Chunk, WorkQueue
from flat_dist.attack.pool.worker_group import WorkerGroup
from flat_dist.config.errors import UserError
from flat_dist.runtime.progress import Display


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
    monkeypatch.setattr(scheduler.ray, "cluster_resources", lambda: total)
    monkeypatch.setattr(scheduler.ray, "available_resources", lambda: {"CPU": 0.5})
    return total


def pool(*worker_groups: WorkerGroup) -> AttackScheduler:
    work = WorkQueue([Chunk(0, unit, 4 * unit, 4 * unit + 4) for unit in range(20)], [4])
    return AttackScheduler([], [], worker_groups, work, Display(quiet=True))


def group(gpus: float, wanted: int) -> WorkerGroup:
    def stop(actor: Any) -> None:
        actor.ended = True

    return WorkerGroup("cpu", gpus, wanted, Actor, stop)


def test_workers_follow_the_size_of_the_cluster(cluster: dict[str, float]) -> None:
    one = pool(group(0, 0))
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
    mixed = pool(group(0.25, 0), group(0, 100))
    mixed._look()
    found = [worker.group.gpus for worker in mixed.busy.values()]
    assert (found.count(0.25), found.count(0)) == (4, 4)


def test_no_more_workers_are_hired_than_there_is_work_for(cluster: dict[str, float]) -> None:
    few = pool(group(0, 0))
    while few.work.examples > 8:
        few.work.take(1)
    few._look()
    assert len(few.busy) == 2


def test_it_says_what_it_waits_for(cluster: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    waiting = pool(group(0.25, 0), group(0, 2))
    monkeypatch.setattr(waiting.display, "log_line", said.append)
    waiting._look()
    assert not said
    for _ in range(2):
        waiting._waiting_since -= scheduler.WAITING_SECONDS + 1
        waiting._said -= scheduler.WAITING_SECONDS / 2 + 1
        waiting._look()
    assert said == [
        "attacks wait for a worker to start, which asks for 1 CPU and 0.25 GPU or 1 CPU; "
        "the cluster has 8 CPU and 1 GPU, and free: 0.5 CPU"
    ]


def test_workers_that_die_before_they_are_ready_end_the_run_in_the_end(cluster: dict[str, float]) -> None:
    dying = pool(group(0, 2))
    dying._look()
    deaths = 0
    with pytest.raises(UserError, match="6 attack workers in turn died before they could start"):
        while True:
            dying._lose_start("died", ActorDiedError())
            deaths += 1
    assert deaths == 2 * scheduler.STARTS - 1


class Busy:
    """An actor whose calls of `heartbeat` are answered when a test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.heartbeat, self.asked = self, 0
        self.answer: Heartbeat | Exception | None = None
        monkeypatch.setattr(liveness.ray, "wait", lambda asked, timeout: (asked, []) if self.answer else ([], asked))
        monkeypatch.setattr(liveness.ray, "get", self.get)

    def remote(self) -> "Busy":
        self.asked += 1
        return self

    def get(self, asked: "Busy") -> Heartbeat:
        if isinstance(self.answer, Heartbeat):
            return self.answer
        assert self.answer is not None
        raise self.answer


def quiet_for(actor: Any, seconds: float) -> Liveness:
    return Liveness(actor, time.monotonic() - seconds)


def test_a_worker_that_gives_no_sign_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    actor = Busy(monkeypatch)
    watched = quiet_for(actor, 49)
    assert not watched.is_hanging(100) and actor.asked == 0
    watched.progress -= 2
    assert not watched.is_hanging(100) and not watched.is_hanging(100)
    assert actor.asked == 1  # it owes the first answer still
    watched.progress -= 50 + GRACE_SECONDS
    assert watched.is_hanging(100)
    assert not watched.is_hanging(0)


def test_a_worker_that_gets_on_may_take_as_long_as_it_likes(monkeypatch: pytest.MonkeyPatch) -> None:
    actor = Busy(monkeypatch)
    watched = quiet_for(actor, 99)
    assert not watched.is_hanging(100)
    actor.answer = Heartbeat(idle=3.0, loading=False)
    watched.progress -= 1000
    assert not watched.is_hanging(100)
    assert time.monotonic() - watched.progress == pytest.approx(3, abs=1)


def test_a_worker_that_answers_without_getting_on_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    actor = Busy(monkeypatch)
    watched = quiet_for(actor, 99)
    assert not watched.is_hanging(100)
    actor.answer = Heartbeat(idle=101 + GRACE_SECONDS, loading=True)
    watched.progress -= 2 + GRACE_SECONDS
    assert watched.is_hanging(100)
    assert watched.loading


def test_a_worker_that_died_is_left_to_its_call(monkeypatch: pytest.MonkeyPatch) -> None:
    actor = Busy(monkeypatch)
    watched = quiet_for(actor, 60)
    assert not watched.is_hanging(100)
    actor.answer = ActorDiedError()
    assert not watched.is_hanging(100)


class Starting:
    """Asks Ray for nothing."""

    class _actor_id:  # noqa: N801, Ray's own name
        @staticmethod
        def hex() -> str:
            return "a" * 32


@pytest.mark.parametrize(("pid", "hung"), [(0, False), (4711, True)])
def test_a_worker_hangs_at_its_start_once_it_has_a_process(
    pid: int, hung: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liveness.state, "actors", lambda actor_id: {"Pid": pid, "State": "PENDING_CREATION"})
    assert not quiet_for(Starting(), START_SECONDS - 10).is_hanging_at_start(1)
    assert not quiet_for(Starting(), START_SECONDS + 10).is_hanging_at_start(0)
    assert not quiet_for(Starting(), START_SECONDS + 10).is_hanging_at_start(START_SECONDS + 60)
    watched = quiet_for(Starting(), START_SECONDS + 10)
    assert watched.is_hanging_at_start(1) == hung
    assert watched.is_hanging_at_start(1) == hung


@pytest.fixture
def hung(cluster: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], AttackScheduler]:
    """A pool whose only worker hung with four examples, and was ended."""
    rows = ["a", "b", "c", "d"]
    job = AttackJob("pwws", "victim", "none", "none", 1, 3, "cpu", {}, 4, {}, stall_seconds=100.0)

    def died(reference: object) -> None:
        raise ActorDiedError

    def is_hanging(loading: bool) -> AttackScheduler:
        stage = AttackStage("attack", job, pa.table({"example_id": rows, "text": rows, "label": [0, 0, 0, 0]}))
        stopped = AttackScheduler([stage], [], [group(0, 1)], WorkQueue([], [4]), Display(quiet=True))
        worker = scheduler._Worker(Actor(), stopped.worker_groups[0], node="here")
        stopped.busy[object()] = worker
        for _ in range(2):  # it is ended once
            worker.take(Chunk(0, 0, 0, 4))
            worker.liveness = Liveness(Busy(monkeypatch), time.monotonic() - 1000, loading)
            stopped._end_those_that_hang()
        assert worker.actor.ended and worker.hung
        monkeypatch.setattr(scheduler.ray, "get", died)
        return stopped

    monkeypatch.setattr(scheduler.ray, "nodes", lambda: [{"NodeID": "here", "Alive": True}])
    return is_hanging


def test_what_hangs_is_ended_and_its_examples_are_looked_at_apart(hung: Callable[[bool], AttackScheduler]) -> None:
    stopped = hung(False)
    (reference,) = stopped.busy
    stopped._collect(reference)
    assert [len(stopped.work.take(1)) for _ in range(4)] == [1, 1, 1, 1]
    assert (stopped.stages[0].restarts, stopped.failed_loads, stopped.busy) == (1, 0, {})


def test_what_hangs_while_it_loads_is_blamed_on_no_example(hung: Callable[[bool], AttackScheduler]) -> None:
    stopped = hung(True)
    (reference,) = stopped.busy
    stopped._collect(reference)
    assert stopped.work.take(1) == Chunk(0, 0, 0, 4)
    assert stopped.failed_loads == 1
    stopped = hung(True)
    stopped.failed_loads = scheduler.STARTS - 1
    with pytest.raises(UserError, match="3 attack workers in turn could not load victim in 100 s"):
        stopped._collect(*stopped.busy)


def test_a_worker_says_what_a_user_can_mend_when_it_is_asked_whether_it_is_ready(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unwritable() -> None:
        raise UserError("set FLAT_DIST_CACHE")

    monkeypatch.setattr(session, "AttackSession", unwritable)
    worker = AttackWorker()  # what is raised here, Ray wraps in a traceback
    with pytest.raises(UserError, match="set FLAT_DIST_CACHE"):
        worker.ready()


def test_a_session_is_loading_until_it_has_what_a_job_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Heartbeat] = []
    worker = AttackWorker.__new__(AttackWorker)
    worker.session = one = AttackSession.__new__(AttackSession)
    one.watchdog, one.job, one.loading = Watchdog(), None, False
    one.watchdog.ticked -= 100
    monkeypatch.setattr(AttackSession, "_load", lambda self, job: seen.append(worker.heartbeat()))
    one._turn_to(AttackJob("pwws", "victim", "none", "none", 1, 3, "cpu", {}, 4, {}))
    seen.append(worker.heartbeat())
    assert [heartbeat.loading for heartbeat in seen] == [True, False]
    assert all(heartbeat.idle < 50 for heartbeat in seen)
