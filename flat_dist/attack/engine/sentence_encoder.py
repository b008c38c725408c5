"""Google's Universal Sentence Encoder, multilingual v3 (Yang et al. 2019; Chidambaram et al. 2018), in PyTorch.

Architecture: piece embeddings (512) are projected and normalised to the input (256) of each of three branches, which
apply two residual convolutions over n-grams (n = 2, 3, 5). Embedding and branches are joined (1280), normalised, summed
over the text, projected, divided by the root of the text's length, and pass two residual dense blocks, tanh and L2.

Why not `conv1d`: the windows around a replaced word are nearly equal. A layer's output at a position depends on a few
pieces around it, so each distinct n-gram of a batch is computed once and looked up wherever it occurs. A convolution is
a sum over offsets, `sum_k x[t + k] @ weight[k]`: the products are computed once for each distinct row, and an embedding
bag sums those of an n-gram. The rows of the first layer are pieces, whose products are cached between calls.

Shape letters: N texts, P positions (pieces of all texts), S slots (positions, and gaps around texts), R distinct rows
of a layer (row 0 is zero: outside a text), K offsets of an n-gram, D features.
"""

import itertools
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import sentencepiece
import torch
from torch import Tensor
from torch.nn import functional as F

from flat_dist.attack.engine.encoder_weights import EMBEDDING_DIM, HIDDEN_DIM, OFFSETS, load_weights
from flat_dist.attack.engine.piece_cache import PieceCache, sums
from flat_dist.config.errors import UserError

GAP = 2
"""Empty slots before, between and after texts: as far as an n-gram reaches."""
MAX_KEY = 2**62
"""Keys of n-grams stay below this."""
CENTRES = tuple(offsets.index(0) for offsets in OFFSETS)
"""Index of the current position among each branch's offsets."""
JOINED_DIM = EMBEDDING_DIM + len(OFFSETS) * HIDDEN_DIM


