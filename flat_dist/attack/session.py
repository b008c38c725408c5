"""What an attack worker holds: resources, and the victim and attack of the job it works on. No Ray here."""

import gc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from flat_dist import assets
from flat_dist.attack import resources
from flat_dist.attack.limits import Limits
from flat_dist.attack.profile import Profile
from flat_dist.data.shards import Example, Record, ShardInfo, write_shard
from flat_dist.data.storage import Folder
from flat_dist.memory import give_back_freed_memory, keep_freed_memory
from flat_dist.models import checkpoint as checkpoints


@dataclass(frozen=True)
class AttackJob:
    """An attack stage in plain values, which travel to the workers."""

    recipe: str
    checkpoint: str
    """Folder of the victim."""
    synonyms: str
    """Where TextFooler's neighbours come from; see `flat_dist.attack.synonyms`."""
    output: str
    """Folder of the shards."""
    round_number: int
    """0 for attacks that only measure."""
    seed: int
    device: str
    limits: Limits
    unit_size: int
    """Examples of a unit of work, which becomes one shard."""
    identity: Mapping[str, Any]
    """Recipe, resources, checkpoint hash, seed and versions, as written into every shard."""


class AttackSession:
    """One process's side of attack stages: one job's attack at a time, and the resources that all jobs share."""

    def __init__(self) -> None:
        keep_freed_memory()
        torch.set_num_threads(1)  # one worker a core; and sums must not depend on how many threads share them
        self.assets = assets.prepare()
        resources.activate(self.assets)
        # These import TextAttack, which must find its resources in place.
        from flat_dist.attack import accelerate, recipes, records

        self._accelerate, self._recipes, self._records = accelerate, recipes, records
        self._linguistics: dict[tuple[str, str, int], Any] = {}
        self.profile = Profile()
        self.job: AttackJob | None = None
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
        with self.profile.whole:
            return self._records.attack_examples(self.engine, self.stock, examples, job.seed)

    def write(self, job: AttackJob, number: int, records: Sequence[Record]) -> ShardInfo:
        """Predict all texts again and write the shard."""
        self._turn_to(job)
        with self.profile.whole:
            table = self._records.to_rows(records, self.checkpoint, job.round_number, job.identity)
            return write_shard(Folder(job.output), number, table)

    def _turn_to(self, job: AttackJob) -> None:
        if job == self.job:
            return
        from flat_dist.attack.victim import Victim

        key = job.synonyms, job.device, job.limits.cache_size
        if key not in self._linguistics:
            self._linguistics[key] = self._recipes.Linguistics(self.assets, *key)
        self.checkpoint = checkpoints.load(Folder(job.checkpoint), job.device)
        self.stock = self._recipes.build(job.recipe, Victim(self.checkpoint), self._linguistics[key])
        self.engine = self._accelerate.accelerate(self.stock, job.limits, self.profile)
        self.job = job
