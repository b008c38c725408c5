"""The actor that attacks. It imports what an attack takes when it starts, so that the driver need not."""

from collections.abc import Sequence

import pyarrow as pa
import ray

from flat_dist.attack.job import AttackJob
from flat_dist.data.shards import Example, Record, ShardInfo

Seconds = dict[str, float]
"""What was spent, by component (`flat_dist.attack.profile`)."""


class AttackWorker:
    """Attacks units of any job, keeping what the last job needed."""

    def __init__(self) -> None:
        from flat_dist.attack.session import AttackSession

        self.session = AttackSession()

    def ready(self) -> str:
        """The node it is on, once it can attack."""
        node: str = ray.get_runtime_context().get_node_id()
        return node

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
