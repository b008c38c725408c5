"""Detects workers that hang and cannot report it: the process is stopped, or waits for a file that is never read.

A worker's own watchdog (`flat_dist.scheduling.watchdog`) ends it first, and writes its stack to the log, if it still
can. The driver watches from outside, so that it never waits for a worker that cannot end itself.
"""

import time
from dataclasses import dataclass
from typing import Any

import ray
from ray._private import state
from ray.exceptions import RayError

GRACE_SECONDS = 5.0
"""Extra seconds for the worker's own watchdog before the driver ends the worker."""
START_SECONDS = 300.0
"""Minimum seconds that a worker may take to start, and then to load a job, however small the limit for hanging is: it
imports large packages, and reads models, perhaps from a slow disk."""


@dataclass(frozen=True)
class Heartbeat:
    """A busy worker's answer to the driver."""

    idle: float
    """Seconds since the model last answered, or since the call began."""
    loading: bool
    """Whether the worker is still loading the checkpoint and the resources of its job."""


@dataclass(eq=False)
class Liveness:
    """What the driver knows about the progress of a busy actor."""

    actor: Any
    progress: float
    """Time of the last progress, on the monotonic clock."""
    loading: bool = False
    """Whether the actor was still loading at its last heartbeat."""
    requested: ray.ObjectRef | None = None
    """A heartbeat that was requested and has not arrived."""

    def is_hanging(self, limit: float) -> bool:
        """Whether there was no progress for `limit` seconds; 0: never. After half of them, a heartbeat is requested.

        An actor that answers that it is loading has `START_SECONDS`, if that is longer.
        """
        if not limit:
            return False
        self._read_heartbeat()
        quiet = time.monotonic() - self.progress
        if quiet > limit / 2 and self.requested is None:
            self.requested = self.actor.heartbeat.remote()
        return quiet > limit + GRACE_SECONDS

    def _read_heartbeat(self) -> None:
        if self.requested is None or not ray.wait([self.requested], timeout=0)[0]:
            return
        requested, self.requested = self.requested, None
        try:
            heartbeat = ray.get(requested)
        except RayError:  # the actor died; the call that it was busy with fails too
            return
        idle = 0.0 if heartbeat.loading and heartbeat.idle < START_SECONDS else heartbeat.idle
        self.progress = max(self.progress, time.monotonic() - idle)
        self.loading = heartbeat.loading

    def is_hanging_at_start(self, limit: float) -> bool:
        """Whether an actor that has a process is not ready after `limit` seconds; 0: never.

        An actor that still waits for resources may wait without a limit.
        """
        if not limit or time.monotonic() - self.progress < max(limit, START_SECONDS):
            return False
        if not state.actors(self.actor._actor_id.hex()).get("Pid"):
            self.progress = time.monotonic()
            return False
        return True
