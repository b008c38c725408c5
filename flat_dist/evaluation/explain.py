"""Interpretation consistency of a checkpoint on the pairs that an attack left (paper, Section 5.2)."""

import numpy as np
import pyarrow as pa

from flat_dist.data.batches import to_batch
from flat_dist.data.text import clean, tokenize
from flat_dist.evaluation.consistency import Consistency, align, consistency
from flat_dist.evaluation.interpretation import integrated_gradients
from flat_dist.models.checkpoint import Checkpoint


def changed_pairs(table: pa.Table) -> list[tuple[str, str]]:
    """Original and perturbed text of each row in which the attack changed a word, whether it succeeded or not.

    Rows without a change (skipped, above all) compare a text with itself, which says nothing about consistency.
    """
    rows = table.select(["original_text", "perturbed_text", "swaps"]).to_pylist()
    return [(row["original_text"], row["perturbed_text"]) for row in rows if row["swaps"]]


def explain_pairs(checkpoint: Checkpoint, pairs: list[tuple[str, str]], steps: int) -> tuple[Consistency, float]:
    """Consistency of the integrated gradients on pairs, and their largest completeness error.

    Args:
        checkpoint: the model to explain.
        pairs: original and perturbed texts, at least one.
        steps: steps of the path.
    """
    sides = [_attributions(checkpoint, [pair[side] for pair in pairs], steps) for side in (0, 1)]
    alignments = [align(*(_read(checkpoint, text) for text in pair)) for pair in pairs]
    (original, original_error), (perturbed, perturbed_error) = sides
    return consistency(original, perturbed, alignments), max(original_error, perturbed_error)


def _attributions(checkpoint: Checkpoint, texts: list[str], steps: int) -> tuple[list[np.ndarray], float]:
    batch = to_batch([checkpoint.encoder.encode(text) for text in texts]).to(checkpoint.device)
    attributions = integrated_gradients(checkpoint.model, batch.ids_BT, batch.real_BT, steps)
    spans = [checkpoint.encoder.spans(text) for text in texts]
    return attributions.by_word(spans), float(attributions.error.abs().max())


def _read(checkpoint: Checkpoint, text: str) -> list[str]:
    """The words that the model reads."""
    return tokenize(clean(text))[: len(checkpoint.encoder.spans(text))]
