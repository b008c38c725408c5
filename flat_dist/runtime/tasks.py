"""Runs Ray tasks that return one result each, and restarts tasks that hang.

A hanging task's process is stopped, or waits for something that never happens. Ray only notices processes that end. So
a task reports its progress in Ray's key-value store. (A worker of `flat_dist.scheduling` is an actor, which the driver
can ask instead.)
"""

import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import ray
import torch
from ray.exceptions import RayTaskError
from ray.experimental.internal_kv import _internal_kv_del, _internal_kv_get, _internal_kv_put

from flat_dist.config.errors import UserError

K = TypeVar("K")

ATTEMPTS = 3
"""How often a task may hang."""
REPORT_SECONDS = 1.0
"""Minimum time between two progress reports of a task."""
LOOK_SECONDS, LOOKS = 2.0, 20
"""The driver looks for hanging tasks at most this often, and about so many times while a task hangs."""
GRACE_SECONDS = 5.0
"""Extra seconds for a task before it counts as hanging."""


class ProgressReporter:
    """Reports that a task makes progress: that it has begun, and later that its model answers.

    Args:
        name: the name that the driver gave to the task.
    """

    def __init__(self, name: str):
        self._name, self._count, self._reported = name, 0, float("-inf")
        self()

    def __call__(self, *_: object) -> None:
        """Report progress, unless the last report is recent."""
        if time.monotonic() - self._reported > REPORT_SECONDS:
            self._count, self._reported = self._count + 1, time.monotonic()
            _internal_kv_put(self._name, str(self._count))

    def follow(self, layer: torch.nn.Module) -> None:
        """Report progress at each output of a layer: the model's last layer, which all its callers use."""
        layer.register_forward_hook(self)


@dataclass(eq=False)
class _Task:
    """A task that Ray runs."""

    key: Any
    name: str
    """Key of its progress reports."""
    attempt: int = 1
    report: bytes | None = None
    """Its last progress report; None before it has begun: it may have to wait for a CPU."""
    since: float = 0.0
    """When the driver first saw that report."""

    def is_hanging(self, stall_seconds: float) -> bool:
        """Whether the task has begun, and has reported nothing new for `stall_seconds`."""
        report = _internal_kv_get(self.name)
        if report != self.report:
            self.report, self.since = report, time.monotonic()
        return report is not None and time.monotonic() - self.since > stall_seconds + GRACE_SECONDS


def results(
    what: str, calls: Mapping[K, Callable[[str], ray.ObjectRef]], stall_seconds: float
) -> Iterator[tuple[K, Any]]:
    """Results of tasks, in the order in which the tasks end.

    Args:
        what: what the tasks do, for messages.
        calls: functions that start a task in Ray, by key; each takes the name for the task's `ProgressReporter`.
        stall_seconds: seconds without progress after which a task is restarted; 0: never.

    Raises:
        UserError: a task raised it, or was restarted too often.
    """
    prefix = f"flat_dist:{uuid.uuid4().hex}"
    pending: dict[ray.ObjectRef, _Task] = {}

    def start(task: _Task) -> None:
        pending[calls[task.key](task.name)] = task

    for number, key in enumerate(calls):
        start(_Task(key, f"{prefix}:{number}:1"))
    try:
        while pending:
            done, _ = ray.wait(list(pending), num_returns=1, timeout=max(LOOK_SECONDS, stall_seconds / LOOKS))
            for reference in done:
                yield pending.pop(reference).key, _result(reference)
            if done or not stall_seconds:
                continue
            for reference, task in list(pending.items()):
                if task.is_hanging(stall_seconds):
                    ray.cancel(reference, force=True)
                    del pending[reference]
                    start(_next_attempt(task, what, stall_seconds))
    finally:
        if ray.is_initialized():  # the caller may still hold this iterator after Ray has ended, and its tasks with it
            for reference in pending:
                ray.cancel(reference, force=True)
            _internal_kv_del(prefix, del_by_prefix=True)


def _next_attempt(task: _Task, what: str, stall_seconds: float) -> _Task:
    if task.attempt == ATTEMPTS:
        raise UserError(
            f"{what}: {ATTEMPTS} processes in a row made no progress for {stall_seconds:g} s (--attack.stall-seconds): "
            "check the machine and its file systems, then run the same command again, which keeps finished work"
        )
    return _Task(task.key, f"{task.name.rpartition(':')[0]}:{task.attempt + 1}", task.attempt + 1)


def _result(reference: ray.ObjectRef) -> Any:
    """The result of a task. If the task raised a UserError, it is raised without Ray's traceback."""
    try:
        return ray.get(reference)
    except RayTaskError as error:
        if isinstance(error.cause, UserError):
            raise error.cause from None
        raise
