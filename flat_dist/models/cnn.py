"""Convolutional classifier (Kim 2014).

Shapes: B texts, T words, D size of a word vector, K kernels, N windows.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flat_dist.config import ModelConfig
from flat_dist.models.classifier import WordClassifier


class CNN(WordClassifier):
    """Convolutions of several widths, ReLU, and max-pooling over the windows that lie inside the text.

    A text shorter than a kernel is one window, filled up with zeros.
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

    @staticmethod
    def _pool(convolution: nn.Conv1d, words_BDT: Tensor, lengths_B: Tensor) -> Tensor:
        (width,) = convolution.kernel_size
        activations_BKN = convolution(F.pad(words_BDT, (0, max(width - words_BDT.shape[2], 0)))).relu()
        windows_B1 = (lengths_B - width + 1).clamp(min=1).unsqueeze(1)
        outside_BN = torch.arange(activations_BKN.shape[2], device=words_BDT.device) >= windows_B1
        # ReLU leaves nothing below zero, so a zero never wins over a real window.
        return activations_BKN.masked_fill(outside_BN.unsqueeze(1), 0.0).amax(2)