class SentenceEncoder:
    """Encodes texts as unit vectors; the inner product of two is their similarity.

    Args:
        folder: holds sp.model (SentencePiece) and weights.npz; see `Assets.sentence_encoder`.
        device: where to compute.
        batch_tokens: pieces encoded at once; a longer text is a batch of its own.
        cache_size: pieces kept, 15 kB each.

    Raises:
        UserError: a file is missing or damaged.
    """

    def __init__(
        self, folder: Path, device: torch.device | str = "cpu", batch_tokens: int = 4096, cache_size: int = 8192
    ) -> None:
        self.device = torch.device(device)
        self.batch_tokens = batch_tokens
        try:
            self._tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(folder / "sp.model"))
            self._weights = load_weights(folder / "weights.npz", self.device)
        except (OSError, RuntimeError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise UserError(
                f"cannot read the sentence encoder in {folder} ({error}): delete it and run again"
            ) from error
        self._cache = PieceCache(self._weights, cache_size)

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Encode texts; on a CPU no encoding depends on the other texts of its batch.

        Returns:
            (N, 512) float32 on the encoder's device, rows of length 1.
        """
        pieces = self._tokenizer.encode(list(texts), add_bos=True, add_eos=True, num_threads=1)
        self._cache.prepare(pieces)
        encodings = [self._encode(batch) for batch in _batches(pieces, self.batch_tokens)]
        return torch.cat(encodings) if encodings else torch.empty(0, EMBEDDING_DIM, device=self.device)

    @torch.inference_mode()
    def _encode(self, pieces: list[list[int]]) -> Tensor:
        lengths_N = np.array([len(text) for text in pieces])
        slots_S, positions_P = _to_slots(pieces, lengths_N)
        row_S = self._cache.rows(slots_S)
        features, rows = [self._cache.embedded], [row_S[positions_P]]
        for branch, offsets in enumerate(OFFSETS):
            context_RK, layer_row_S = _contexts(row_S, positions_P, offsets)
            x_RD = self._first_layer(branch, context_RK)
            context_RK, layer_row_S = _contexts(layer_row_S, positions_P, offsets)
            features.append(self._second_layer(branch, x_RD, context_RK))
            rows.append(layer_row_S[positions_P] - 1)
        return self._pool(features, rows, lengths_N)

    def _first_layer(self, branch: int, context_RK: np.ndarray) -> Tensor:
        _, bias = self._weights.layers[branch][0]
        x_RD = self._cache.inputs[branch].index_select(0, self._index(context_RK[:, CENTRES[branch]]))
        return self._convolve(x_RD, self._cache.products[branch], bias, context_RK)

    def _second_layer(self, branch: int, x_RD: Tensor, context_RK: np.ndarray) -> Tensor:
        linear, bias = self._weights.layers[branch][1]
        products = x_RD.new_empty(len(x_RD) + 1, linear.weight.shape[1])
        products[0] = 0  # outside a text
        linear(x_RD, products[1:])
        centre_RD = x_RD.index_select(0, self._index(context_RK[:, CENTRES[branch]] - 1))
        return self._convolve(centre_RD, products, bias, context_RK)

    def _convolve(self, centre_RD: Tensor, products: Tensor, bias: Tensor, context_RK: np.ndarray) -> Tensor:
        order = context_RK.shape[1]
        context = self._index(context_RK * order + np.arange(order))
        sum_RD = F.embedding_bag(context, products.view(-1, len(bias)), mode="sum")
        return sum_RD.add_(bias).relu_().add_(centre_RD)

    def _pool(self, features: list[Tensor], rows: list[np.ndarray], lengths_N: np.ndarray) -> Tensor:
        """Encodings of texts: sums over each text of its joined and normalised features, and the layers after it.

        Mean and deviation of a position come from the sums of its distinct rows, and scale the rows while they are
        summed. So no position is joined or normalised by itself.
        """
        row_FP = [self._index(row_P) for row_P in rows]
        sums_FR2 = [self._cache.sums, *map(sums, features[1:])]
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


def _batches(pieces: list[list[int]], limit: int) -> Iterator[list[list[int]]]:
    """Texts in batches of at most `limit` pieces; a longer text is a batch of its own."""
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


def _to_slots(pieces: list[list[int]], lengths_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All texts in one sequence of slots with gaps (-1) around them, and the slot of each piece."""
    count = int(lengths_N.sum())
    positions_P = np.arange(count) + np.repeat(GAP * np.arange(1, len(pieces) + 1), lengths_N)
    slots_S = np.full(count + GAP * (len(pieces) + 1), -1)
    slots_S[positions_P] = np.fromiter(itertools.chain.from_iterable(pieces), dtype=np.int64, count=count)
    return slots_S, positions_P


def _contexts(row_S: np.ndarray, positions_P: np.ndarray, offsets: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The distinct n-grams (R, K), and for each slot the number of its n-gram (from 1; 0 in gaps)."""
    rows, inner = int(row_S.max()) + 1, slice(GAP, len(row_S) - GAP)
    key_S = np.zeros(len(row_S), dtype=np.int64)
    for offset in offsets:
        if key_S.max() > MAX_KEY // rows:
            key_S = _distinct(key_S)[1]
        key_S[inner] = key_S[inner] * rows + row_S[GAP + offset : len(row_S) - GAP + offset]
    first_R, gram_P = _distinct(key_S[positions_P])
    context_row_S = np.zeros_like(row_S)
    context_row_S[positions_P] = gram_P + 1
    return row_S[positions_P[first_R][:, None] + np.array(offsets)], context_row_S


def _distinct(value_P: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First position of each distinct value (R), and the number of each position's value (P)."""
    number_P, distinct_R = pd.factorize(value_P)
    first_R = np.empty(len(distinct_R), dtype=np.int64)
    first_R[number_P[::-1]] = np.arange(len(value_P))[::-1]
    return first_R, number_P
