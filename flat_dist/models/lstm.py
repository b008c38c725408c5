"""LSTM classifier (Hochreiter & Schmidhuber 1997), as in the paper: one unidirectional layer.

Shapes: B texts, T words, H hidden units.
"""

from torch import Tensor, nn

from flat_dist.config import ModelConfig
from flat_dist.models.classifier import WordClassifier


class LSTM(WordClassifier):
    """One layer, max-pooled over the real words, then tanh (released code)."""

    def __init__(self, config: ModelConfig, vocabulary_size: int, classes: int):
        super().__init__(vocabulary_size, config.embedding_dim, config.hidden_size, classes, config.dropout)
        self.lstm = nn.LSTM(config.embedding_dim, config.hidden_size, batch_first=True)

    def features(self, selected_BTD: Tensor, real_BT: Tensor) -> Tensor:
        """Largest state of each hidden unit over the real words (B, H)."""
        states_BTH, _ = self.lstm(selected_BTD)
        # Padding comes last, so the states of real words have not seen it; they only must not be pooled with it.
        return states_BTH.masked_fill(~real_BT.unsqueeze(-1), float("-inf")).amax(1).tanh()
