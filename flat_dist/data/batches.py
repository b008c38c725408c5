"""Examples and pairs as padded tensors.

Shapes: B texts, T pieces (words, or the word pieces of a transformer), S swaps, W pieces on one side of a swap.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from flat_dist.data.encoder import Encoder
from flat_dist.data.preprocessing import tokenize

PADDING = 0


@dataclass(frozen=True)
class Pieces:
    """The padded pieces on one side of swaps."""

    ids_SW: Tensor
    real_SW: Tensor
    """True at pieces, false at padding."""
    positions_SW: Tensor
    """Position of each piece in its text, from 0."""

    def to(self, device: torch.device | str) -> "Pieces":
        """The same pieces on another device."""
        return Pieces(self.ids_SW.to(device), self.real_SW.to(device), self.positions_SW.to(device))


@dataclass(frozen=True)
class Swaps:
    """Replaced words and their substitutes."""

    original: Pieces
    substitute: Pieces
    pairs: int
    """Number of original/adversarial pairs in the mean of Eq. 3."""


@dataclass(frozen=True)
class Batch:
    """Clean texts, or adversarial texts."""

    ids_BT: Tensor
    real_BT: Tensor
    """True at pieces (also special ones), false at padding."""
    labels_B: Tensor
    count: int
    """Number of texts in the whole batch, for means; more than B if workers share a batch."""
    swaps: Swaps | None = None

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on another device."""
        swaps = self.swaps and replace(
            self.swaps, original=self.swaps.original.to(device), substitute=self.swaps.substitute.to(device)
        )
        moved = {name: getattr(self, name).to(device) for name in ("ids_BT", "real_BT", "labels_B")}
        return replace(self, **moved, swaps=swaps)


Side = tuple[Sequence[int], int]
"""One side of a swap: the pieces of its words, and the position of the first in its text."""

SwapIds = tuple[tuple[Side, Side], ...]
"""The swaps of one pair: original and substitute."""


@dataclass(frozen=True)
class Examples:
    """Encoded texts with labels; adversarial ones have `swaps`."""

    ids: tuple[Sequence[int], ...]
    labels: np.ndarray
    swaps: tuple[SwapIds, ...] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def lengths(self) -> np.ndarray:
        """Pieces of each text."""
        return np.array([len(text) for text in self.ids], dtype=np.int64)

    def take(self, indices: np.ndarray) -> "Examples":
        """The examples at `indices`."""
        swaps = None if self.swaps is None else tuple(self.swaps[index] for index in indices)
        return Examples(tuple(self.ids[index] for index in indices), self.labels[indices], swaps)

    def batch(self, indices: Sequence[int] | np.ndarray, rank: int = 0, world_size: int = 1) -> Batch:
        """The share of worker `rank` in a batch of these examples."""
        (batch,) = self.batches(indices, rank, world_size, 1)
        return batch

    def batches(self, indices: Sequence[int] | np.ndarray, rank: int, world_size: int, parts: int) -> list[Batch]:
        """The share of worker `rank`, split into `parts` parts; some may be empty."""
        mine = np.asarray(indices, dtype=np.int64)[rank::world_size]
        return [self._batch(part, len(indices)) for part in np.array_split(mine, parts)]

    def _batch(self, mine: np.ndarray, count: int) -> Batch:
        batch = replace(to_batch([self.ids[index] for index in mine], self.labels[mine]), count=count)
        if self.swaps is None:
            return batch
        sides = [side for index in mine for side in self.swaps[index]]
        swaps = Swaps(_pieces([left for left, _ in sides]), _pieces([right for _, right in sides]), count)
        return replace(batch, swaps=swaps)


def concatenate(parts: Sequence[Examples]) -> Examples:
    """Adversarial examples of several sources as one."""
    return Examples(
        tuple(ids for part in parts for ids in part.ids),
        np.concatenate([part.labels for part in parts]),
        tuple(swaps for part in parts for swaps in part.swaps or ()),
    )


def with_count(batch: Batch, count: int) -> Batch:
    """The batch as a share of a batch of `count` texts."""
    return replace(batch, count=count, swaps=batch.swaps and replace(batch.swaps, pairs=count))


def _pad(rows: Sequence[Sequence[int]], length: int = 0) -> tuple[Tensor, Tensor]:
    """Rows in one tensor with at least `length` columns, and a mask that is false at padding."""
    lengths = np.fromiter((len(row) for row in rows), dtype=np.int64, count=len(rows))
    real = np.arange(lengths.max(initial=length)) < lengths[:, None]
    padded = np.full(real.shape, PADDING, dtype=np.int64)
    padded[real] = np.fromiter(itertools.chain.from_iterable(rows), dtype=np.int64, count=lengths.sum())
    return torch.from_numpy(padded), torch.from_numpy(real)


def _pieces(sides: Sequence[Side]) -> Pieces:
    ids_SW, real_SW = _pad([pieces for pieces, _ in sides])
    starts_S = torch.tensor([start for _, start in sides], dtype=torch.int64)
    return Pieces(ids_SW, real_SW, (starts_S.unsqueeze(1) + torch.arange(ids_SW.shape[1])) * real_SW)


def to_batch(ids: Sequence[Sequence[int]], labels: np.ndarray | None = None, length: int = 0) -> Batch:
    """Texts padded to the longest one, or to `length` if that is more; labels are 0 by default."""
    ids_BT, real_BT = _pad(ids, length)
    labels_B = torch.from_numpy(np.zeros(len(ids), np.int64) if labels is None else labels)
    return Batch(ids_BT, real_BT, labels_B, len(ids))


def encode_clean(table: pa.Table, encoder: Encoder) -> Examples:
    """Clean examples of a table with columns text and label."""
    ids = tuple(encoder.encode(text) for text in table["text"].to_pylist())
    return Examples(ids, table["label"].to_numpy().astype(np.int64))


def encode_adversarial(table: pa.Table, encoder: Encoder, keep: str) -> Examples:
    """Adversarial examples of shards, with the replaced words of each (paper, Eq. 3).

    Args:
        table: rows of `flat_dist.data.shards.SCHEMA`.
        encoder: texts to pieces.
        keep: successful, successful_and_failed, or all (skipped examples are copies of clean texts).
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
    """The swaps whose words the model reads on both sides.

    An insertion has no original word to compare with. A substitute with more pieces than the original may push words at
    the end of the text beyond the maximum length.
    """
    texts = row["original_text"], row["perturbed_text"]
    pieces, spans = [encoder.encode(text) for text in texts], [encoder.spans(text) for text in texts]
    swaps, shift = [], 0
    for swap in row["swaps"]:
        counts = [len(tokenize(swap[side])) for side in ("original", "substitute")]
        starts = swap["index"], swap["index"] + shift
        shift += counts[1] - counts[0]
        words = [read[start : start + count] for read, start, count in zip(spans, starts, counts, strict=True)]
        if min(counts) and list(map(len, words)) == counts:
            left, right = map(_side, pieces, words)
            if left[0] and right[0]:  # a tokenizer may drop all characters of a word
                swaps.append((left, right))
    return tuple(swaps)


def _side(pieces: Sequence[int], spans: Sequence[tuple[int, int]]) -> Side:
    start, end = spans[0][0], spans[-1][1]
    return pieces[start:end], start
