"""Weights of the Universal Sentence Encoder, multilingual v3, as `flat_dist.attack.engine.sentence_encoder` uses them.

Shape letters: N texts, R rows, D features, K offsets of an n-gram.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from flat_dist.models.batch_invariance import InvariantLinear

EMBEDDING_DIM = 512
"""Size of a text's encoding, and of the embedding of a word piece."""
HIDDEN_DIM = 256
"""Features of each branch."""
OFFSETS = ((0, 1), (-1, 0, 1), (-2, -1, 0, 1, 2))
"""Positions that the n-grams of each branch read, relative to the current one."""
CONTEXT_ROWS, TEXT_ROWS = (192, 96, 48, 24, 1), (48, 24, 16, 1)
"""Rows of one matrix product on a CPU, the preferred number first (`flat_dist.models.batch_invariance`)."""
TABLES = 17
"""Piece i is row i // 17 of table i % 17; each table has its own scale of quantisation."""


@dataclass(frozen=True)
class EncoderWeights:
    """The encoder's weights; linear layers give a row the same bits in any batch."""

    table: Tensor  # (pieces, 512) uint8
    scale: Tensor  # (17, 1)
    low: Tensor  # (17, 1)
    projection: InvariantLinear  # (512, 3 * 256): all branches side by side, normalised together
    projection_norm: tuple[Tensor, Tensor]
    layers: list[list[tuple[InvariantLinear, Tensor]]]  # for each branch, two of (256, K * 256) and bias (256)
    pooled: InvariantLinear  # (1280, 320 + 320): gain of the norm, output layer, and first layer of the dense block
    pooled_bias: Tensor  # (640)
    dense: list[InvariantLinear]  # (320, 320), (320, 512), (512, 512)
    skip: InvariantLinear  # (320, 512)
    eps: float

    def embed(self, pieces_R: Tensor) -> Tensor:
        """Dequantised embeddings (R, 512) of pieces."""
        table_R1 = (pieces_R % TABLES)[:, None]
        return self.table[pieces_R].float() * self.scale[table_R1] + self.low[table_R1]

    def branch_inputs(self, embedded_RD: Tensor) -> tuple[Tensor, ...]:
        """Input (R, 256) of each branch."""
        x_RD = self.projection(embedded_RD)
        return F.layer_norm(x_RD, x_RD.shape[1:], *self.projection_norm, self.eps).chunk(len(OFFSETS), dim=1)

    def head(self, sum_ND: Tensor, length_N1: Tensor) -> Tensor:
        """Encodings (N, 512) from the sums of texts' features and their numbers of pieces."""
        # The output layer and the first layer after it are linear: one product computes both.
        second, third, fourth = self.dense
        joined_ND = (self.pooled(sum_ND) + length_N1 * self.pooled_bias) * length_N1.rsqrt()
        first_ND, skipped_ND = joined_ND.chunk(2, 1)
        x_ND = (second(first_ND.relu()) + skipped_ND).relu()
        x_ND = (fourth(third(x_ND).relu()) + self.skip(x_ND)).tanh()
        return x_ND * x_ND.square().sum(1, keepdim=True).clamp(min=self.eps).rsqrt()


def load_weights(path: Path, device: torch.device) -> EncoderWeights:
    """Read weights.npz and arrange it for `SentenceEncoder`.

    Raises:
        KeyError, ValueError, OSError, zipfile.BadZipFile: the file is not the encoder's.
    """
    with np.load(path, allow_pickle=False) as arrays:
        tables = np.stack([arrays[f"q{table}"] for table in range(1, TABLES + 1)], axis=1)
        tensor = {name: torch.from_numpy(arrays[name]).to(device) for name in arrays.files if not name.startswith("q")}
    orders = [len(offsets) for offsets in OFFSETS]
    joined = {
        name: torch.cat([tensor[f"{name}{n}"] for n in orders], dim=-1) for name in ("proj", "proj_b", "ln_g", "ln_b")
    }
    pooled, pooled_bias = _pooled(tensor)
    return EncoderWeights(
        table=torch.from_numpy(tables.reshape(-1, EMBEDDING_DIM)).to(device),
        scale=tensor["scale"],
        low=tensor["lo"],
        projection=_context_linear(joined["proj"], joined["proj_b"]),
        projection_norm=(joined["ln_g"], joined["ln_b"]),
        layers=[_branch(tensor, n) for n in orders],
        pooled=pooled,
        pooled_bias=pooled_bias,
        dense=[_text_linear(tensor[f"d{layer}"]) for layer in (1, 2, 3)],
        skip=_text_linear(tensor["p3"]),
        eps=float(tensor["eps"]),
    )


def _branch(tensor: dict[str, Tensor], order: int) -> list[tuple[InvariantLinear, Tensor]]:
    """Both layers of the branch of n-grams of this order, with their biases."""
    return [
        (_context_linear(_side_by_side(tensor[f"w{layer}_{order}"], order)), tensor[f"b{layer}_{order}"])
        for layer in (1, 2)
    ]


def _pooled(tensor: dict[str, Tensor]) -> tuple[InvariantLinear, Tensor]:
    """Gain of the norm, output layer and first layer of the dense block as one product, and its bias."""
    gain_D, bias_D, output, output_bias_D = (tensor[name].double() for name in ("ln_g", "ln_b", "cnn_W", "cnn_b"))
    block = torch.cat([tensor["d0"], tensor["p1"]], dim=1).double()
    linear = _text_linear((gain_D[:, None] * output @ block).float())
    return linear, ((bias_D @ output + output_bias_D) @ block).float()


def _context_linear(weight: Tensor, bias: Tensor | None = None) -> InvariantLinear:
    return InvariantLinear(weight, bias, CONTEXT_ROWS)


def _text_linear(weight: Tensor) -> InvariantLinear:
    return InvariantLinear(weight, None, TEXT_ROWS)


def _side_by_side(weight: Tensor, order: int) -> Tensor:
    """Weights of K offsets, from (K * D, D) to (D, K * D)."""
    return torch.cat(weight.chunk(order), dim=1).contiguous()
