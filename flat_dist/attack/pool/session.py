"""What an attack worker holds: resources, and the victim and attack of the job it works on. No Ray here."""

import gc
import time
from collections.abc import Sequence
from typing import Any

import torch

from flat_dist.attack.engine.profile import Profile
from flat_dist.attack.plan import AttackJob
from flat_dist.attack.pool.watchdog import Watchdog
from flat_dist.data.shards import Example, Record, ShardInfo, write_shard
from flat_dist.models import checkpoint as checkpoints
from flat_dist.resources import assets, textattack_setup
from flat_dist.runtime.malloc import give_back_freed_memory, keep_freed_memory
from flat_dist.storage.folder import Folder


class AttackSession:
    """One process's side of attack stages: one job's attack at a time, and the resources that all jobs share."""

    def __init__(self) -> None:
        keep_freed_memory()
        torch.set_num_threads(1)  # one worker a core; and sums must not depend on how many threads share them
        self.assets = assets.prepare()
        textattack_setup.activate(self.assets)
        # These import TextAttack, which must find its resources in place.
        from flat_dist.attack import recipes, records
        from flat_dist.attack.engine import from_textattack

        self._from_textattack, self._recipes, self._records = from_textattack, recipes, records
        self._linguistics: dict[tuple[str, str, int], Any] = {}
        self.profile, self.watchdog = Profile(), Watchdog()
        self.job: AttackJob | None = None
        self.loading = False
        gc.collect()
        gc.freeze()  # what was imported need not be looked through again and again

    def run(self, job: AttackJob, number: int, examples: Sequence[Example]) -> ShardInfo:
        """Attack a unit and write its shard, whose bytes depend on nothing that was done before."""
        info = self.write(job, number, self.attack(job, examples))
        give_back_freed_memory()
        return info

    def attack(self, job: AttackJob, examples: Sequence[Example]) -> list[Record]:
        """Attack examples."""
        self._turn_to(job)
        with self.profile.total, self.watchdog:
            return self._records.attack_examples(self.engine, self.stock, examples, job.seed)

    def write(self, job: AttackJob, number: int, records: Sequence[Record]) -> ShardInfo:
        """Predict all texts again and write the shard."""
        self._turn_to(job)
        with self.profile.total, self.watchdog:
            table = self._records.to_rows(records, self.checkpoint, job.round_number, job.identity)
        return write_shard(Folder(job.output), number, table)

    def _turn_to(self, job: AttackJob) -> None:
        self.watchdog.ticked = time.monotonic()
        if job != self.job:
            self.loading = True
            self._load(job)
            self.loading = False

    def _load(self, job: AttackJob) -> None:
        from flat_dist.attack.victim import Victim

        limits = job.limits[job.device]
        torch.set_num_threads(1)  # of this thread, which need not be the one that made the session
        self.watchdog.seconds = job.stall_seconds
        key = job.synonyms, job.device, limits.cache_size
        if key not in self._linguistics:
            self._linguistics[key] = self._recipes.LinguisticResources(self.assets, *key)
            self.watchdog.ticked = time.monotonic()
        self.checkpoint = checkpoints.load(Folder(job.checkpoint), job.device)
        victim = Victim(self.checkpoint, self.watchdog.tick)
        self.stock = self._recipes.build(job.attack, victim, self._linguistics[key])
        self.engine = self._from_textattack.build_engine(self.stock, limits, self.profile)
        self.job = job
