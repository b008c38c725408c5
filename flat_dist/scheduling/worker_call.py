"""One long call of a worker, such as a training, which another worker repeats after a crash."""

import time
from collections.abc import Callable
from typing import Any

import ray
from ray.exceptions import OutOfMemoryError, RayActorError, RayTaskError

from flat_dist.config.errors import UserError
from flat_dist.runtime import ray_folder
from flat_dist.scheduling.liveness import Liveness
from flat_dist.scheduling.worker_group import WorkerGroup
from flat_dist.scheduling.worker_pool import CHECK_MACHINES

ATTEMPTS = 3
"""Workers that may crash or hang in a row."""
LOOK_SECONDS = 1.0
"""How often the driver looks whether the worker hangs."""


def call_worker(group: WorkerGroup, what: str, call: Callable[[Any], ray.ObjectRef], stall_seconds: float) -> Any:
    """The result of a call of one of the group's workers.

    Args:
        group: the workers.
        what: what the call does, for messages.
        call: begins the call of an actor.
        stall_seconds: seconds without progress after which the worker is ended; 0: never.

    Raises:
        UserError: the call raised it, or too many workers in a row crashed or hung.
        RuntimeError: a worker could not be started.
        ray.exceptions.RayTaskError: the call raised another error.
    """
    for attempt in range(1, ATTEMPTS + 1):
        actor = group.start()
        try:
            _wait(group, actor, actor.ready.remote(), lambda liveness: liveness.is_hanging_at_start(stall_seconds))
            result = _wait(group, actor, call(actor), lambda liveness: liveness.is_hanging(stall_seconds))
        except (RayActorError, OutOfMemoryError) as error:
            if getattr(error, "_actor_init_failed", False):  # the message has the traceback
                raise RuntimeError(f"a worker could not start: {error}") from error
            ray_folder.keep_logs()
            if attempt == ATTEMPTS:
                raise UserError(
                    f"{what}: {ATTEMPTS} workers in a row ended or made no progress for {stall_seconds:g} s "
                    f"(--attack.stall-seconds): {CHECK_MACHINES}, which keeps finished work"
                ) from error
        except RayTaskError as error:  # Ray wraps what the worker raised in its own traceback
            group.stop(actor)
            if isinstance(error.cause, UserError):
                raise error.cause from None
            raise
        else:
            group.release(actor)
            return result
    raise AssertionError  # the last attempt returns or raises


def _wait(group: WorkerGroup, actor: Any, reference: ray.ObjectRef, hangs: Callable[[Liveness], bool]) -> Any:
    """The result of a call; an actor that hangs is ended, and the call then fails as after a crash."""
    liveness = Liveness(actor, time.monotonic())
    ended = False
    while not ray.wait([reference], timeout=LOOK_SECONDS)[0]:
        if not ended and hangs(liveness):
            ended = True
            group.stop(actor)
    return ray.get(reference)
