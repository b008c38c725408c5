"""Any Hugging Face encoder as a classifier (paper: BERT, Devlin et al. 2019; DeBERTa, He et al. 2021).

The encoder is used as it is, through its public interface: the mask multiplies the word embeddings, and the encoder
takes them as `inputs_embeds` and adds positions and segments itself.

Shapes: B texts, T word pieces, D size of a word embedding, H size of a hidden state, C classes; `...` stands for any
leading shape.
"""

import inspect
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flat_dist.config.errors import UserError
from flat_dist.config.schema import ModelConfig
from flat_dist.models.classifier import Prediction, TextClassifier

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Transformer(TextClassifier):
    """A linear layer on an encoder's first state or on the mean of its states.

    Args:
        config: its options.
        backbone: the encoder.
        around: how many special pieces stand before and after a text.
        classes: how many classes there are.

    Raises:
        UserError: the encoder cannot be masked as the options ask.
    """

    def __init__(self, config: ModelConfig, backbone: "PreTrainedModel", around: tuple[int, int], classes: int):
        super().__init__(config.dropout)
        self.backbone = backbone
        self.output = nn.Linear(backbone.config.hidden_size, classes)
        self.around, self.options = around, config
        if config.pooling == "mean" and getattr(backbone, "pooler", None) is not None:
            backbone.pooler = None  # an unused layer would keep several workers waiting for its gradients
        if config.contextual and not self._takes("position_ids"):
            raise UserError(
                f"--model.contextual needs an encoder whose layer `embeddings` takes inputs_embeds and position_ids, "
                f"which {type(backbone).__name__} has not: leave it off"
            )

    @property
    def embedding(self) -> nn.Embedding:  # type: ignore[override]
        """The word embedding, which is the encoder's own."""
        return self.backbone.get_input_embeddings()

    @property
    def embeddings(self) -> nn.Module:
        """The embedding layer: words, positions, segments and their normalisation."""
        return getattr(self.backbone, "embeddings", self.embedding)

    @property
    def longest(self) -> float:
        """Pieces that a text may have: as many as there are positions."""
        positions = getattr(self.embeddings, "position_embeddings", None)
        return positions.num_embeddings - self._first_position if isinstance(positions, nn.Embedding) else math.inf

    @property
    def _first_position(self) -> int:
        """RoBERTa counts positions on from its padding's number."""
        if hasattr(self.embeddings, "create_position_ids_from_inputs_embeds"):
            return int(self.embeddings.padding_idx) + 1  # type: ignore[arg-type]
        return 0

    def recompute_activations(self) -> None:
        """Keep the input of each layer only, and compute the rest again in the backward pass."""
        self.backbone.gradient_checkpointing_enable({"use_reentrant": False})

    def words(self, real_BT: Tensor) -> Tensor:
        """True at pieces of words (B, T); special pieces are none, unless they may be masked."""
        if self.options.mask_special:
            return real_BT
        before, after = self.around
        words_BT = F.pad(real_BT[:, after:], (0, after))
        words_BT[:, :before] = False
        return words_BT

    def mask_input(self, embedded: Tensor, positions: Tensor | None = None) -> Tensor:
        """What the mask sees of word embeddings (..., D): themselves alone, or what the embedding layer makes of them.

        The embedding layer's dropout is off: importance is never drawn.
        """
        if not self.options.contextual:
            return embedded
        if positions is None:
            positions = torch.arange(embedded.shape[-2], device=embedded.device).expand(embedded.shape[:-1])
        with _without_dropout(self.embeddings):
            return self.embeddings(inputs_embeds=embedded, position_ids=positions + self._first_position)

    def predict_embedded(self, embedded_BTD: Tensor, real_BT: Tensor) -> Prediction:
        """Prediction from word embeddings, masked here."""
        if self.mask is None:
            return Prediction(self._logits(embedded_BTD, real_BT), None)
        mask_BT, log_odds_BT = self.mask(self.mask_input(embedded_BTD))
        mask_BT = torch.where(self.words(real_BT), mask_BT, 1.0)
        attended_BT = real_BT
        if self.options.mask_attention and self.training:
            attended_BT = real_BT & (mask_BT > 0.5)
        if not self.options.contextual:
            return Prediction(self._logits(mask_BT.unsqueeze(-1) * embedded_BTD, real_BT, attended_BT), log_odds_BT)
        with _multiplied(self.embeddings, mask_BT.unsqueeze(-1)):
            return Prediction(self._logits(embedded_BTD, real_BT, attended_BT), log_odds_BT)

    def _logits(self, embedded_BTD: Tensor, real_BT: Tensor, attended_BT: Tensor | None = None) -> Tensor:
        attended_BT = real_BT if attended_BT is None else attended_BT
        found = self.backbone(inputs_embeds=embedded_BTD, attention_mask=attended_BT.long())
        states_BTH = found.last_hidden_state
        if self.options.pooling == "mean":
            real_BT1 = real_BT.unsqueeze(-1)
            pooled_BH = (states_BTH * real_BT1).sum(1) / real_BT1.sum(1)
        else:
            pooled_BH = getattr(found, "pooler_output", None)
            pooled_BH = states_BTH[:, 0] if pooled_BH is None else pooled_BH
        return self.output(self.dropout(pooled_BH))

    def _takes(self, name: str) -> bool:
        layer = getattr(self.backbone, "embeddings", None)
        parameters = inspect.signature(layer.forward).parameters if layer is not None else {}
        return {"inputs_embeds", name} <= set(parameters)


@contextmanager
def _without_dropout(layer: nn.Module) -> Iterator[None]:
    training = layer.training
    layer.eval()
    try:
        yield
    finally:
        layer.train(training)


@contextmanager
def _multiplied(layer: nn.Module, factor: Tensor) -> Iterator[None]:
    """Have a layer's output multiplied, as the released code does with the embedding layer's."""
    hook = layer.register_forward_hook(lambda module, inputs, output: factor * output)
    try:
        yield
    finally:
        hook.remove()
