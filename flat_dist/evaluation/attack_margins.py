"""Margins of the texts that an attack was asked about, by its outcome: whether robustness is rounding shows in them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch

from flat_dist.models.checkpoint import Checkpoint

OUTCOMES = ("skipped", "successful", "failed")
"""Outcomes of an attack that are shown."""

LARGEST = 1000
"""Texts of an attack whose margins are computed, the first ones."""

SATURATED = 24 * math.log(2)
"""About 16.6. With a larger margin the odds of the others are below 2^-24, half of the distance from 1 to the next
number of float32: a softmax in float32 adds them to 1 without effect, and the probability is exactly 1."""


@dataclass(frozen=True)
class AttackMargins:
    """Margins of one attack's texts."""

    training: str
    """Name of the model."""
    attack: str
    by_outcome: Mapping[str, np.ndarray]
    """Margin of the right class (log-odds) of each original text, by the outcome of the attack."""


def attack_margins(training: str, attack: str, rows: pa.Table, checkpoint: Checkpoint) -> AttackMargins:
    """The margins of the original texts, by outcome.

    Args:
        training: name of the model.
        attack: name of the attack.
        rows: of `flat_dist.data.shards.SCHEMA`, of an attack on this model that sees one form of scores.
        checkpoint: the model.
    """
    rows = rows.slice(0, LARGEST)
    ids = [checkpoint.encoder.encode(text) for text in rows["original_text"].to_pylist()]
    margins_NC = checkpoint.predict_margins(ids)
    own_N = (
        margins_NC.gather(1, torch.tensor(rows["label"].to_pylist(), dtype=torch.int64).view(-1, 1)).flatten().numpy()
    )
    status_N = np.array(rows["status"].to_pylist())
    return AttackMargins(training, attack, {name: own_N[status_N == name] for name in OUTCOMES})
