"""One long call of a worker: what happens when the worker crashes, hangs, or raises an error."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import ray
from ray.exceptions import ActorDiedError, RayTaskError

from flat_dist.config.errors import UserError
from flat_dist.scheduling import worker_call
from flat_dist.scheduling.worker_call import ATTEMPTS, call_worker
from tests import fake_ray
from tests.fake_ray import FakeActor
from tests.fake_ray import fake_ray as fake  # noqa: F401, a fixture


class Trainee:
    """Answers one call, or fails.

    Args:
        error: what the call raises; None: nothing.
    """

    def __init__(self, error: Exception | None):
        self.error = error

    def train(self) -> str:
        if self.error:
            raise self.error
        return "trained"


def call(errors: Sequence[Exception | None], started: list[FakeActor]) -> Any:
    """Call workers of which each fails with its error."""
    left = iter(errors)
    group = fake_ray.group(lambda: Trainee(next(left)), 1, started)
    return call_worker(group, "train flat-1", lambda actor: actor.train.remote(), 60.0)


@pytest.mark.usefixtures("fake")
def test_another_worker_repeats_the_call_after_a_crash() -> None:
    started: list[FakeActor] = []
    assert call([ActorDiedError(), ActorDiedError(), None], started) == "trained"
    assert [actor.ended for actor in started] == [False, False, True]  # the last one is released


@pytest.mark.usefixtures("fake")
def test_too_many_crashes_end_the_call_with_advice() -> None:
    started: list[FakeActor] = []
    with pytest.raises(UserError, match=r"train flat-1: 3 workers in a row .*check the memory"):
        call([ActorDiedError() for _ in range(ATTEMPTS)], started)
    assert len(started) == ATTEMPTS


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize(("cause", "raised"), [(UserError("mend this"), UserError), (ValueError("bug"), RayTaskError)])
def test_an_error_of_the_call_is_not_repeated(cause: Exception, raised: type[Exception]) -> None:
    started: list[FakeActor] = []
    with pytest.raises(raised, match=str(cause)):
        call([RayTaskError("train", str(cause), cause)], started)
    assert [actor.ended for actor in started] == [True]


class Hanging:
    """The progress of an actor that hangs as soon as somebody has to wait for it."""

    def __init__(self, actor: FakeActor, since: float):
        self.actor = actor

    def is_hanging_at_start(self, limit: float) -> bool:
        return False

    def is_hanging(self, limit: float) -> bool:
        return limit == 60.0


@pytest.mark.usefixtures("fake")
def test_a_worker_that_hangs_is_ended_and_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[FakeActor] = []
    ended = iter([True, False, True, True, True])
    """Whether a call has ended when the driver looks. The first actor hangs in its second call."""

    def wait(calls: Sequence[Any], timeout: float) -> tuple[Sequence[Any], Sequence[Any]]:
        return (calls, ()) if next(ended) else ((), calls)

    monkeypatch.setattr(ray, "wait", wait)
    monkeypatch.setattr(worker_call, "Liveness", Hanging)
    stopped: list[bool] = []

    def stops() -> bool:
        stopped.append(started[0].ended)
        raise ActorDiedError

    left = iter([stops, lambda: "trained"])
    group = fake_ray.group(lambda: Answering(next(left)), 1, started)
    assert call_worker(group, "train flat-1", lambda actor: actor.train.remote(), 60.0) == "trained"
    assert stopped == [True]


class Answering:
    """Answers with what a function returns."""

    def __init__(self, train: Callable[[], Any]):
        self.train = train
