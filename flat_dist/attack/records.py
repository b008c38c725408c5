"""Attack one example, and make rows of a shard from the results. No Ray here."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from textattack import Attack
from textattack.attack_results import AttackResult, SkippedAttackResult

from flat_dist.data.alignment import align_spans
from flat_dist.data.shards import Example, Record, Swap, to_table
from flat_dist.data.text import clean, tokenize
from flat_dist.models.checkpoint import Checkpoint
from flat_dist.seeds import derive_seed


def attack_example(attack: Attack, example: Example, seed: int) -> Record:
    """Attack one example; whatever goes wrong becomes a row with status error.

    The random state depends on the run's seed and the example's id alone, not on what was attacked before.
    """
    _seed_everything(derive_seed(seed, example.example_id))
    record = Record(example.example_id, example.label, example.text, example.text, "error")
    try:
        result = attack.attack(example.text, example.label)
    except Exception as error:  # A shard keeps a row for every example.
        return replace(record, error=f"{type(error).__name__}: {error}")
    if isinstance(result, SkippedAttackResult):
        return replace(record, status="skipped", num_queries=result.num_queries)
    return replace(record, status="failed", **_outcome(example.text, result))


def _outcome(text: str, result: AttackResult) -> dict[str, Any]:
    perturbed = result.perturbed_result.attacked_text.text
    return {"perturbed_text": perturbed, "swaps": find_swaps(text, perturbed), "num_queries": result.num_queries}


def _seed_everything(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def find_swaps(original: str, perturbed: str) -> tuple[Swap, ...]:
    """Words of the original that the attack changed, by word index, and what stands in their place."""
    left, right = tokenize(clean(original)), tokenize(clean(perturbed))
    return tuple(
        Swap(start, " ".join(left[start:end]), " ".join(right[other_start:other_end]))
        for start, end, other_start, other_end in align_spans(left, right)
        if left[start:end] != right[other_start:other_end]
    )


def to_rows(records: Sequence[Record], victim: Checkpoint, round_number: int, metadata: Mapping[str, Any]) -> pa.Table:
    """A shard's table: every text predicted again, in one batch, and success decided by that prediction.

    One canonical batch makes the scores independent of how the attacks were batched; an attack's own claim of success
    is not trusted.
    """
    size = max(len(records), 1)
    original, perturbed = (
        victim.probabilities([getattr(record, name) for record in records], batch_size=size)
        for name in ("original_text", "perturbed_text")
    )
    wrong = (perturbed.argmax(1) != torch.tensor([record.label for record in records], dtype=torch.int64)).tolist()
    judged = [
        replace(record, status="successful") if record.status == "failed" and is_wrong else record
        for record, is_wrong in zip(records, wrong, strict=True)
    ]
    return to_table(judged, original.tolist(), perturbed.tolist(), round_number, metadata)
