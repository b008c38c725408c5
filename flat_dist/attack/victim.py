"""A checkpoint as a TextAttack model: texts to class probabilities."""

from collections.abc import Sequence

import torch
from textattack.models.wrappers import ModelWrapper

from flat_dist.models.checkpoint import Checkpoint


class Victim(ModelWrapper):
    """Probabilities (N, C) of texts, with dropout and mask sampling off (the released code attacks in train mode)."""

    def __init__(self, checkpoint: Checkpoint):
        self.checkpoint = checkpoint
        self.model = checkpoint.model

    def __call__(self, text_input_list: Sequence[str], **_: object) -> torch.Tensor:
        """Class probabilities of texts."""
        return self.checkpoint.probabilities(text_input_list)
