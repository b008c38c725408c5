"""A model as MLflow serves it: a table with the column `text`, or the columns `text` and `text_pair`, to label and
probabilities.

MLflow finds `_load_pyfunc` by the name of this module, which stands in the file MLmodel; nothing here imports MLflow.
"""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from flat_dist.config.schema import Config
from flat_dist.data.encoder import Encoder
from flat_dist.data.sentence_pairs import MARK, join
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models.checkpoint import Checkpoint
from flat_dist.runtime import hardware
from flat_dist.storage.folder import Folder

MODULE = __name__

TEXT, TEXT_PAIR, LABEL = "text", "text_pair", "label"

EXAMPLE: dict[str, tuple[str, ...]] = {TEXT: ("a fine film", "not good at all")}
PAIR_EXAMPLE: dict[str, tuple[str, ...]] = {
    TEXT: ("a man is asleep", "a man is asleep"),
    TEXT_PAIR: ("somebody sleeps", "a man is running"),
}
"""Columns of the input examples, of texts and of pairs of sentences."""


def inputs(encoder: Encoder) -> dict[str, bool]:
    """Columns of a request to the model of an encoder, and whether it must have them. A classifier that reads both
    takes a row without a second sentence as a single text."""
    return {TEXT: True} | ({TEXT_PAIR: not encoder.reads_texts} if encoder.reads_pairs else {})


def example(encoder: Encoder) -> dict[str, tuple[str, ...]]:
    """Columns of the input example."""
    return EXAMPLE if encoder.reads_texts else PAIR_EXAMPLE


def columns(label_names: Sequence[str]) -> list[str]:
    """Columns of the answer: the label, and the probability of each class."""
    return [LABEL, *(f"probability_{name}" for name in label_names)]


class ServedModel:
    """A model that several requests may ask at the same time.

    Args:
        checkpoint: the model.
    """

    def __init__(self, checkpoint: Checkpoint):
        self.checkpoint = checkpoint
        self._lock = threading.Lock()  # tokenizers, and the check of batch sizes, are not for several threads

    def predict(self, model_input: pd.DataFrame, params: Any = None) -> pd.DataFrame:
        """Label and probabilities of texts, or of pairs of sentences.

        Args:
            model_input: with the columns of `inputs`.
            params: unused; MLflow passes it.

        Returns:
            One row for each text, with the columns of `columns`.

        Raises:
            ValueError: a text or a second sentence is missing, or cannot be read.
        """
        firsts = list(model_input[TEXT])
        seconds = list(model_input[TEXT_PAIR]) if TEXT_PAIR in model_input else [None] * len(firsts)
        texts = [self._text(number, *row) for number, row in enumerate(zip(firsts, seconds, strict=True))]
        names = self.checkpoint.label_names
        with self._lock:
            scores_NC = self.checkpoint.probabilities(texts).double().numpy()
        labels = [names[number] for number in scores_NC.argmax(1)] if texts else []
        return pd.DataFrame(
            [[label, *row] for label, row in zip(labels, scores_NC, strict=True)], columns=columns(names)
        )

    def _text(self, number: int, first: Any, second: Any) -> str:
        """The text of a row, or both sentences of a pair, as `sentence_pairs` joins them."""
        encoder, row = self.checkpoint.encoder, f"row {number} (from 0)"
        if not isinstance(first, str):
            raise ValueError(f"{row} has no text in the column {TEXT!r}, but {first!r}")
        if second is None or second != second:  # NaN, as tables have it where a value is missing
            if encoder.reads_texts:
                return first
            raise ValueError(f"{row} has no text in the column {TEXT_PAIR!r}: the model reads pairs of sentences")
        if not isinstance(second, str):
            raise ValueError(f"{row} has no text in the column {TEXT_PAIR!r}, but {second!r}")
        if not encoder.reads_pairs:
            raise ValueError(f"{row} has the column {TEXT_PAIR!r}, but the model reads single texts: leave it out")
        if MARK in first + second:
            raise ValueError(f"{row} has the character {MARK}, which stands between the sentences of a pair: remove it")
        return join(first, second)


def _load_pyfunc(path: str) -> ServedModel:
    """The model in a folder, on this machine's GPU if it has one."""
    config, _ = hardware.resolve(Config(), hardware.detect())
    return ServedModel(checkpoints.load(Folder(Path(path).absolute()), config.attack.device))
