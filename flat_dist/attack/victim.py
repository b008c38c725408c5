"""A checkpoint as a TextAttack model: texts to class probabilities."""

from collections.abc import Callable, Sequence

import torch
from textattack.models.wrappers import ModelWrapper

from flat_dist.models.checkpoint import Checkpoint


class Victim(ModelWrapper):
    """Class probabilities (N, C) of texts, without dropout and mask sampling (the released code attacks in train mode).

    Args:
        checkpoint: the model under attack.
        on_answer: called after each answer.
    """

    def __init__(self, checkpoint: Checkpoint, on_answer: Callable[[], None] = lambda: None):
        self.checkpoint, self.on_answer = checkpoint, on_answer
        self.model = checkpoint.model

    def __call__(self, text_input_list: Sequence[str], **_: object) -> torch.Tensor:
        """Class probabilities of texts."""
        probabilities_NC = self.checkpoint.probabilities(text_input_list)
        self.on_answer()
        return probabilities_NC

    def encode(self, text: str) -> tuple[int, ...]:
        """Input ids of a text."""
        return self.checkpoint.encoder.encode(text)

    def predict(self, ids: Sequence[tuple[int, ...]], batch_size: int) -> torch.Tensor:
        """Class probabilities of encoded texts."""
        probabilities_NC = self.checkpoint.predict(ids, batch_size)
        self.on_answer()
        return probabilities_NC
