"""The actor that attacks. It imports what an attack takes when it starts, so that the driver need not."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import ray

from flat_dist.attack.plan import AttackJob
from flat_dist.config.errors import UserError
from flat_dist.data.shards import Example, Record, ShardInfo

Seconds = dict[str, float]
"""What was spent, by component (`flat_dist.attack.engine.profile`)."""

ACTOR: dict[str, Any] = {"max_restarts": 0, "max_task_retries": 0, "concurrency_groups": {"heartbeat": 1}}
"""How Ray runs a worker: one call after another, while a second thread answers `AttackWorker.heartbeat`. Ray restarts
and retries nothing: the driver decides what happens after a crash."""


@dataclass(frozen=True)
class Heartbeat:
    """How far a worker is that is busy."""

    idle: float
    """Seconds since the victim last answered, or the call began."""
    loading: bool
    """Whether it is still at the checkpoint and the resources of its call."""


class AttackWorker:
    """Attacks units of any job, keeping what the last job needed."""

    def __init__(self) -> None:
        from flat_dist.attack.pool.session import AttackSession

        self.mistake: UserError | None = None
        try:
            self.session = AttackSession()
        except UserError as error:  # raised here, Ray would make a traceback of it
            self.mistake = error

    def ready(self) -> str:
        """The node it is on, once it can attack.

        Raises:
            UserError: it cannot, because of something that a user can mend.
        """
        if self.mistake:
            raise self.mistake
        node: str = ray.get_runtime_context().get_node_id()
        return node

    @ray.method(concurrency_group="heartbeat")
    def heartbeat(self) -> Heartbeat:
        """Sign of life, which a process that is stopped does not give, and when there was progress."""
        return Heartbeat(time.monotonic() - self.session.watchdog.ticked, self.session.loading)

    def run(self, job: AttackJob, number: int, examples: pa.Table) -> tuple[ShardInfo, Seconds]:
        """Attack a whole unit and write its shard."""
        before = self.session.profile.seconds()
        info = self.session.run(job, number, rows(examples))
        return info, self._since(before)

    def attack(self, job: AttackJob, examples: pa.Table) -> tuple[list[Record], Seconds]:
        """Attack a part of a unit."""
        before = self.session.profile.seconds()
        records = self.session.attack(job, rows(examples))
        return records, self._since(before)

    def write(self, job: AttackJob, number: int, records: Sequence[Record]) -> tuple[ShardInfo, Seconds]:
        """Write the shard of a unit that was attacked in parts."""
        before = self.session.profile.seconds()
        info = self.session.write(job, number, records)
        return info, self._since(before)

    def _since(self, before: Seconds) -> Seconds:
        return {name: seconds - before[name] for name, seconds in self.session.profile.seconds().items()}


def rows(table: pa.Table) -> list[Example]:
    """A table's examples; columns example_id, text and label."""
    return [Example(row["example_id"], row["text"], row["label"]) for row in table.to_pylist()]
