"""LSTM classifier (Hochreiter & Schmidhuber 1997), as in the paper: one unidirectional layer.

Shapes: B texts, T words, H hidden units.
"""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from flat_dist.config.schema import ModelConfig
from flat_dist.models.classifier import WordClassifier


class LSTM(WordClassifier):
    """One layer, max-pooled over the real words, then tanh (released code)."""

    def __init__(self, config: ModelConfig, vocabulary_size: int, classes: int):
        super().__init__(vocabulary_size, config.embedding_dim, config.hidden_size, classes, config.dropout)
        self.lstm = nn.LSTM(config.embedding_dim, config.hidden_size, batch_first=True)

    def features(self, selected_BTD: Tensor, real_BT: Tensor) -> Tensor:
        """Largest state of each hidden unit over the real words (B, H)."""
        with self._precision(selected_BTD.device):
            states_BTH, _ = self.lstm(selected_BTD)
        # Padding comes last, so it does not change the states of real words; only pooling must leave it out.
        return states_BTH.masked_fill(~real_BT.unsqueeze(-1), float("-inf")).amax(1).tanh()

    def _precision(self, device: torch.device) -> AbstractContextManager[None]:
        """Float32 on processors without AVX-512, which have no LSTM in bfloat16."""
        lacking = device.type == "cpu" and not torch.ops.mkldnn._is_mkldnn_bf16_supported()
        return torch.autocast("cpu", enabled=False) if lacking else nullcontext()
