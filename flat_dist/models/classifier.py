"""What the word-level classifiers share: word vectors, then the mask if there is one, then a network of their own.

Shapes: B texts, T words, D size of a word vector, H features, C classes.
"""

from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import Tensor, nn

from flat_dist.models.mask import WordMask


class Prediction(NamedTuple):
    """Logits (B, C), and the log-odds of the words' importance (B, T), which are None without a mask."""

    logits_BC: Tensor
    log_odds_BT: Tensor | None


class TextClassifier(nn.Module, ABC):
    """Classifier of word indices; index 0 is padding, whose vector is zero."""

    mask: WordMask | None

    def __init__(self, vocabulary_size: int, embedding_dim: int, features: int, classes: int, dropout: float):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, embedding_dim, padding_idx=0)
        self.mask = None
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(features, classes)

    @abstractmethod
    def features(self, selected_BTD: Tensor, real_BT: Tensor) -> Tensor:
        """Features (B, H) of the selected words; they do not depend on how far a text is padded."""

    def embed(self, ids_BT: Tensor) -> Tensor:
        """Word vectors (B, T, D), before the mask."""
        return self.embedding(ids_BT)

    def word_importance(self, ids: Tensor) -> Tensor:
        """Global importance phi of words, same shape as `ids`.

        Raises:
            ValueError: the model has no mask.
        """
        if self.mask is None:
            raise ValueError("this model has no word mask, so its words have no global importance")
        return self.mask.importance(self.embed(ids))

    def predict_embedded(self, embedded_BTD: Tensor, real_BT: Tensor) -> Prediction:
        """Prediction from word vectors, masked here; `real_BT` is true at words and false at padding."""
        log_odds_BT = None
        if self.mask is not None:
            embedded_BTD, log_odds_BT = self.mask(embedded_BTD)
        return Prediction(self.output(self.dropout(self.features(embedded_BTD, real_BT))), log_odds_BT)

    def classify(self, embedded_BTD: Tensor, real_BT: Tensor) -> Tensor:
        """Logits (B, C) from word vectors."""
        return self.predict_embedded(embedded_BTD, real_BT).logits_BC

    def forward(self, ids_BT: Tensor, real_BT: Tensor) -> Prediction:
        """Prediction from word indices."""
        return self.predict_embedded(self.embed(ids_BT), real_BT)
