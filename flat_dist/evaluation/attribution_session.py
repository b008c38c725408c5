"""What a worker that explains pairs holds: the model that it explained last. No Ray here."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import torch
import torch._dynamo  # takes seconds; imported here, it does not count as loading a checkpoint

from flat_dist.evaluation.attribution_stage import AttributionJob, AttributionUnit
from flat_dist.evaluation.attributions import SCHEMA, explain_rows
from flat_dist.models import checkpoint as checkpoints
from flat_dist.scheduling.session import Session
from flat_dist.storage.arrow import write_part
from flat_dist.storage.folder import Folder


class AttributionSession(Session):
    """Explains pairs of one job at a time. Jobs for the same checkpoint share the loaded model."""

    PHASE = "explain"

    def __init__(self) -> None:
        super().__init__()
        self._loaded: tuple[str, str] | None = None

    def process(self, job: AttributionJob, examples: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Explain pairs: rows of `flat_dist.data.shards.SCHEMA`."""
        self.switch_to(job)
        with self.watchdog:
            return explain_rows(self.checkpoint, examples, job.method)

    def write(self, job: AttributionJob, number: int, results: Sequence[Mapping[str, Any]]) -> AttributionUnit:
        """Write the rows of a unit."""
        table = pa.Table.from_pylist(list(results), schema=SCHEMA)
        return AttributionUnit(write_part(Folder(job.output), number, table).table)

    def load(self, job: AttributionJob) -> None:
        """Load the model, each of whose answers counts as progress."""
        torch.set_num_threads(1)  # one worker per core; and sums must not depend on the number of threads
        if self._loaded != (job.checkpoint, job.device):
            self.checkpoint = checkpoints.load(Folder(job.checkpoint), job.device)
            self.checkpoint.model.output.register_forward_hook(lambda *_: self.watchdog.tick())
            self._loaded = job.checkpoint, job.device
