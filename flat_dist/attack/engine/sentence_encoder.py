"""Google's Universal Sentence Encoder, multilingual v3 (Yang et al. 2019; Chidambaram et al. 2018), in PyTorch.

Architecture: piece embeddings (512) are projected and normalised to the input (256) of each of three branches, which
apply two residual convolutions over n-grams (n = 2, 3, 5). Embedding and branches are joined (1280), normalised, summed
over the text, projected, divided by the root of the text's length, and pass two residual dense blocks, tanh and L2.

Why not `conv1d`: windows around a replaced word are nearly equal to one another. What a layer puts out at a position
depends on few pieces around it, so each distinct context in a batch is computed once, and looked up wherever it occurs.
A convolution is a sum over offsets, `sum_k x[t + k] @ weight[k]`; the products are made once for each distinct row, and
an embedding bag adds those that a context needs. The first layer's rows are pieces, whose products are remembered.

Shape letters: N texts, P positions (pieces of all texts), S slots (positions and the gaps around texts), R distinct
rows of a layer (row 0 is zero: outside the text), K offsets of an n-gram, D features.
"""

import itertools
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import sentencepiece
import torch
from torch import Tensor
from torch.nn import functional as F

from flat_dist.config.errors import UserError
from flat_dist.models.batch_invariance import InvariantLinear

EMBEDDING_DIM = 512
"""Size of a text's encoding, and of a piece's embedding."""
OFFSETS = ((0, 1), (-1, 0, 1), (-2, -1, 0, 1, 2))
"""Which neighbours the n-grams of each branch read."""
GAP = 2
"""Empty slots before, between and after texts: as far as an n-gram reaches."""
MOST = 2**62
"""Keys of n-grams stay below this."""
CENTRES = tuple(offsets.index(0) for offsets in OFFSETS)
HIDDEN_DIM = 256
"""Features of each branch."""
JOINED_DIM = EMBEDDING_DIM + len(OFFSETS) * HIDDEN_DIM
CONTEXT_ROWS, TEXT_ROWS = (192, 96, 48, 24, 1), (48, 24, 16, 1)
"""Rows of one matrix product on a CPU, the preferred number first (`flat_dist.models.batch_invariance`)."""
TABLES = 17
"""Piece i is row i // 17 of table i % 17; each table has its own scale of quantisation."""


