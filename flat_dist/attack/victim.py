"""A checkpoint as a TextAttack model: texts to scores of the classes."""

from collections.abc import Callable, Sequence

import torch
from textattack.models.wrappers import ModelWrapper

from flat_dist.config.schema import Scores
from flat_dist.data.sentence_pairs import join
from flat_dist.models.checkpoint import Checkpoint


class Victim(ModelWrapper):
    """Scores (N, C) of texts, without dropout and mask sampling (the released code attacks in train mode).

    Args:
        checkpoint: the model under attack.
        on_answer: called after each answer.
        scores: probabilities (float32), or margin (float64, see `flat_dist.models.margins`).
        temperature: divides the logits before the probabilities; margins do not change.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        on_answer: Callable[[], None] = lambda: None,
        scores: Scores = "probabilities",
        temperature: float = 1.0,
    ):
        self.checkpoint, self.on_answer = checkpoint, on_answer
        self.scores, self.temperature = scores, temperature
        self.model = checkpoint.model

    def __call__(self, text_input_list: Sequence[str | tuple[str, ...]], **_: object) -> torch.Tensor:
        """Scores of texts; TextAttack gives a pair of sentences as a tuple."""
        texts = [text if isinstance(text, str) else join(*text) for text in text_input_list]
        return self.predict([self.encode(text) for text in texts])

    def encode(self, text: str) -> tuple[int, ...]:
        """Input ids of a text."""
        return self.checkpoint.encoder.encode(text)

    def predict(self, ids: Sequence[tuple[int, ...]], batch_size: int = 256) -> torch.Tensor:
        """Scores of encoded texts."""
        if self.scores == "margin":
            scores_NC = self.checkpoint.predict_margins(ids, batch_size)
        else:
            scores_NC = self.checkpoint.predict(ids, batch_size, self.temperature)
        self.on_answer()
        return scores_NC
