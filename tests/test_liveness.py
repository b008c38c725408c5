"""When a worker counts as hanging. No Ray is started."""

import time
from typing import Any

import pytest
from ray.exceptions import ActorDiedError

from flat_dist.scheduling import liveness
from flat_dist.scheduling.liveness import GRACE_SECONDS, START_SECONDS, Heartbeat, Liveness


class Busy:
    """An actor whose heartbeat arrives when a test sets it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.heartbeat, self.requests = self, 0
        self.answer: Heartbeat | Exception | None = None
        monkeypatch.setattr(liveness.ray, "wait", lambda asked, timeout: (asked, []) if self.answer else ([], asked))
        monkeypatch.setattr(liveness.ray, "get", self.get)

    def remote(self) -> "Busy":
        self.requests += 1
        return self

    def get(self, asked: "Busy") -> Heartbeat:
        if isinstance(self.answer, Heartbeat):
            return self.answer
        assert self.answer is not None
        raise self.answer


def progress_before(actor: Any, seconds: float) -> Liveness:
    return Liveness(actor, time.monotonic() - seconds)


def test_a_worker_without_heartbeats_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    actor = Busy(monkeypatch)
    watched = progress_before(actor, 49)
    assert not watched.is_hanging(100) and actor.requests == 0
    watched.progress -= 2
    assert not watched.is_hanging(100) and not watched.is_hanging(100)
    assert actor.requests == 1  # the first heartbeat has not arrived
    watched.progress -= 50 + GRACE_SECONDS
    assert watched.is_hanging(100)
    assert not watched.is_hanging(0)


def test_a_worker_that_makes_progress_has_no_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    actor = Busy(monkeypatch)
    watched = progress_before(actor, 99)
    assert not watched.is_hanging(100)
    actor.answer = Heartbeat(idle=3.0, loading=False)
    watched.progress -= 1000
    assert not watched.is_hanging(100)
    assert time.monotonic() - watched.progress == pytest.approx(3, abs=1)


@pytest.mark.parametrize(
    ("loading", "idle", "hangs"),
    [
        (False, 101 + GRACE_SECONDS, True),
        (True, 101 + GRACE_SECONDS, False),
        (True, START_SECONDS - 1, False),
        (True, START_SECONDS + 1, True),
    ],
)
def test_a_worker_that_answers_without_progress_hangs_later_if_it_loads(
    loading: bool, idle: float, hangs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    actor = Busy(monkeypatch)
    watched = progress_before(actor, 99)
    assert not watched.is_hanging(100)
    actor.answer = Heartbeat(idle=idle, loading=loading)
    watched.progress -= 1000
    assert watched.is_hanging(100) == hangs
    assert watched.loading == loading


def test_a_worker_that_died_does_not_count_as_hanging(monkeypatch: pytest.MonkeyPatch) -> None:
    actor = Busy(monkeypatch)
    watched = progress_before(actor, 60)
    assert not watched.is_hanging(100)
    actor.answer = ActorDiedError()
    assert not watched.is_hanging(100)


class Starting:
    """An actor without Ray."""

    class _actor_id:  # noqa: N801, Ray's own name
        @staticmethod
        def hex() -> str:
            return "a" * 32


@pytest.mark.parametrize(("pid", "hung"), [(0, False), (4711, True)])
def test_only_a_worker_that_has_a_process_can_hang_at_its_start(
    pid: int, hung: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liveness.state, "actors", lambda actor_id: {"Pid": pid, "State": "PENDING_CREATION"})
    assert not progress_before(Starting(), START_SECONDS - 10).is_hanging_at_start(1)
    assert not progress_before(Starting(), START_SECONDS + 10).is_hanging_at_start(0)
    assert not progress_before(Starting(), START_SECONDS + 10).is_hanging_at_start(START_SECONDS + 60)
    watched = progress_before(Starting(), START_SECONDS + 10)
    assert watched.is_hanging_at_start(1) == hung
    assert watched.is_hanging_at_start(1) == hung
