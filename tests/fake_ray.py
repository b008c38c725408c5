"""Actors that run in this process, and answer through `ray.wait` and `ray.get` as Ray's do. No Ray is started."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import ray

from flat_dist.runtime import capacity, ray_folder
from flat_dist.scheduling.worker_group import WorkerGroup

NODE = "node"


class Call:
    """A reference to the result of a call, which is made when somebody asks for the result."""

    def __init__(self, function: Callable[[], Any]):
        self.function = function


class _Method:
    def __init__(self, function: Callable[..., Any]):
        self.function = function

    def remote(self, *arguments: Any) -> Call:
        return Call(lambda: self.function(*arguments))


class FakeActor:
    """An actor around an object. It is ready at once.

    Args:
        target: has the methods that are called, such as run, process and write.
    """

    def __init__(self, target: Any):
        self.target, self.ended = target, False
        self.ready = _Method(lambda: NODE)

    def __getattr__(self, name: str) -> _Method:
        return _Method(getattr(self.target, name))


def group(make_target: Callable[[], Any], wanted: int, started: list[FakeActor] | None = None) -> WorkerGroup:
    """A group of fake actors, each around a target of its own; they are added to `started`."""

    def start() -> FakeActor:
        actor = FakeActor(make_target())
        if started is not None:
            started.append(actor)
        return actor

    def end(actor: FakeActor) -> None:
        actor.ended = True

    return WorkerGroup("cpu", 0.0, wanted, start, end, end)


@pytest.fixture
def fake_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replaces the parts of Ray that the scheduler uses by a cluster of one node with 8 CPUs."""
    total = {"CPU": 8.0}

    def wait(
        calls: Sequence[Call], num_returns: int = 1, timeout: float | None = None
    ) -> tuple[list[Call], list[Call]]:
        return list(calls[:num_returns]), list(calls[num_returns:])

    monkeypatch.setattr(ray, "wait", wait)
    monkeypatch.setattr(ray, "get", lambda call: call.function())
    monkeypatch.setattr(ray, "nodes", lambda: [{"NodeID": NODE, "Alive": True}])
    monkeypatch.setattr(ray, "cluster_resources", lambda: total)
    monkeypatch.setattr(capacity, "total", lambda: dict(total))
    monkeypatch.setattr(ray_folder, "keep_logs", lambda: None)
