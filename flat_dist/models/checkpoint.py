"""Checkpoints: a model and all that is needed to run it on a text, as safetensors and JSON."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from flat_dist.config import ModelConfig, UserError, from_dict, unknown
from flat_dist.data.batches import Encoder, to_batch
from flat_dist.data.storage import Folder
from flat_dist.data.text import Vocabulary
from flat_dist.models.classifier import TextClassifier
from flat_dist.models.cnn import CNN
from flat_dist.models.lstm import LSTM
from flat_dist.models.mask import WordMask

FORMAT = "flat_dist.checkpoint/1"
WEIGHTS = "model.safetensors"
DESCRIPTION = "checkpoint.json"

MULTIPLE = 8
"""Texts of a batch are filled up to a multiple of this: CPU libraries sum very small products in another order, and
prepare themselves anew for each shape that they meet."""

ARCHITECTURES: dict[str, type[CNN] | type[LSTM]] = {"cnn": CNN, "lstm": LSTM}


@dataclass(frozen=True)
class Checkpoint:
    """A classifier with its vocabulary, labels and lengths."""

    model: TextClassifier
    config: ModelConfig
    encoder: Encoder
    label_names: tuple[str, ...]

    def probabilities(self, texts: Sequence[str], batch_size: int = 256) -> torch.Tensor:
        """Class probabilities (N, C) of texts, float32 on the CPU; dropout and mask sampling off."""
        return self.predict([self.encoder.encode(text) for text in texts], batch_size)

    @torch.no_grad()
    def predict(self, ids: Sequence[Sequence[int]], batch_size: int = 256) -> torch.Tensor:
        """Class probabilities (N, C) of encoded texts; on a CPU none depends on what else is in the batch."""
        self.model.eval()
        device = self.model.output.weight.device
        scores_NC = torch.empty(len(ids), len(self.label_names))
        order = sorted(range(len(ids)), key=lambda index: len(ids[index]))  # the less padding, the less work
        for start in range(0, len(ids), batch_size):
            rows = order[start : start + batch_size]
            filled = rows + rows[-1:] * (-len(rows) % MULTIPLE)
            batch = to_batch([ids[row] for row in filled]).to(device)
            logits_BC = self.model(batch.ids_BT, batch.real_BT).logits_BC
            scores_NC[rows] = logits_BC.softmax(-1).float().cpu()[: len(rows)]
        return scores_NC


def build(config: ModelConfig, vocabulary_size: int, classes: int, masked: bool) -> TextClassifier:
    """A model with fresh weights, drawn from torch's global generator.

    Raises:
        UserError: the architecture is unknown.
    """
    if config.name not in ARCHITECTURES:
        raise unknown("model", config.name, ARCHITECTURES)
    model = ARCHITECTURES[config.name](config, vocabulary_size, classes)
    if masked:
        add_mask(model, config)
    return model


def add_mask(model: TextClassifier, config: ModelConfig) -> None:
    """Give a model a word mask with fresh weights."""
    model.mask = WordMask(config.embedding_dim, config.mask_hidden_size, config.temperature)


def save(checkpoint: Checkpoint, folder: Folder) -> None:
    """Write a checkpoint; the description comes last, and a reader wants both."""
    folder.write(WEIGHTS, save_tensors(checkpoint.model.state_dict()))
    description = {
        "format": FORMAT,
        "model": asdict(checkpoint.config),
        "masked": checkpoint.model.mask is not None,
        "label_names": checkpoint.label_names,
        "max_length": checkpoint.encoder.max_length,
        "vocabulary": checkpoint.encoder.vocabulary.to_json(),
    }
    folder.write_json(DESCRIPTION, description)


def load(folder: Folder, device: str = "cpu") -> Checkpoint:
    """Read a checkpoint.

    Raises:
        UserError: the folder holds no checkpoint of this format.
    """
    description = _describe(folder)
    config = from_dict(ModelConfig, description["model"], f"{folder.uri}/{DESCRIPTION}")
    vocabulary = Vocabulary.from_json(description["vocabulary"])
    label_names = tuple(description["label_names"])
    model = build(config, len(vocabulary), len(label_names), description["masked"])
    model.load_state_dict(load_tensors(folder.read(WEIGHTS)))
    return Checkpoint(model.to(device).eval(), config, Encoder(vocabulary, description["max_length"]), label_names)


def _describe(folder: Folder) -> dict[str, Any]:
    if not folder.exists(DESCRIPTION) or not folder.exists(WEIGHTS):
        raise UserError(f"{folder.uri} holds no checkpoint: {DESCRIPTION} and {WEIGHTS} must be there")
    description = folder.read_json(DESCRIPTION)
    if description.get("format") != FORMAT:
        raise UserError(f"{folder.uri}/{DESCRIPTION} has format {description.get('format')!r}, not {FORMAT!r}")
    return description


def fingerprint(folder: Folder) -> str:
    """Sixteen hexadecimal digits that depend on a checkpoint's weights and description alone."""
    digest = hashlib.sha256()
    for name in (WEIGHTS, DESCRIPTION):
        digest.update(hashlib.sha256(folder.read(name)).digest())
    return digest.hexdigest()[:16]


def with_model(checkpoint: Checkpoint, model: TextClassifier) -> Checkpoint:
    """The same checkpoint with another model in it."""
    return replace(checkpoint, model=model)
