"""How the scheduler handles crashes and workers that hang. No Ray is started."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import ray
from ray.exceptions import ActorDiedError

from flat_dist.attack.limits import Limits
from flat_dist.attack.plan import AttackJob
from flat_dist.attack.pool import session
from flat_dist.attack.pool.actor import AttackWorker
from flat_dist.attack.pool.session import AttackSession
from flat_dist.attack.pool.stage import AttackStage
from flat_dist.config.errors import UserError
from flat_dist.data import shards
from flat_dist.data.shards import Record
from flat_dist.runtime.progress import Display
from flat_dist.runtime.timeline import Recorder
from flat_dist.scheduling.liveness import Heartbeat, Liveness
from flat_dist.scheduling.scheduler import Scheduler, run_stages
from flat_dist.scheduling.watchdog import Watchdog
from flat_dist.scheduling.work_queue import Chunk, WorkQueue
from flat_dist.scheduling.worker import Answer
from flat_dist.scheduling.worker_pool import STARTS, PooledWorker, WorkerPool
from flat_dist.storage.folder import Folder
from tests import fake_ray
from tests.fake_ray import NODE, FakeActor
from tests.fake_ray import fake_ray as fake  # noqa: F401, a fixture


def stage(folder: Path, count: int = 4, stall_seconds: float = 100.0) -> AttackStage:
    limits = {"cpu": Limits(2, 64, 0)}
    job = AttackJob("pwws", "victim", "none", str(folder), 1, 3, "cpu", limits, 16, {}, stall_seconds)
    ids = [f"id-{number}" for number in range(count)]
    return AttackStage("attack", job, pa.table({"example_id": ids, "text": ids, "label": [0] * count}))


class FakeAttack:
    """Attacks nothing, and crashes on some examples.

    Args:
        fatal: ids of the examples that crash the worker.
    """

    def __init__(self, fatal: set[str] = frozenset()):  # type: ignore[assignment]
        self.fatal = fatal

    def run(self, job: AttackJob, number: int, examples: pa.Table) -> Any:
        return self.write(job, number, self.process(job, examples).result)

    def process(self, job: AttackJob, examples: pa.Table) -> Any:
        ids = examples["example_id"].to_pylist()
        if self.fatal.intersection(ids):
            raise ActorDiedError
        return Answer([Record(name, 0, name, name, "failed") for name in ids], {"victim": 1.0})

    def write(self, job: AttackJob, number: int, records: list[Record]) -> Any:
        nothing = [None] * len(records)
        table = shards.to_table(records, nothing, nothing, job.round_number, job.identity)
        return Answer(shards.write_shard(Folder(job.output), number, table), {"victim": 0.5})


@pytest.mark.usefixtures("fake")
def test_examples_that_crash_their_workers_are_isolated(tmp_path: Path) -> None:
    lines: list[str] = []
    display = Display(quiet=True)
    display.log_line = lambda line, **facts: lines.append(line)  # type: ignore[method-assign]
    plain, crashing = stage(tmp_path / "plain", 40), stage(tmp_path / "crashing", 40)
    run_stages([plain], [fake_ray.group(FakeAttack, 1)], "attack worker", 0.0, display)
    started: list[FakeActor] = []
    group = fake_ray.group(lambda: FakeAttack({"id-3", "id-20"}), 2, started)
    run_stages([crashing], [group], "attack worker", 0.05, display)
    found = shards.read_shards(crashing.folder).to_pylist()
    expected = shards.read_shards(plain.folder).to_pylist()
    assert [row["example_id"] for row in found] == [row["example_id"] for row in expected]
    for row, other in zip(found, expected, strict=True):
        if row["example_id"] in ("id-3", "id-20"):
            assert row["status"] == "error"
            assert row["error"] == "ActorDiedError: ended its worker process, 2 times alone"
        else:
            assert row == other
    assert crashing.restarts >= 4
    assert sum(not actor.ended for actor in started) == crashing.restarts  # all others are ended
    assert sum("is recorded as an error" in line for line in lines) == 2


@pytest.mark.usefixtures("fake")
def test_more_failures_than_allowed_end_the_run_and_finished_units_are_kept(tmp_path: Path) -> None:
    attacked, started = stage(tmp_path, 40), []  # type: AttackStage, list[FakeActor]
    group = fake_ray.group(lambda: FakeAttack({"id-3", "id-20"}), 2, started)
    with pytest.raises(UserError, match=r"2 of 40 examples could not be attacked.*--attack.max-failures 0.03 allows"):
        run_stages([attacked], [group], "attack worker", 0.03, Display(quiet=True))
    assert sum(not actor.ended for actor in started) == attacked.restarts
    assert shards.read_manifest(attacked.folder) is None
    again = stage(tmp_path, 40)
    run_stages([again], [fake_ray.group(FakeAttack, 2)], "attack worker", 0.03, Display(quiet=True))
    assert shards.read_manifest(again.folder) is not None


class Silent:
    """An actor that never sends a heartbeat, and ends when it is told to."""

    def __init__(self) -> None:
        self.ended, self.heartbeat = False, self

    def remote(self) -> object:
        return object()


@pytest.fixture
def hung(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[bool], Scheduler]:
    """Makes a scheduler whose only worker hung with four examples, and was ended."""

    def stop(actor: Any) -> None:
        assert not actor.ended, "a worker is ended once"
        actor.ended = True

    def died(reference: object) -> None:
        raise ActorDiedError

    def hang(loading: bool) -> Scheduler:
        group = replace(fake_ray.group(FakeAttack, 1), stop=stop)
        pool = WorkerPool([group], Display(quiet=True))
        stopped = Scheduler([stage(tmp_path)], [], WorkQueue([], [4]), pool)
        worker = PooledWorker(Silent(), group, node=NODE)
        pool.calls[object()] = worker
        for _ in range(2):
            worker.take(Chunk(0, 0, 0, 4))
            worker.liveness = Liveness(worker.actor, time.monotonic() - 1000, loading)
            pool.stop_hanging([100.0])
        assert worker.actor.ended and worker.hung
        monkeypatch.setattr(ray, "get", died)
        return stopped

    monkeypatch.setattr(ray, "wait", lambda references, timeout: ([], references))
    monkeypatch.setattr(ray, "nodes", lambda: [{"NodeID": NODE, "Alive": True}])
    return hang


@pytest.mark.usefixtures("fake")
def test_the_chunk_of_a_worker_that_hung_is_split(hung: Callable[[bool], Scheduler]) -> None:
    stopped = hung(False)
    (reference,) = stopped.pool.calls
    stopped._collect(reference)
    assert [len(stopped.queue.take(1)) for _ in range(4)] == [1, 1, 1, 1]
    assert (stopped.stages[0].restarts, stopped.failed_loads, stopped.pool.calls) == (1, 0, {})


@pytest.mark.usefixtures("fake")
def test_no_example_is_suspected_when_a_worker_hung_while_it_loaded(hung: Callable[[bool], Scheduler]) -> None:
    stopped = hung(True)
    (reference,) = stopped.pool.calls
    stopped._collect(reference)
    assert stopped.queue.take(1) == Chunk(0, 0, 0, 4)
    assert stopped.failed_loads == 1
    stopped = hung(True)
    stopped.failed_loads = STARTS - 1
    with pytest.raises(UserError, match="3 attack workers in a row could not load victim in 100 s"):
        stopped._collect(*stopped.pool.calls)


def test_a_worker_reports_a_user_error_when_it_is_asked_whether_it_is_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    def unwritable() -> None:
        raise UserError("set FLAT_DIST_CACHE")

    monkeypatch.setattr(session, "AttackSession", unwritable)
    worker = AttackWorker()  # an error that is raised here would be wrapped in a traceback
    with pytest.raises(UserError, match="set FLAT_DIST_CACHE"):
        worker.ready()


def test_a_session_is_loading_until_it_has_what_its_job_needs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[Heartbeat] = []
    worker = AttackWorker.__new__(AttackWorker)
    worker.session = worker.current = one = AttackSession.__new__(AttackSession)
    one.watchdog, one.recorder, one.job, one.loading = Watchdog(), Recorder(), None, False
    one.watchdog.last_tick -= 100
    monkeypatch.setattr(AttackSession, "load", lambda self, job: seen.append(worker.heartbeat()))
    job = stage(tmp_path).job
    one.switch_to(job)
    seen.append(worker.heartbeat())
    assert [heartbeat.loading for heartbeat in seen] == [True, False]
    assert all(heartbeat.idle < 50 for heartbeat in seen)
    one.switch_to(job)
    assert len(seen) == 2  # the same job is not loaded again
