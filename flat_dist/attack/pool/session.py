"""What an attack worker holds: the resources of all attacks, and the victim and attack of its job. No Ray here."""

import gc
import platform
import time
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import torch
import torch._dynamo  # takes seconds; imported here, it does not count as loading a checkpoint

from flat_dist.attack.builders import source_sha256
from flat_dist.attack.engine.profile import Profile
from flat_dist.attack.plan import AttackJob
from flat_dist.attack.runner import ENGINE
from flat_dist.config.errors import UserError
from flat_dist.data.shards import Example, Record, ShardInfo, write_shard
from flat_dist.models import checkpoint as checkpoints
from flat_dist.resources import assets, textattack_setup
from flat_dist.resources.catalogue import Sources
from flat_dist.resources.provenance import source_of
from flat_dist.runtime.malloc import keep_freed_memory
from flat_dist.runtime.user_code import import_from
from flat_dist.scheduling.session import Session
from flat_dist.storage.folder import Folder


class AttackSession(Session):
    """Attacks examples of one job at a time."""

    PHASE = "attack"

    def __init__(self) -> None:
        super().__init__()
        keep_freed_memory()
        torch.set_num_threads(1)  # one worker per core; and sums must not depend on the number of threads
        self.assets = assets.prepare()
        textattack_setup.activate(self.assets)
        # These import TextAttack, which must find its resources in place.
        from flat_dist.attack import recipes, records
        from flat_dist.attack.engine import from_textattack

        self._from_textattack, self._recipes, self._records = from_textattack, recipes, records
        self._linguistics: dict[tuple[Any, ...], Any] = {}
        self.profile = Profile()
        gc.collect()
        gc.freeze()  # the garbage collector need not look at the imported modules again

    def read(self, examples: pa.Table) -> Sequence[Example]:
        """The examples of a table with the columns example_id, text and label."""
        return [Example(row["example_id"], row["text"], row["label"]) for row in examples.to_pylist()]

    def process(self, job: AttackJob, examples: Sequence[Example]) -> list[Record]:
        """Attack examples."""
        self.switch_to(job)
        with self.profile.total, self.watchdog:
            if self.engine is not None:
                return self._records.attack_examples(self.engine, self.stock, examples, job.seed)
            limits = job.limits[job.device]
            return [self._records.attack_with_textattack(self.stock, each, job.seed, limits) for each in examples]

    def write(self, job: AttackJob, number: int, results: Sequence[Record]) -> ShardInfo:
        """Predict all texts again, and write the shard."""
        return write_shard(Folder(job.output), number, self.rows(job, results))

    def rows(self, job: AttackJob, results: Sequence[Record]) -> pa.Table:
        """Predict all texts again; the rows of a shard."""
        self.switch_to(job)
        with self.profile.total, self.watchdog:
            return self._records.to_rows(results, self.checkpoint, job.round_number, job.identity)

    def seconds(self) -> dict[str, float]:
        """Seconds spent so far, by component; and counts of candidates."""
        return self.profile.seconds() | self.profile.counts.flat()

    def load(self, job: AttackJob) -> None:
        """Load the victim, and build the attack."""
        from flat_dist.attack.victim import Victim

        limits = job.limits[job.device]
        torch.set_num_threads(1)  # of this thread, which may differ from the one that made the session
        self._check_masked_language_model(job)
        key = job.synonyms, job.device, limits.cache_size, job.resources
        if key not in self._linguistics:
            self._linguistics[key] = self._recipes.LinguisticResources(self.assets, *key)
            self.watchdog.last_tick = time.monotonic()
        self.checkpoint = checkpoints.load(Folder(job.checkpoint), job.device)
        self.checkpoint.model.output.register_forward_hook(lambda *_: self.watchdog.tick())
        victim = Victim(self.checkpoint, self.watchdog.tick, job.scores, job.temperature)
        import_from(job.import_from)
        self._check_builder(job)
        self.stock = self._recipes.build(job.attack, victim, self._linguistics[key], job.strength)
        self.engine = None
        if job.runner == ENGINE:
            self.engine = self._from_textattack.build_engine(self.stock, limits, self.profile)

    def _check_builder(self, job: AttackJob) -> None:
        known = job.identity.get("builder")
        if known and source_sha256(job.attack) != known["sha256"]:
            raise UserError(
                f"the file of {job.attack} on this machine differs from that of the run: copy it to "
                f"{job.import_from} on all machines"
            )

    def _check_masked_language_model(self, job: AttackJob) -> None:
        """Raise UserError if this machine has another model than the one that started the run.

        A stand-in that was trained on another processor differs in the last digits.
        """
        name = "masked_language_model"
        expected = job.identity.get("resources", {}).get(name)
        if expected is None:
            return
        found = source_of(name, Sources(job.synonyms, job.resources), self.assets)
        if found["sha256"] != expected["sha256"]:
            raise UserError(
                f"the masked language model on {platform.node()} is not that of the machine that started the run: copy "
                f"one folder to all machines, and name it with --attack.resources {name}=FOLDER"
            )
