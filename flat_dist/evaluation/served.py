"""A model as MLflow serves it: a table with the column `text` to label and probabilities.

MLflow finds `_load_pyfunc` by the name of this module, which stands in the file MLmodel; nothing here imports MLflow.
"""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from flat_dist.config.schema import Config
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models.checkpoint import Checkpoint
from flat_dist.runtime import hardware
from flat_dist.storage.folder import Folder

MODULE = __name__

TEXT, LABEL = "text", "label"

EXAMPLE = ("a fine film", "not good at all")
"""Texts of the input example."""


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
        """Label and probabilities of texts.

        Args:
            model_input: with the column `text`.
            params: unused; MLflow passes it.

        Returns:
            One row for each text, with the columns of `columns`.

        Raises:
            ValueError: a text is missing.
        """
        texts = list(model_input[TEXT])
        for number, text in enumerate(texts):
            if not isinstance(text, str):
                raise ValueError(f"row {number} (from 0) has no text in the column {TEXT!r}, but {text!r}")
        names = self.checkpoint.label_names
        with self._lock:
            scores_NC = self.checkpoint.probabilities(texts).double().numpy()
        labels = [names[number] for number in scores_NC.argmax(1)] if texts else []
        return pd.DataFrame(
            [[label, *row] for label, row in zip(labels, scores_NC, strict=True)], columns=columns(names)
        )


def _load_pyfunc(path: str) -> ServedModel:
    """The model in a folder, on this machine's GPU if it has one."""
    config, _ = hardware.resolve(Config(), hardware.detect())
    return ServedModel(checkpoints.load(Folder(Path(path).absolute()), config.attack.device))
