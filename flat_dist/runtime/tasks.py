"""Runs tasks on Ray, and gives those again that hang: their processes are stopped, or wait for what never comes.

A task tells Ray's key-value store that it gets on. It cannot be asked, as an attack worker can, and Ray itself notices
only processes that end.
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
"""Times that a task may hang."""
BEAT_SECONDS = 1.0
"""How often a task tells that it gets on."""
LOOK_SECONDS, LOOKS = 2.0, 20
"""How often the driver looks when no result comes, and how often while a task hangs, at most."""
GRACE_SECONDS = 5.0
"""What a task is given beside, to begin."""


class Beat:
    """Tells the driver that a task gets on: it has begun, and now its model answers."""

    def __init__(self, name: str):
        self._name, self._count, self._told = name, 0, float("-inf")
        self()

    def __call__(self, *_: object) -> None:
        """There is progress."""
        if time.monotonic() - self._told > BEAT_SECONDS:
            self._count, self._told = self._count + 1, time.monotonic()
            _internal_kv_put(self._name, str(self._count))

    def follow(self, layer: torch.nn.Module) -> None:
        """Each answer of a layer is progress: a model's last, through which all ways lead that it is asked."""
        layer.register_forward_hook(self)


@dataclass(eq=False)
class _Task:
    """A task that was given to Ray."""

    key: Any
    name: str
    """Under which it tells that it gets on."""
    attempt: int = 1
    heard: bytes | None = None
    """What it told last; None before it has begun, for which it may have to wait for a processor."""
    since: float = 0.0
    """When the driver found that new."""

    def hangs(self, stall_seconds: float) -> bool:
        """Whether it has begun, and tells nothing new for so long."""
        heard = _internal_kv_get(self.name)
        if heard != self.heard:
            self.heard, self.since = heard, time.monotonic()
        return heard is not None and time.monotonic() - self.since > stall_seconds + GRACE_SECONDS


def results(
    what: str, calls: Mapping[K, Callable[[str], ray.ObjectRef]], stall_seconds: float
) -> Iterator[tuple[K, Any]]:
    """What tasks came to, as they end.

    Args:
        what: what they do, for a sentence about it.
        calls: by some key, gives a task to Ray; takes the name for the task's `Beat`.
        stall_seconds: seconds without progress after which a task hangs; 0: never.

    Raises:
        UserError: a task raised it, or hangs again and again.
    """
    prefix = f"flat_dist:{uuid.uuid4().hex}"
    pending: dict[ray.ObjectRef, _Task] = {}

    def give(task: _Task) -> None:
        pending[calls[task.key](task.name)] = task

    for number, key in enumerate(calls):
        give(_Task(key, f"{prefix}:{number}:1"))
    try:
        while pending:
            done, _ = ray.wait(list(pending), num_returns=1, timeout=max(LOOK_SECONDS, stall_seconds / LOOKS))
            for reference in done:
                yield pending.pop(reference).key, _result(reference)
            if done or not stall_seconds:
                continue
            for reference, task in list(pending.items()):
                if task.hangs(stall_seconds):
                    ray.cancel(reference, force=True)
                    del pending[reference]
                    give(_again(task, what, stall_seconds))
    finally:
        if ray.is_initialized():  # what asks for the results may be left after Ray, which ends its tasks itself
            for reference in pending:
                ray.cancel(reference, force=True)
            _internal_kv_del(prefix, del_by_prefix=True)


def _again(task: _Task, what: str, stall_seconds: float) -> _Task:
    if task.attempt == ATTEMPTS:
        raise UserError(
            f"{what}: {ATTEMPTS} processes in turn made no progress for {stall_seconds:g} s (--attack.stall_seconds): "
            "look after the machine and its file systems, and give the command again, which keeps what was done"
        )
    return _Task(task.key, f"{task.name.rpartition(':')[0]}:{task.attempt + 1}", task.attempt + 1)


def _result(reference: ray.ObjectRef) -> Any:
    """What a task came to; a UserError that it raised, without Ray's traceback around it."""
    try:
        return ray.get(reference)
    except RayTaskError as error:
        if isinstance(error.cause, UserError):
            raise error.cause from None
        raise
