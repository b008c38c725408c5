"""Any Hugging Face encoder as a classifier (paper: BERT, Devlin et al. 2019; DeBERTa, He et al. 2021).

The encoder is not changed: the mask multiplies the word embeddings, which the encoder takes as `inputs_embeds`; it adds
positions and segments itself.

Shapes: B texts, T word pieces, D size of a word embedding, H size of a hidden state, C classes; `...` means any
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
        around: numbers of special pieces before and after a text.
        classes: number of classes.
        between: special pieces between the sentences of a pair; empty if the model reads single texts.
        segments: whether the encoder is told which sentence a piece is of.

    Raises:
        UserError: the encoder does not support the masks that the options require.
    """

    def __init__(
        self,
        config: ModelConfig,
        backbone: "PreTrainedModel",
        around: tuple[int, int],
        classes: int,
        between: tuple[int, ...] = (),
        segments: bool = False,
    ):
        super().__init__(config.dropout)
        self.backbone = backbone
        self.output = nn.Linear(backbone.config.hidden_size, classes)
        self.around, self.between, self.segments, self.options = around, between, segments, config
        if config.pooling == "mean" and getattr(backbone, "pooler", None) is not None:
            backbone.pooler = None  # distributed training would wait for the gradients of an unused layer
        self._check_contextual()

    def _check_contextual(self) -> None:
        """Raise UserError if the mask needs the output of an embedding layer that the encoder does not have."""
        if self.options.contextual and not self._accepts("position_ids"):
            raise UserError(
                f"--model.contextual needs an encoder whose layer `embeddings` takes inputs_embeds and position_ids, "
                f"and {type(self.backbone).__name__} has none: turn it off"
            )

    @property
    def embedding(self) -> nn.Embedding:  # type: ignore[override]
        """The encoder's word embedding."""
        return self.backbone.get_input_embeddings()

    @property
    def embeddings(self) -> nn.Module:
        """The embedding layer: words, positions, segments, normalisation."""
        return getattr(self.backbone, "embeddings", self.embedding)

    @property
    def max_pieces(self) -> float:
        """Maximum number of pieces of a text: the encoder's positions."""
        positions = getattr(self.embeddings, "position_embeddings", None)
        return positions.num_embeddings - self._first_position if isinstance(positions, nn.Embedding) else math.inf

    @property
    def _first_position(self) -> int:
        """RoBERTa numbers positions from its padding id + 1."""
        if hasattr(self.embeddings, "create_position_ids_from_inputs_embeds"):
            return int(self.embeddings.padding_idx) + 1  # type: ignore[arg-type]
        return 0

    def recompute_activations(self) -> None:
        """Keep only the input of each layer, and recompute the rest in the backward pass."""
        self.backbone.gradient_checkpointing_enable({"use_reentrant": False})

    def words(self, ids_BT: Tensor, real_BT: Tensor) -> Tensor:
        """True at pieces of words (B, T), in pairs of the second sentence; at special pieces, and in the first
        sentence, only if `mask_special` is on."""
        return self._words(ids_BT == self.between[0] if self.between else None, real_BT)

    def _words(self, marks_BT: Tensor | None, real_BT: Tensor) -> Tensor:
        if self.options.mask_special:
            return real_BT
        before, after = self.around
        words_BT = F.pad(real_BT[:, after:], (0, after))
        words_BT[:, :before] = False
        if marks_BT is None:
            return words_BT
        single_B1 = (marks_BT & real_BT).sum(1, keepdim=True) <= len(self.between)
        return words_BT & (single_B1 | self._second(marks_BT, real_BT))

    def _second(self, marks_BT: Tensor, real_BT: Tensor) -> Tensor:
        """True after the pieces between two sentences (B, T); in a single text, nowhere but at padding.

        Args:
            marks_BT: true at pieces like those between two sentences, which also end a text.
            real_BT: true at pieces, false at padding.
        """
        marks_BT = marks_BT & real_BT
        return marks_BT.cumsum(1) - marks_BT.long() >= len(self.between)

    def _marks(self, embedded_BTD: Tensor) -> Tensor | None:
        """True at pieces like those between two sentences (B, T), found by their vectors, which nothing changes: they
        are special pieces. None if the model reads single texts."""
        if not self.between:
            return None
        vector_D = self.embedding.weight[self.between[0]].detach()
        return (embedded_BTD.detach() == vector_D).all(-1)

    def segment_inputs(self, ids_BT: Tensor, real_BT: Tensor) -> dict[str, Tensor]:
        """The encoder's input `token_type_ids` (B, T), 1 in second sentences, for ids (B, T) of which `real_BT` are no
        padding; empty if the encoder takes none."""
        return self._segments(ids_BT == self.between[0] if self.between else None, real_BT)

    def _segments(self, marks_BT: Tensor | None, real_BT: Tensor) -> dict[str, Tensor]:
        """The encoder's input that says which pieces are of the second sentence; empty if it takes none."""
        if marks_BT is None or not self._has_segments:
            return {}
        return {"token_type_ids": self._second(marks_BT, real_BT).long()}

    def mask_input(self, embedded: Tensor, positions: Tensor | None = None) -> Tensor:
        """Input of the mask for word embeddings (..., D): themselves, or the embedding layer's output if `contextual`.

        The embedding layer's dropout is off, because importance must not be random.
        """
        if not self.options.contextual:
            return embedded
        if positions is None:
            positions = torch.arange(embedded.shape[-2], device=embedded.device).expand(embedded.shape[:-1])
        with _without_dropout(self.embeddings):
            return self.embeddings(inputs_embeds=embedded, position_ids=positions + self._first_position)

    def predict_embedded(self, embedded_BTD: Tensor, real_BT: Tensor) -> Prediction:
        """Prediction from word embeddings; the mask is applied here."""
        marks_BT = self._marks(embedded_BTD)
        segments = self._segments(marks_BT, real_BT)
        if self.mask is None:
            return Prediction(self._logits(embedded_BTD, real_BT, real_BT, segments), None)
        mask_BT, log_odds_BT = self.mask(self.mask_input(embedded_BTD))
        mask_BT = torch.where(self._words(marks_BT, real_BT), mask_BT, 1.0)
        attended_BT = real_BT
        if self.options.mask_attention and self.training:
            attended_BT = real_BT & (mask_BT > 0.5)
        if not self.options.contextual:
            masked_BTD = mask_BT.unsqueeze(-1) * embedded_BTD
            return Prediction(self._logits(masked_BTD, real_BT, attended_BT, segments), log_odds_BT)
        with _scaled_output(self.embeddings, mask_BT.unsqueeze(-1)):
            return Prediction(self._logits(embedded_BTD, real_BT, attended_BT, segments), log_odds_BT)

    def _logits(
        self, embedded_BTD: Tensor, real_BT: Tensor, attended_BT: Tensor, segments: dict[str, Tensor]
    ) -> Tensor:
        outputs = self.backbone(inputs_embeds=embedded_BTD, attention_mask=attended_BT.long(), **segments)
        states_BTH = outputs.last_hidden_state
        if self.options.pooling == "mean":
            real_BT1 = real_BT.unsqueeze(-1)
            pooled_BH = (states_BTH * real_BT1).sum(1) / real_BT1.sum(1)
        else:
            pooled_BH = getattr(outputs, "pooler_output", None)
            pooled_BH = states_BTH[:, 0] if pooled_BH is None else pooled_BH
        return self.output(self.dropout(pooled_BH))

    @property
    def _has_segments(self) -> bool:
        """Whether the encoder has an embedding for each of two sentences."""
        takes = "token_type_ids" in inspect.signature(self.backbone.forward).parameters
        return self.segments and takes and getattr(self.backbone.config, "type_vocab_size", 0) > 1

    def _accepts(self, name: str) -> bool:
        return {"inputs_embeds", name} <= set(inspect.signature(self.embeddings.forward).parameters)


@contextmanager
def _without_dropout(layer: nn.Module) -> Iterator[None]:
    training = layer.training
    layer.eval()
    try:
        yield
    finally:
        layer.train(training)


@contextmanager
def _scaled_output(layer: nn.Module, factor: Tensor) -> Iterator[None]:
    """Multiply a layer's output, as the released code does with the embedding layer."""
    hook = layer.register_forward_hook(lambda module, inputs, output: factor * output)
    try:
        yield
    finally:
        hook.remove()
