"""Convolutional classifier (Kim 2014).

Shapes: B texts, T words, D size of a word vector, K kernels, N windows, W width of a kernel, S variants of a text, M
words of a variant, C classes.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flat_dist.config.schema import ModelConfig
from flat_dist.models.classifier import WordClassifier


class CNN(WordClassifier):
    """Convolutions of several widths, ReLU, and max-pooling over the windows inside the text.

    A text shorter than a kernel is one window, padded with zeros.

    For many variants of one text, a convolution sums per-position products, which are computed once per word.
    """

    def __init__(self, config: ModelConfig, vocabulary_size: int, classes: int):
        features = config.kernels * len(config.kernel_widths)
        super().__init__(vocabulary_size, config.embedding_dim, features, classes, config.dropout)
        self.convolutions: Sequence[nn.Conv1d] = nn.ModuleList(  # type: ignore[assignment]
            nn.Conv1d(config.embedding_dim, config.kernels, width) for width in config.kernel_widths
        )

    def features(self, selected_BTD: Tensor, real_BT: Tensor) -> Tensor:
        """Largest activation of each kernel (B, K x widths)."""
        words_BDT = (selected_BTD * real_BT.unsqueeze(-1)).transpose(1, 2)
        lengths_B = real_BT.sum(1)
        return torch.cat([self._pool(convolution, words_BDT, lengths_B) for convolution in self.convolutions], 1)

    def classify_scaled(self, embedded_BTD: Tensor, real_BT: Tensor, factors_SBT: Tensor) -> Tensor:
        """Logits (S, B, C) of variants of texts: each word vector times its own factor."""
        if self.mask is not None:
            masks, _ = self.mask((factors_SBT.unsqueeze(-1) * embedded_BTD).flatten(0, 1))
            factors_SBT = factors_SBT * masks.unflatten(0, factors_SBT.shape[:2])
        words_BTD, lengths_B = embedded_BTD * real_BT.unsqueeze(-1), real_BT.sum(1)
        features = [self._pool_scaled(kernels, words_BTD, lengths_B, factors_SBT) for kernels in self.convolutions]
        return self.output(self.dropout(torch.cat(features, 2))).transpose(0, 1)

    @staticmethod
    def _pool_scaled(convolution: nn.Conv1d, words_BTD: Tensor, lengths_B: Tensor, factors_SBT: Tensor) -> Tensor:
        """Largest activation of each kernel in each variant (B, S, K)."""
        (width,) = convolution.kernel_size
        padding = max(width - words_BTD.shape[1], 0)
        products_BTWK = per_position_products(convolution, F.pad(words_BTD, (0, 0, 0, padding)))
        # In window n, word n + w meets position w of the kernel: a diagonal of windows by positions.
        windows_BNWK = products_BTWK.unfold(1, width, 1).diagonal(0, 2, 4).transpose(2, 3)
        factors_BNSW = F.pad(factors_SBT, (0, padding)).unfold(2, width, 1).permute(1, 2, 0, 3)
        sums_BNSK = factors_BNSW @ windows_BNWK
        padding_BN = padding_windows(width, lengths_B, sums_BNSK.shape[1])
        if padding_BN.any():
            sums_BNSK = sums_BNSK.masked_fill(padding_BN[:, :, None, None], -torch.inf)
        return _activate(convolution, MaxPool.apply(sums_BNSK))

    def classify_parts(self, embedded_TD: Tensor, parts: Sequence[Tensor]) -> Tensor:
        """Logits (S, C) of variants of one text: the words at some positions, in that order."""
        if self.mask is not None:
            masks_T, _ = self.mask(embedded_TD)
            embedded_TD = masks_T.unsqueeze(-1) * embedded_TD
        # One more word, of zeros, pads variants that are shorter than a kernel.
        words_TD = F.pad(embedded_TD, (0, 0, 0, 1))
        features = [self._pool_parts(kernels, words_TD, parts) for kernels in self.convolutions]
        return self.output(self.dropout(torch.cat(features, 1)))

    @staticmethod
    def _pool_parts(convolution: nn.Conv1d, words_TD: Tensor, parts: Sequence[Tensor]) -> Tensor:
        """Largest activation of each kernel in each variant (S, K)."""
        (width,) = convolution.kernel_size
        products = per_position_products(convolution, words_TD).flatten(0, 1)
        positions_W = torch.arange(width, device=words_TD.device)
        largest = []
        for positions_SM in parts:
            filled_SM = F.pad(positions_SM, (0, max(width - positions_SM.shape[1], 0)), value=len(words_TD) - 1)
            rows_SNW = filled_SM.unfold(1, width, 1) * width + positions_W
            sums = F.embedding_bag(rows_SNW.flatten(0, 1), products, mode="sum")
            largest.append(sums.unflatten(0, rows_SNW.shape[:2]).amax(1))
        return _activate(convolution, torch.cat(largest))

    @staticmethod
    def _pool(convolution: nn.Conv1d, words_BDT: Tensor, lengths_B: Tensor) -> Tensor:
        (width,) = convolution.kernel_size
        activations_BKN = convolution(F.pad(words_BDT, (0, max(width - words_BDT.shape[2], 0)))).relu()
        padding_BN = padding_windows(width, lengths_B, activations_BKN.shape[2])
        # After ReLU no activation is below zero, so a zero never replaces a larger one.
        return activations_BKN.masked_fill(padding_BN.unsqueeze(1), 0.0).amax(2)


class MaxPool(torch.autograd.Function):
    """The largest sum over the windows (B, S, K): `amax`, with a gradient that is four times as fast.

    As in `amax`, equally large windows share the gradient.
    """

    @staticmethod
    def forward(ctx: Any, sums_BNSK: Tensor) -> Tensor:
        """The largest sums."""
        largest_BSK = sums_BNSK.amax(1)
        ctx.save_for_backward(sums_BNSK, largest_BSK)
        return largest_BSK

    @staticmethod
    def backward(ctx: Any, gradient_BSK: Tensor) -> Tensor:
        """The gradient of all sums (B, N, S, K)."""
        sums_BNSK, largest_BSK = ctx.saved_tensors
        is_largest_BNSK = torch.empty_like(sums_BNSK)
        torch.eq(sums_BNSK, largest_BSK.unsqueeze(1), out=is_largest_BNSK)
        return is_largest_BNSK.mul_((gradient_BSK / is_largest_BNSK.sum(1)).unsqueeze(1))


def padding_windows(width: int, lengths_B: Tensor, windows: int) -> Tensor:
    """True at windows that reach into padding (B, N); false at the first window of every text."""
    windows_B1 = (lengths_B - width + 1).clamp(min=1).unsqueeze(1)
    return torch.arange(windows, device=lengths_B.device) >= windows_B1


def _activate(convolution: nn.Conv1d, sums: Tensor) -> Tensor:
    """Activations (..., K) of the largest sums (..., K): bias and ReLU do not change which is largest."""
    return (sums if convolution.bias is None else sums + convolution.bias).relu()


def per_position_products(convolution: nn.Conv1d, words: Tensor) -> Tensor:
    """Products (..., W, K) of words (..., D) with each position of the kernels."""
    return torch.einsum("...d,kdw->...wk", words, convolution.weight).contiguous()