class SentenceEncoder:
    """Encodes texts as unit vectors, whose inner product is their similarity.

    Args:
        folder: holds sp.model (SentencePiece) and weights.npz, see `Assets.sentence_encoder`.
        device: where the arithmetic is done.
        batch_tokens: pieces encoded at once; a longer text is a batch of its own.
        cache_size: pieces remembered, 15 kB each.

    Raises:
        UserError: a file is missing or is not what it should be.
    """

    def __init__(
        self, folder: Path, device: torch.device | str = "cpu", batch_tokens: int = 4096, cache_size: int = 8192
    ) -> None:
        self.device = torch.device(device)
        self.batch_tokens = batch_tokens
        try:
            self._pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "sp.model"))
            self._weights = _load_weights(folder / "weights.npz", self.device)
        except (OSError, RuntimeError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise UserError(
                f"cannot read the sentence encoder in {folder} ({error}): delete it and run again"
            ) from error
        self._known = _Pieces(self._weights, cache_size)

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Encode each text by itself; on a CPU no encoding depends on what else is in the batch.

        Returns:
            (N, 512) float32 on the encoder's device, rows of length 1.
        """
        pieces = self._pieces.encode(list(texts), add_bos=True, add_eos=True, num_threads=1)
        self._known.prepare(pieces)
        encodings = [self._encode(batch) for batch in _batches(pieces, self.batch_tokens)]
        return torch.cat(encodings) if encodings else torch.empty(0, EMBEDDING_DIM, device=self.device)

    @torch.inference_mode()
    def _encode(self, pieces: list[list[int]]) -> Tensor:
        lengths_N = np.array([len(text) for text in pieces])
        slots_S, positions_P = _lay_out(pieces, lengths_N)
        row_S = self._known.rows(slots_S)
        features, rows = [self._known.embedded], [row_S[positions_P]]
        for branch, offsets in enumerate(OFFSETS):
            context_RK, layer_row_S = _contexts(row_S, positions_P, offsets)
            x_RD = self._first_layer(branch, context_RK)
            context_RK, layer_row_S = _contexts(layer_row_S, positions_P, offsets)
            features.append(self._second_layer(branch, x_RD, context_RK))
            rows.append(layer_row_S[positions_P] - 1)
        return self._pool(features, rows, lengths_N)

    def _first_layer(self, branch: int, context_RK: np.ndarray) -> Tensor:
        _, bias = self._weights.layers[branch][0]
        x_RD = self._known.inputs[branch].index_select(0, self._index(context_RK[:, CENTRES[branch]]))
        return self._convolve(x_RD, self._known.products[branch], bias, context_RK)

    def _second_layer(self, branch: int, x_RD: Tensor, context_RK: np.ndarray) -> Tensor:
        product, bias = self._weights.layers[branch][1]
        products = x_RD.new_empty(len(x_RD) + 1, product.weight.shape[1])
        products[0] = 0  # what lies outside a text
        product(x_RD, products[1:])
        centre_RD = x_RD.index_select(0, self._index(context_RK[:, CENTRES[branch]] - 1))
        return self._convolve(centre_RD, products, bias, context_RK)

    def _convolve(self, centre_RD: Tensor, products: Tensor, bias: Tensor, context_RK: np.ndarray) -> Tensor:
        order = context_RK.shape[1]
        context = self._index(context_RK * order + np.arange(order))
        sum_RD = F.embedding_bag(context, products.view(-1, len(bias)), mode="sum")
        return sum_RD.add_(bias).relu_().add_(centre_RD)

    def _pool(self, features: list[Tensor], rows: list[np.ndarray], lengths_N: np.ndarray) -> Tensor:
        """The sum over each text of its joined and normalised features, and what follows.

        A position's mean and deviation come from sums over the distinct rows of each feature, and scale the rows while
        they are added up, so that nothing is joined or normalised position by position.
        """
        row_FP = [self._index(row_P) for row_P in rows]
        sums_FR2 = [self._known.sums, *map(_sums, features[1:])]
        sums_P2 = torch.stack([sums_R2[row_P] for sums_R2, row_P in zip(sums_FR2, row_FP, strict=True)]).sum(0)
        mean_P, square_P = (sums_P2 / JOINED_DIM).unbind(1)
        scale_P = (square_P - mean_P.square() + self._weights.eps).rsqrt()
        starts_N = self._index(np.cumsum(lengths_N) - lengths_N)
        sum_ND = torch.cat(
            [
                F.embedding_bag(row_P, x_RD, starts_N, mode="sum", per_sample_weights=scale_P)
                for x_RD, row_P in zip(features, row_FP, strict=True)
            ],
            1,
        )
        shift_N1 = F.embedding_bag(
            torch.arange(len(mean_P), device=self.device), (mean_P * scale_P)[:, None], starts_N, mode="sum"
        )
        length_N1 = torch.from_numpy(lengths_N).to(self.device, torch.float32)[:, None]
        return self._weights.head(sum_ND - shift_N1, length_N1)

    def _index(self, index: np.ndarray) -> Tensor:
        return torch.from_numpy(index).to(self.device)


class _Pieces:
    """What the first layer needs of each piece, remembered until there are too many."""

    def __init__(self, weights: "_Weights", size: int):
        self.weights = weights
        self._row = np.zeros(len(weights.table), dtype=np.int64)
        self._allocate(size)

    def _allocate(self, size: int) -> None:
        # Row 0 is what lies outside a text. All is written to at once, so that a worker's memory does not creep up.
        def new(*shape: int) -> Tensor:
            return self.weights.low.new_empty(shape).fill_(0)

        self.embedded = new(size + 1, EMBEDDING_DIM)
        self.sums = new(size + 1, 2)
        self.inputs = [new(size + 1, HIDDEN_DIM) for _ in OFFSETS]
        self.products = [new(size + 1, len(offsets) * HIDDEN_DIM) for offsets in OFFSETS]
        self._forget()

    def _forget(self) -> None:
        self._row[:] = 0
        self._count = 0

    @property
    def _room(self) -> int:
        return len(self.embedded) - 1 - self._count

    @torch.inference_mode()
    def prepare(self, texts: Sequence[Sequence[int]]) -> None:
        """Learn what is new of some texts at once, if there is room for it."""
        new = {piece for text in texts for piece in text}
        missing = np.array([piece for piece in new if not self._row[piece]], dtype=np.int64)
        if 0 < len(missing) <= self._room:
            self._learn(missing)

    def rows(self, slots_S: np.ndarray) -> np.ndarray:
        """Row of the piece in each slot; 0 in gaps, which hold -1."""
        row_S = np.where(slots_S < 0, 0, self._row[slots_S])
        missing_S = (row_S == 0) & (slots_S >= 0)
        if not missing_S.any():
            return row_S
        new = np.unique(slots_S[missing_S])
        if len(new) > self._room:
            new = np.unique(slots_S[slots_S >= 0])
            self._forget()
            if len(new) > self._room:
                self._allocate(len(new))
        self._learn(new)
        return np.where(slots_S < 0, 0, self._row[slots_S])

    def _learn(self, pieces: np.ndarray) -> None:
        start, end = self._count + 1, self._count + len(pieces) + 1
        embedded_RD = self.embedded[start:end]
        embedded_RD[:] = self.weights.embed(torch.from_numpy(pieces).to(embedded_RD.device))
        self.sums[start:end] = _sums(embedded_RD)
        for branch, x_RD in enumerate(self.weights.branch_inputs(embedded_RD)):
            product, _ = self.weights.layers[branch][0]
            self.inputs[branch][start:end] = x_RD
            product(self.inputs[branch][start:end], self.products[branch][start:end])
        self._row[pieces] = np.arange(start, end)
        self._count = end - 1


@dataclass(frozen=True)
class _Weights:
    table: Tensor  # (pieces, 512) uint8
    scale: Tensor
    low: Tensor
    projection: InvariantLinear  # (512, 3 * 256): the branches beside one another, and normalised together
    projection_norm: tuple[Tensor, Tensor]
    layers: list[list[tuple[InvariantLinear, Tensor]]]  # of each branch, two of (256, K * 256) and bias (256)
    pooled: InvariantLinear  # (1280, 320 + 320): gain of the norm, output, and what the first dense block does with it
    pooled_bias: Tensor  # (640)
    dense: list[InvariantLinear]  # (320, 320), (320, 512), (512, 512)
    skip: InvariantLinear  # (320, 512)
    eps: float

    def embed(self, pieces_R: Tensor) -> Tensor:
        table_R1 = (pieces_R % TABLES)[:, None]
        return self.table[pieces_R].float() * self.scale[table_R1] + self.low[table_R1]

    def branch_inputs(self, embedded_RD: Tensor) -> tuple[Tensor, ...]:
        x_RD = self.projection(embedded_RD)
        return F.layer_norm(x_RD, x_RD.shape[1:], *self.projection_norm, self.eps).chunk(len(OFFSETS), dim=1)

    def head(self, sum_ND: Tensor, length_N1: Tensor) -> Tensor:
        # Output and first block are linear up to here, so that their product serves.
        second, third, fourth = self.dense
        joined_ND = (self.pooled(sum_ND) + length_N1 * self.pooled_bias) * length_N1.rsqrt()
        first_ND, skipped_ND = joined_ND.chunk(2, 1)
        x_ND = (second(first_ND.relu()) + skipped_ND).relu()
        x_ND = (fourth(third(x_ND).relu()) + self.skip(x_ND)).tanh()
        return x_ND * x_ND.square().sum(1, keepdim=True).clamp(min=self.eps).rsqrt()


def _load_weights(path: Path, device: torch.device) -> _Weights:
    with np.load(path, allow_pickle=False) as arrays:
        tables = np.stack([arrays[f"q{table}"] for table in range(1, TABLES + 1)], axis=1)
        tensor = {name: torch.from_numpy(arrays[name]).to(device) for name in arrays.files if not name.startswith("q")}
    orders = [len(offsets) for offsets in OFFSETS]
    layers = [[(_of_contexts(_beside(tensor[f"w{i}_{n}"], n)), tensor[f"b{i}_{n}"]) for i in (1, 2)] for n in orders]
    joined = {
        name: torch.cat([tensor[f"{name}{n}"] for n in orders], dim=-1) for name in ("proj", "proj_b", "ln_g", "ln_b")
    }
    gain_D, bias_D, output, output_bias_D = (tensor[name].double() for name in ("ln_g", "ln_b", "cnn_W", "cnn_b"))
    block = torch.cat([tensor["d0"], tensor["p1"]], dim=1).double()
    return _Weights(
        table=torch.from_numpy(tables.reshape(-1, EMBEDDING_DIM)).to(device),
        scale=tensor["scale"],
        low=tensor["lo"],
        projection=_of_contexts(joined["proj"], joined["proj_b"]),
        projection_norm=(joined["ln_g"], joined["ln_b"]),
        layers=layers,
        pooled=_of_texts((gain_D[:, None] * output @ block).float()),
        pooled_bias=((bias_D @ output + output_bias_D) @ block).float(),
        dense=[_of_texts(tensor[f"d{layer}"]) for layer in (1, 2, 3)],
        skip=_of_texts(tensor["p3"]),
        eps=float(tensor["eps"]),
    )


def _of_contexts(weight: Tensor, bias: Tensor | None = None) -> InvariantLinear:
    return InvariantLinear(weight, bias, CONTEXT_ROWS)


def _of_texts(weight: Tensor) -> InvariantLinear:
    return InvariantLinear(weight, None, TEXT_ROWS)


def _beside(weight: Tensor, order: int) -> Tensor:
    # (K * D, D), offsets above one another, to (D, K * D), offsets beside one another.
    return torch.cat(weight.chunk(order), dim=1).contiguous()


def _batches(pieces: list[list[int]], limit: int) -> Iterator[list[list[int]]]:
    batch: list[list[int]] = []
    size = 0
    for text in pieces:
        if batch and size + len(text) > limit:
            yield batch
            batch, size = [], 0
        batch.append(text)
        size += len(text)
    if batch:
        yield batch


def _lay_out(pieces: list[list[int]], lengths_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # All texts in one row of slots with gaps around them (-1), and the slot of each piece.
    count = int(lengths_N.sum())
    positions_P = np.arange(count) + np.repeat(GAP * np.arange(1, len(pieces) + 1), lengths_N)
    slots_S = np.full(count + GAP * (len(pieces) + 1), -1)
    slots_S[positions_P] = np.fromiter(itertools.chain.from_iterable(pieces), dtype=np.int64, count=count)
    return slots_S, positions_P


def _contexts(row_S: np.ndarray, positions_P: np.ndarray, offsets: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    # The distinct n-grams (R, K) of rows, and for each slot the row (from 1; 0 in gaps) of the n-gram around it.
    rows, inner = int(row_S.max()) + 1, slice(GAP, len(row_S) - GAP)
    key_S = np.zeros(len(row_S), dtype=np.int64)
    for offset in offsets:
        if key_S.max() > MOST // rows:
            key_S = _distinct(key_S)[1]
        key_S[inner] = key_S[inner] * rows + row_S[GAP + offset : len(row_S) - GAP + offset]
    first_R, gram_P = _distinct(key_S[positions_P])
    context_row_S = np.zeros_like(row_S)
    context_row_S[positions_P] = gram_P + 1
    return row_S[positions_P[first_R][:, None] + np.array(offsets)], context_row_S


def _distinct(value_P: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # Where each distinct value comes first (R), and which of them each position has (P).
    which_P, distinct_R = pd.factorize(value_P)
    first_R = np.empty(len(distinct_R), dtype=np.int64)
    first_R[which_P[::-1]] = np.arange(len(value_P))[::-1]
    return first_R, which_P


def _sums(x_RD: Tensor) -> Tensor:
    # Of each row, the sum of its components and of their squares (R, 2).
    return torch.stack([x_RD.sum(1), x_RD.square().sum(1)], 1)
