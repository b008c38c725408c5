"""Whether adversarial texts are still valid: similar in meaning, fluent, and little changed.

Similarity is the cosine of the whole texts' sentence encodings (TextFooler's own limit is on windows of 15 words, and
on the angle). Fluency is the perplexity of the adversarial text divided by that of the original.

Shapes: N texts, D dimensions of an encoding.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc
import torch

from flat_dist.data.sentence_pairs import without_mark
from flat_dist.data.shards import read_shards
from flat_dist.evaluation.accuracy import words_changed
from flat_dist.evaluation.pair_choice import CHOICES, changed_rows
from flat_dist.storage.arrow import read_table
from flat_dist.storage.folder import Folder

NAME = "validity"
"""Name of the table."""

SCHEMA = pa.schema([("example_id", pa.string()), ("similarity", pa.float64()), ("log10_ratio", pa.float64())])
"""Of each changed text: cosine with its original, and the logarithm of the ratio of their perplexities."""

BATCH = 256
"""Pairs that are encoded at a time."""

Encode = Callable[[Sequence[str]], torch.Tensor]
"""Encodes texts as unit vectors (N, D)."""


class LanguageModel(Protocol):
    """What the perplexity needs of a language model."""

    def log10_perplexity(self, text: str) -> float:
        """Logarithm of a text's perplexity for each of the model's words."""


@dataclass(frozen=True)
class Validity:
    """The adversarial texts of an attack on a model, beside their originals."""

    n: int
    """Number of changed texts that the numbers are about."""
    similarity: float | None
    """Mean cosine of the sentence encodings; None if there are no texts."""
    perplexity_ratio: float | None
    """Geometric mean of the adversarial text's perplexity over the original's; None if there are no texts."""
    words_changed: float | None
    """Mean share of a text's words that were changed, without punctuation."""


def measure(
    rows: pa.Table, encode: Encode, model: LanguageModel, progress: Callable[[], None] = lambda: None
) -> pa.Table:
    """Compare each changed text of an attack with its original.

    Args:
        rows: of `flat_dist.data.shards.SCHEMA`.
        encode: the sentence encoder.
        model: the language model.
        progress: called after each batch.

    Returns:
        Rows of `SCHEMA`.
    """
    changed = changed_rows(rows)
    texts = (map(without_mark, changed[side].to_pylist()) for side in ("original_text", "perturbed_text"))
    pairs = list(zip(*texts, strict=True))
    similarities: list[float] = []
    ratios: list[float] = []
    for batch in _batches(pairs):
        originals, adversarials = (encode([pair[side] for pair in batch]).double() for side in (0, 1))
        similarities += (originals * adversarials).sum(1).tolist()
        ratios += [
            model.log10_perplexity(adversarial) - model.log10_perplexity(original) for original, adversarial in batch
        ]
        progress()
    return pa.table([changed["example_id"], similarities, ratios], schema=SCHEMA)


def _batches(pairs: Sequence[tuple[str, str]]) -> Iterator[Sequence[tuple[str, str]]]:
    for start in range(0, len(pairs), BATCH):
        yield pairs[start : start + BATCH]


def summarise(rows: pa.Table, measured: pa.Table) -> dict[str, Validity]:
    """Validity over the successful attacks, and over all texts that the attack changed, successful or not.

    Args:
        rows: of `flat_dist.data.shards.SCHEMA`.
        measured: rows of `SCHEMA` for all of its changed texts.
    """
    return {which: _summary(changed_rows(CHOICES[which](rows)), measured) for which in ("successful", "changed")}


def _summary(rows: pa.Table, measured: pa.Table) -> Validity:
    of_rows = measured.filter(pc.is_in(measured["example_id"], rows["example_id"].combine_chunks()))
    ratio = pc.mean(of_rows["log10_ratio"]).as_py()
    return Validity(
        n=rows.num_rows,
        similarity=pc.mean(of_rows["similarity"]).as_py(),
        perplexity_ratio=None if ratio is None else math.pow(10, ratio),
        words_changed=words_changed(rows),
    )


def read(shards: Folder, table: Folder) -> Mapping[str, Validity]:
    """The validity of an attack's texts, from its shards and the stage that measured them."""
    return summarise(read_shards(shards), read_table(table, NAME))
