"""The actor that attacks."""

from collections.abc import Sequence

import pyarrow as pa

from flat_dist.data.shards import Example
from flat_dist.scheduling.session import Session
from flat_dist.scheduling.worker import Worker


class AttackWorker(Worker):
    """Attacks chunks of any attack job."""

    def make_session(self) -> Session:
        """A session that holds the attack's resources."""
        from flat_dist.attack.pool.session import AttackSession

        return AttackSession()

    def read(self, examples: pa.Table) -> Sequence[Example]:
        """The examples of a table with the columns example_id, text and label."""
        return [Example(row["example_id"], row["text"], row["label"]) for row in examples.to_pylist()]
