"""Predictions of a checkpoint, with the global importance of each word."""

from collections.abc import Sequence
from typing import Any

import torch

from flat_dist.data.batches import to_batch
from flat_dist.models.checkpoint import Checkpoint


def predict(checkpoint: Checkpoint, texts: Sequence[str]) -> list[dict[str, Any]]:
    """For each text: its words as the model reads them, label, probabilities by class, and importance by word.

    There is no importance if the model has no mask, or the text has no word.
    """
    names = checkpoint.label_names
    predictions = []
    for text, scores in zip(texts, checkpoint.probabilities(texts).tolist(), strict=True):
        words = checkpoint.encoder.words(text)
        prediction: dict[str, Any] = {
            "text": " ".join(words),
            "label": names[scores.index(max(scores))],
            "probabilities": dict(zip(names, scores, strict=True)),
        }
        if checkpoint.model.mask is not None and words:
            importance = word_importance(checkpoint, text)
            prediction["importance"] = [list(pair) for pair in zip(words, importance, strict=True)]
        predictions.append(prediction)
    return predictions


@torch.no_grad()
def word_importance(checkpoint: Checkpoint, text: str) -> list[float]:
    """Global importance phi of each word of a text, as the model reads it: the mean over its pieces.

    Raises:
        ValueError: the model has no mask.
    """
    batch = to_batch([checkpoint.encoder.encode(text)]).to(checkpoint.device)
    positions_BT = torch.arange(batch.ids_BT.shape[1], device=checkpoint.device).unsqueeze(0)
    (pieces_T,) = checkpoint.model.eval().importance(batch.ids_BT, positions_BT)
    return [pieces_T[start:end].mean().item() for start, end in checkpoint.encoder.spans(text)]


@torch.no_grad()
def drop_rate(checkpoint: Checkpoint, texts: Sequence[str], batch_size: int = 64) -> float:
    """Share of the texts' words that the word mask drops in training, in [0, 1]: the mean of 1 - phi over all words.

    Raises:
        ValueError: the model has no mask.
    """
    model, dropped, words = checkpoint.model.eval(), 0.0, 0
    for start in range(0, len(texts), batch_size):
        ids = [checkpoint.encoder.encode(text) for text in texts[start : start + batch_size]]
        batch = to_batch(ids).to(checkpoint.device)
        positions_BT = torch.arange(batch.ids_BT.shape[1], device=checkpoint.device).expand(batch.ids_BT.shape)
        words_BT = model.words(batch.ids_BT, batch.real_BT)
        dropped += float((1 - model.importance(batch.ids_BT, positions_BT))[words_BT].double().sum())
        words += int(words_BT.sum())
    return dropped / words
