"""What all classifiers share: word vectors, an optional mask, then a network.

Shapes: B texts, T pieces (words, or word pieces), D size of a word vector, H features, C classes, S variants of a text,
M pieces of a variant; `...` means any leading shape.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from flat_dist.models.group_masks import GroupMasks
from flat_dist.models.mask import WordMask


class Prediction(NamedTuple):
    """Logits (B, C), and the log-odds of the words' importance (B, T); None without a mask."""

    logits_BC: Tensor
    log_odds_BT: Tensor | None


class TextClassifier(nn.Module, ABC):
    """Classifier of texts given as ids; `real_BT` is true at pieces and false at padding, which comes last."""

    embedding: nn.Embedding
    output: nn.Linear
    mask: WordMask | None
    end_id: int | None = None
    """The piece by which the model finds the end of a text; None: it needs none."""

    def __init__(self, dropout: float):
        super().__init__()
        self.mask = None
        self.dropout = nn.Dropout(dropout)

    @property
    def embeddings(self) -> nn.Module:
        """The layer that `freeze_embeddings` freezes."""
        return self.embedding

    def recompute_activations(self) -> None:
        """Recompute activations in the backward pass to save memory; does nothing in small models."""

    def words(self, ids_BT: Tensor, real_BT: Tensor) -> Tensor:
        """True at pieces of words (B, T), to which masks, entropy and attributions apply."""
        return real_BT

    def embed(self, ids: Tensor) -> Tensor:
        """Word vectors (..., D) of pieces (...), before the mask."""
        return self.embedding(ids)

    def importance(self, ids: Tensor, positions: Tensor) -> Tensor:
        """Global importance phi of pieces (...) at their positions in the text; without dropout.

        Raises:
            ValueError: the model has no mask.
        """
        return self._mask().importance(self.mask_input(self.embed(ids), positions))

    def padding_log_odds(self) -> Tensor:
        """Log-odds of the padding's importance, a scalar.

        Raises:
            ValueError: the model has no mask.
        """
        padding_11D = self.embedding.weight[self.embedding.padding_idx or 0].view(1, 1, -1)
        return self._mask().log_odds(self.mask_input(padding_11D)).view(())

    def _mask(self) -> WordMask:
        if self.mask is None:
            raise ValueError("this model has no word mask, so its words have no global importance")
        return self.mask

    def mask_input(self, embedded: Tensor, positions: Tensor | None = None) -> Tensor:
        """Input of the mask for word vectors (..., D): the vectors themselves."""
        return embedded

    @abstractmethod
    def predict_embedded(self, embedded_BTD: Tensor, real_BT: Tensor) -> Prediction:
        """Prediction from word vectors; the mask is applied here."""

    def classify(self, embedded_BTD: Tensor, real_BT: Tensor) -> Tensor:
        """Logits (B, C) from word vectors."""
        return self.predict_embedded(embedded_BTD, real_BT).logits_BC

    def classify_scaled(self, embedded_BTD: Tensor, real_BT: Tensor, factors_SBT: Tensor) -> Tensor:
        """Logits (S, B, C) of variants of texts: each word vector times its own factor."""
        scaled = factors_SBT.unsqueeze(-1) * embedded_BTD
        logits = self.classify(scaled.flatten(0, 1), real_BT.repeat(len(factors_SBT), 1))
        return logits.unflatten(0, factors_SBT.shape[:2])

    def classify_parts(self, embedded_TD: Tensor, parts: Sequence[Tensor]) -> Tensor:
        """Logits (S, C) of variants of one text: the pieces at some positions, in that order.

        Args:
            embedded_TD: word vectors of the text.
            parts: positions (S', M), M at least 1, of the variants of M pieces; S is the sum over them.
        """
        return torch.cat([self.classify(embedded_TD[part], torch.ones_like(part, dtype=torch.bool)) for part in parts])

    def forward(self, ids_BT: Tensor, real_BT: Tensor) -> Prediction:
        """Prediction from ids."""
        return self.predict_embedded(self.embed(ids_BT), real_BT)


class WordClassifier(TextClassifier):
    """Classifier of whole words; word 0 is padding, with a zero vector."""

    groups: GroupMasks | None

    def __init__(self, vocabulary_size: int, embedding_dim: int, features: int, classes: int, dropout: float):
        super().__init__(dropout)
        self.groups = None
        self.embedding = nn.Embedding(vocabulary_size, embedding_dim, padding_idx=0)
        self.output = nn.Linear(features, classes)

    def embed(self, ids: Tensor) -> Tensor:
        """Word vectors (..., D) of words (...), times the masks of their groups, before the word mask."""
        embedded = self.embedding(ids)
        return embedded if self.groups is None else self.groups(ids).unsqueeze(-1) * embedded

    @abstractmethod
    def features(self, selected_BTD: Tensor, real_BT: Tensor) -> Tensor:
        """Features (B, H) of the selected words; they do not depend on the length of padding."""

    def predict_embedded(self, embedded_BTD: Tensor, real_BT: Tensor) -> Prediction:
        """Prediction from word vectors; the mask is applied here."""
        log_odds_BT = None
        if self.mask is not None:
            mask_BT, log_odds_BT = self.mask(embedded_BTD)
            embedded_BTD = mask_BT.unsqueeze(-1) * embedded_BTD
        return Prediction(self.output(self.dropout(self.features(embedded_BTD, real_BT))), log_odds_BT)
