"""Finds workers that hang, though they may be too far gone to say so: a stopped process, a file that is never read.

A worker's own watchdog (`attack.pool.watchdog`) ends it with its stack in the log, where it still can. The driver
looks from outside, so that nothing waits for a worker that cannot.
"""

import time
from dataclasses import dataclass
from typing import Any

import ray
from ray._private import state
from ray.exceptions import RayError

GRACE_SECONDS = 5.0
"""What the worker's own watchdog is given before the driver ends it."""
START_SECONDS = 300.0
"""Seconds that a worker may take to start at least, however soon it counts as hanging later: it imports much, which may
lie on a slow disk."""


@dataclass(eq=False)
class Liveness:
    """What the driver sees of an actor that is busy."""

    actor: Any
    progress: float
    """When there was some, on the monotonic clock."""
    loading: bool = False
    """Whether it was still loading, when it last said."""
    asked: ray.ObjectRef | None = None
    """The answer that it owes."""

    def is_hanging(self, limit: float) -> bool:
        """Whether there is no progress for so many seconds; 0: never. From half of them on, the actor is asked."""
        if not limit:
            return False
        self._hear()
        quiet = time.monotonic() - self.progress
        if quiet > limit / 2 and self.asked is None:
            self.asked = self.actor.heartbeat.remote()
        return quiet > limit + GRACE_SECONDS

    def _hear(self) -> None:
        if self.asked is None or not ray.wait([self.asked], timeout=0)[0]:
            return
        asked, self.asked = self.asked, None
        try:
            heartbeat = ray.get(asked)
        except RayError:  # it died, which its call says, too
            return
        self.progress = max(self.progress, time.monotonic() - heartbeat.idle)
        self.loading = heartbeat.loading

    def is_hanging_at_start(self, limit: float) -> bool:
        """Whether an actor that has a process is not ready after so many seconds; 0: never.

        One that waits for its place may wait as long as it takes.
        """
        if not limit or time.monotonic() - self.progress < max(limit, START_SECONDS):
            return False
        if not state.actors(self.actor._actor_id.hex()).get("Pid"):
            self.progress = time.monotonic()
            return False
        return True
