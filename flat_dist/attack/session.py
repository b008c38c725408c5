"""What an attack worker holds: the victim, the resources, and the attack built from them. No Ray here."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from flat_dist import assets
from flat_dist.attack import resources
from flat_dist.data.shards import Example, Record, ShardInfo, write_shard
from flat_dist.data.storage import Folder
from flat_dist.models import checkpoint as checkpoints

if TYPE_CHECKING:
    from flat_dist.attack.pool import AttackJob, Unit


class AttackSession:
    """One process's side of an attack stage."""

    def __init__(self, job: "AttackJob"):
        torch.set_num_threads(1)  # one worker a core; and sums must not depend on how many threads share them
        linguistic = assets.prepare()
        resources.activate(linguistic)
        # These import TextAttack, which must find its resources in place.
        from flat_dist.attack import accelerate, recipes, records, synonyms
        from flat_dist.attack.encoder import SentenceEncoder
        from flat_dist.attack.victim import Victim

        self.job = job
        self.checkpoint = checkpoints.load(Folder(job.checkpoint), job.device)
        encoder = SentenceEncoder(linguistic.sentence_encoder, job.device)
        embedding, _ = synonyms.embedding(job.synonyms, linguistic)
        self.engine = recipes.build(job.recipe, Victim(self.checkpoint), recipes.Linguistics(embedding, encoder))
        accelerate.accelerate(self.engine, encoder)
        self._accelerate, self._records = accelerate, records

    def run(self, unit: "Unit") -> ShardInfo:
        """Attack a unit and write its shard, whose bytes depend on nothing that was done before."""
        self._accelerate.forget(self.engine)
        return self.write(unit.number, [self.attack(example) for example in unit.examples])

    def attack(self, example: Example) -> Record:
        """Attack one example."""
        return self._records.attack_example(self.engine, example, self.job.seed)

    def write(self, number: int, records: Sequence[Record]) -> ShardInfo:
        """Predict all texts again and write the shard."""
        table = self._records.to_rows(records, self.checkpoint, self.job.round_number, self.job.identity)
        return write_shard(Folder(self.job.output), number, table)
