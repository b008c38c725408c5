"""Examples and pairs as padded tensors.

Shapes: B texts, T words, S swaps, W words on one side of a swap.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from flat_dist.data.text import SPANNING, Vocabulary, clean, tokenize

PADDING = 0
REMEMBERED = 2**14
"""Words whose indices an encoder remembers."""


@dataclass(frozen=True)
class Encoder:
    """Texts to word indices."""

    vocabulary: Vocabulary
    max_length: int
    """Words kept of a text."""

    def encode(self, text: str) -> tuple[int, ...]:
        """Word indices of a text, cut to `max_length`; a text without words is one unknown word."""
        if SPANNING.search(text):
            ids = self._encode(text)
        else:
            # Cleaned part by part, which remembers the parts: texts under attack differ in one word.
            ids = []
            for part in text.split(" "):
                ids += self._encode_part(part)
                if len(ids) >= self.max_length:
                    break
        return tuple(ids[: self.max_length] or self.vocabulary.encode([""]))

    def _encode(self, text: str) -> list[int]:
        return self.vocabulary.encode(tokenize(clean(text)))

    @cached_property
    def _encode_part(self) -> Callable[[str], list[int]]:
        return lru_cache(REMEMBERED)(self._encode)

    def encode_words(self, words: str) -> list[int]:
        """Word indices of one side of a swap."""
        return self.vocabulary.encode(tokenize(clean(words)))


@dataclass(frozen=True)
class Swaps:
    """Replaced words and their substitutes, as word indices padded with 0."""

    original_SW: Tensor
    substitute_SW: Tensor
    pairs: int
    """Original/adversarial pairs that the mean of Eq. 3 is taken over."""


@dataclass(frozen=True)
class Batch:
    """Texts of one kind, clean or adversarial."""

    ids_BT: Tensor
    real_BT: Tensor
    """True at words, false at padding."""
    labels_B: Tensor
    count: int
    """Texts that a mean over the whole batch is taken over; more than B where workers share a batch."""
    swaps: Swaps | None = None

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on another device."""
        swaps = self.swaps and replace(
            self.swaps,
            original_SW=self.swaps.original_SW.to(device),
            substitute_SW=self.swaps.substitute_SW.to(device),
        )
        moved = {name: getattr(self, name).to(device) for name in ("ids_BT", "real_BT", "labels_B")}
        return replace(self, **moved, swaps=swaps)


SwapIds = tuple[tuple[list[int], list[int]], ...]
"""The swaps of one pair: word indices of the original and of the substitute."""


@dataclass(frozen=True)
class Examples:
    """Encoded texts with labels; `swaps` only where they are adversarial."""

    ids: tuple[Sequence[int], ...]
    labels: np.ndarray
    swaps: tuple[SwapIds, ...] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def batch(self, indices: Sequence[int] | np.ndarray, rank: int = 0, world_size: int = 1) -> Batch:
        """The share of worker `rank` in the batch of these examples."""
        mine = [int(index) for index in indices[rank::world_size]]
        batch = to_batch([self.ids[index] for index in mine], self.labels[mine])
        batch = replace(batch, count=len(indices))
        if self.swaps is None:
            return batch
        sides = [side for index in mine for side in self.swaps[index]]
        swaps = Swaps(_pad([left for left, _ in sides]), _pad([right for _, right in sides]), len(indices))
        return replace(batch, swaps=swaps)


def _pad(rows: Sequence[Sequence[int]]) -> Tensor:
    longest = max((len(row) for row in rows), default=0)
    padded = np.full((len(rows), longest), PADDING, dtype=np.int64)
    for position, row in enumerate(rows):
        padded[position, : len(row)] = row
    return torch.from_numpy(padded)


def to_batch(ids: Sequence[Sequence[int]], labels: np.ndarray | None = None) -> Batch:
    """Texts padded to the longest of them; labels are 0 where none are given."""
    ids_BT = _pad(ids)
    labels_B = torch.from_numpy(np.zeros(len(ids), np.int64) if labels is None else labels)
    return Batch(ids_BT, ids_BT != PADDING, labels_B, len(ids))


def encode_clean(table: pa.Table, encoder: Encoder) -> Examples:
    """Clean examples of a table with the columns text and label."""
    ids = tuple(encoder.encode(text) for text in table["text"].to_pylist())
    return Examples(ids, table["label"].to_numpy().astype(np.int64))


def encode_adversarial(table: pa.Table, encoder: Encoder, keep: str) -> Examples:
    """Adversarial examples of shards, with the replaced words of each (paper, Eq. 3).

    Args:
        table: rows of `flat_dist.data.shards.SCHEMA`.
        encoder: words to indices.
        keep: successful attacks only, successful_and_failed, or all (skipped ones are copies of clean texts).
    """
    statuses = {
        "successful": {"successful"},
        "successful_and_failed": {"successful", "failed", "timeout"},
        "all": {"successful", "failed", "timeout", "skipped"},
    }[keep]
    rows = [row for row in table.to_pylist() if row["status"] in statuses]
    ids = tuple(encoder.encode(row["perturbed_text"]) for row in rows)
    labels = np.array([row["label"] for row in rows], dtype=np.int64)
    return Examples(ids, labels, tuple(_encode_swaps(row, encoder) for row in rows))


def _encode_swaps(row: dict, encoder: Encoder) -> SwapIds:
    # An insertion has no original word, so its importance has nothing to be compared with; the same holds for words
    # that the model does not read.
    sides = (
        (encoder.encode_words(swap["original"]), encoder.encode_words(swap["substitute"]))
        for swap in row["swaps"]
        if swap["index"] < encoder.max_length
    )
    return tuple((left, right) for left, right in sides if left and right)
