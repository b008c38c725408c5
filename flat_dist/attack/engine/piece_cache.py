"""What the sentence encoder's first layer computes for each word piece, kept between calls."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from flat_dist.attack.engine.encoder_weights import EMBEDDING_DIM, HIDDEN_DIM, OFFSETS, EncoderWeights


class PieceCache:
    """Embeddings, branch inputs and products of pieces; emptied when it is full. Row 0 is zero: outside a text."""

    def __init__(self, weights: EncoderWeights, size: int):
        self.weights = weights
        self._row = np.zeros(len(weights.table), dtype=np.int64)
        self._allocate(size)

    def _allocate(self, size: int) -> None:
        # Filled at once, so that all memory is taken now and does not grow later.
        def new(*shape: int) -> Tensor:
            return self.weights.low.new_empty(shape).fill_(0)

        self.embedded = new(size + 1, EMBEDDING_DIM)
        self.sums = new(size + 1, 2)
        self.inputs = [new(size + 1, HIDDEN_DIM) for _ in OFFSETS]
        self.products = [new(size + 1, len(offsets) * HIDDEN_DIM) for offsets in OFFSETS]
        self._clear()

    def _clear(self) -> None:
        self._row[:] = 0
        self._count = 0

    @property
    def _free_rows(self) -> int:
        return len(self.embedded) - 1 - self._count

    @torch.inference_mode()
    def prepare(self, texts: Sequence[Sequence[int]]) -> None:
        """Compute all new pieces of some texts in one go, if there are enough free rows."""
        new = {piece for text in texts for piece in text}
        missing = np.array([piece for piece in new if not self._row[piece]], dtype=np.int64)
        if 0 < len(missing) <= self._free_rows:
            self._compute(missing)

    def rows(self, slots_S: np.ndarray) -> np.ndarray:
        """Row of the piece in each slot; 0 in gaps, which hold -1."""
        row_S = np.where(slots_S < 0, 0, self._row[slots_S])
        missing_S = (row_S == 0) & (slots_S >= 0)
        if not missing_S.any():
            return row_S
        new = np.unique(slots_S[missing_S])
        if len(new) > self._free_rows:
            new = np.unique(slots_S[slots_S >= 0])
            self._clear()
            if len(new) > self._free_rows:
                self._allocate(len(new))
        self._compute(new)
        return np.where(slots_S < 0, 0, self._row[slots_S])

    def _compute(self, pieces: np.ndarray) -> None:
        start, end = self._count + 1, self._count + len(pieces) + 1
        embedded_RD = self.embedded[start:end]
        embedded_RD[:] = self.weights.embed(torch.from_numpy(pieces).to(embedded_RD.device))
        self.sums[start:end] = sums(embedded_RD)
        for branch, x_RD in enumerate(self.weights.branch_inputs(embedded_RD)):
            linear, _ = self.weights.layers[branch][0]
            self.inputs[branch][start:end] = x_RD
            linear(self.inputs[branch][start:end], self.products[branch][start:end])
        self._row[pieces] = np.arange(start, end)
        self._count = end - 1


def sums(x_RD: Tensor) -> Tensor:
    """For each row, the sum of its components and the sum of their squares (R, 2)."""
    return torch.stack([x_RD.sum(1), x_RD.square().sum(1)], 1)
