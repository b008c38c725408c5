"""Checkpoints: a model and everything needed to run it on a text, as safetensors and JSON."""

import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import torch
from safetensors.torch import save as save_tensors

from flat_dist.config.errors import unknown
from flat_dist.config.schema import ModelConfig
from flat_dist.config.serialization import content_hash, result_values, to_dict
from flat_dist.data.batches import Batch, to_batch
from flat_dist.data.encoder import Encoder, encoder_of
from flat_dist.data.preprocessing import Vocabulary
from flat_dist.data.whole_text import WholeTextEncoder
from flat_dist.data.wordpieces import WordPieces
from flat_dist.models import black_box, encoders, pretrained
from flat_dist.models.batch_invariance import MAX_PIECES, TRANSFORMER_ROWS, WORD_ROWS, InvariantBatchSize
from flat_dist.models.checkpoint_format import (
    DESCRIPTION,
    FILES,
    FORMAT,
    WEIGHTS,
    Description,
    check_fit,
    damaged,
    read_description,
    read_weights,
    unshared,
)
from flat_dist.models.classifier import TextClassifier, WordClassifier
from flat_dist.models.cnn import CNN
from flat_dist.models.group_masks import GroupMasks
from flat_dist.models.lstm import LSTM
from flat_dist.models.margins import margins
from flat_dist.models.mask import WordMask
from flat_dist.models.transformer import Transformer
from flat_dist.storage.file_validation import DamagedFileError
from flat_dist.storage.folder import Folder

LENGTH_MULTIPLE = 8
"""On a CPU, texts of whole words are padded to a multiple of this, because each length is checked by itself."""

GROUPS = "groups.group_V"
"""Tensor of a model with group masks: the group of each word."""

WordModel = Callable[[ModelConfig, int, int], WordClassifier]
"""Makes a model from its config, the size of its vocabulary and the number of its classes."""

WORD_MODELS: dict[str, WordModel] = {"cnn": CNN, "lstm": LSTM}


@dataclass(frozen=True)
class Checkpoint:
    """A classifier with its vocabulary, labels and lengths."""

    model: TextClassifier
    config: ModelConfig
    encoder: Encoder
    label_names: tuple[str, ...]

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return self.model.output.weight.device

    def probabilities(self, texts: Sequence[str], batch_size: int = 256) -> torch.Tensor:
        """Class probabilities (N, C) of texts, float32 on the CPU; dropout and mask sampling off."""
        return self.predict([self.encoder.encode(text) for text in texts], batch_size)

    def predict(self, ids: Sequence[Sequence[int]], batch_size: int = 256, temperature: float = 1.0) -> torch.Tensor:
        """Class probabilities (N, C) of encoded texts, float32.

        Args:
            ids: input ids of each text.
            batch_size: texts of a batch on a GPU. On a CPU, `flat_dist.models.batch_invariance` chooses the size, so
                that no prediction depends on the other texts.
            temperature: divides the logits.
        """
        probabilities_NC = torch.empty(len(ids), len(self.label_names))
        for rows, logits_BC in self._logits(ids, batch_size):
            probabilities_NC[rows] = (logits_BC / temperature).softmax(-1).float().cpu()[: len(rows)]
        return probabilities_NC

    def predict_margins(self, ids: Sequence[Sequence[int]], batch_size: int = 256) -> torch.Tensor:
        """Margins (N, C) of the classes of encoded texts, float64, from logits in the model's precision.

        Args:
            ids: input ids of each text.
            batch_size: as in `predict`.
        """
        scores_NC = torch.empty(len(ids), len(self.label_names), dtype=torch.float64)
        for rows, logits_BC in self._logits(ids, batch_size):
            scores_NC[rows] = margins(logits_BC[: len(rows)])
        return scores_NC

    @torch.no_grad()
    def _logits(self, ids: Sequence[Sequence[int]], batch_size: int) -> Iterator[tuple[list[int], torch.Tensor]]:
        """Rows of `ids`, and their logits (B, C); a batch may be filled with more texts than rows."""
        self.model.eval()
        order = sorted(range(len(ids)), key=lambda row: len(ids[row]))
        batches = (
            self._invariant_batches(ids, order)
            if self.device.type == "cpu" and not isinstance(self.model, black_box.BlackBox)
            else self._batches_by_length(ids, order, batch_size)
        )
        for rows, batch in batches:
            yield rows, self.model(batch.ids_BT, batch.real_BT).logits_BC

    def _invariant_batches(
        self, ids: Sequence[Sequence[int]], order: Sequence[int]
    ) -> Iterator[tuple[list[int], Batch]]:
        """Batches whose shape depends only on the length of their texts."""
        for length, run in itertools.groupby(order, key=lambda row: self._padded_length(len(ids[row]))):
            alike, size = list(run), self._invariant_size.rows(length)
            for start in range(0, len(alike), size):
                rows = alike[start : start + size]
                filled = rows + rows[-1:] * (size - len(rows))
                yield rows, to_batch([ids[row] for row in filled], length=length)

    def _padded_length(self, length: int) -> int:
        """Length to which a text is padded. A transformer's texts are not: padding changes the order of sums."""
        return length if isinstance(self.model, Transformer) else -(-length // LENGTH_MULTIPLE) * LENGTH_MULTIPLE

    @cached_property
    def _invariant_size(self) -> InvariantBatchSize:
        return InvariantBatchSize(self.model, TRANSFORMER_ROWS if isinstance(self.model, Transformer) else WORD_ROWS)

    def _batches_by_length(
        self, ids: Sequence[Sequence[int]], order: list[int], size: int
    ) -> Iterator[tuple[list[int], Batch]]:
        """Batches of texts of similar length, which need little padding."""
        if isinstance(self.model, Transformer) and order:
            size = min(size, max(1, MAX_PIECES // len(ids[order[-1]])))
        for start in range(0, len(order), size):
            rows = order[start : start + size]
            yield rows, to_batch([ids[row] for row in rows]).to(self.device)


def build(config: ModelConfig, vocabulary_size: int, classes: int) -> WordClassifier:
    """A model of whole words without a word mask; its weights are drawn from torch's global generator.

    With group masks, no word is in a group yet.

    Raises:
        UserError: the architecture is unknown.
    """
    if config.name not in WORD_MODELS:
        raise unknown("model", config.name, (*WORD_MODELS, *encoders.TRANSFORMERS))
    model = WORD_MODELS[config.name](config, vocabulary_size, classes)
    if config.group_masks:
        model.groups = GroupMasks(vocabulary_size, config.group_masks)
    return model


@torch.no_grad()
def add_mask(model: TextClassifier, config: ModelConfig) -> None:
    """Add a word mask to a model; its weights are drawn from torch's global generator."""
    width = model.mask_input(model.embed(torch.zeros(1, 1, dtype=torch.long))).shape[-1]
    model.mask = WordMask(width, config.mask_hidden_size, config.temperature, config.sample_masks)
    if config.initial_importance:
        model.mask.start_at(config.initial_importance)


def save(checkpoint: Checkpoint, folder: Folder) -> None:
    """Write a checkpoint; the description is written last and has the hash of the weights."""
    digest = folder.write(WEIGHTS, save_tensors(unshared(checkpoint.model.state_dict())))
    description = {
        "format": FORMAT,
        "weights": digest,
        "model": result_values(encoders.portable(checkpoint.config)),
        "masked": checkpoint.model.mask is not None,
        "label_names": checkpoint.label_names,
        "max_length": checkpoint.encoder.max_length,
        "vocabulary": checkpoint.encoder.to_json(),
    }
    if isinstance(checkpoint.model, Transformer):
        description["encoder"] = encoders.describe(checkpoint.model)
    folder.write_json(DESCRIPTION, description)


def load(folder: Folder, device: str = "cpu") -> Checkpoint:
    """Read a checkpoint, or a fine-tuned classifier of Hugging Face; no code from its folder is run. Of a function or
    an endpoint, the folder that stands for it.

    Raises:
        UserError: the folder has no checkpoint of this format, or a classifier that cannot be used as it is.
        DamagedFileError: a file is damaged, or the files do not fit together.
    """
    if black_box.is_black_box(folder):
        asked, characters, known = black_box.load(folder)
        return Checkpoint(asked, ModelConfig(), characters, tuple(known.label_names))
    if is_pretrained(folder):
        own, whole_texts, settings = pretrained.load_classifier(folder, device)
        return Checkpoint(own, own.options, whole_texts, settings.label_names)
    described, config = read_description(folder)
    tensors = read_weights(folder, described)
    encoder, model = _build(folder, described, config, tensors)
    model.load_state_dict(tensors)
    max_pieces = model.max_pieces if isinstance(model, Transformer) else described.max_length
    if encoder.max_word_pieces < 1 or described.max_length > max_pieces:
        least = described.max_length - encoder.max_word_pieces + 1
        raise damaged(
            folder, DESCRIPTION, f"max_length is {described.max_length}, not between {least} and {max_pieces}"
        )
    return Checkpoint(model.to(device).eval(), config, encoder, tuple(described.label_names))


def describe(folder: Folder) -> dict[str, Any]:
    """A checkpoint's description as plain values: architecture, model, masked, label_names, max_length and more.

    Raises:
        UserError: the folder has no checkpoint of this format.
        DamagedFileError: its description is damaged.
    """
    if black_box.is_black_box(folder):
        return black_box.describe(folder)
    if is_pretrained(folder):
        return {**pretrained.describe(folder), "model": to_dict(pretrained.AS_IT_IS)}
    described, config = read_description(folder)
    return {**asdict(described), "architecture": config.name, "model": to_dict(config)}


def is_pretrained(folder: Folder) -> bool:
    """Whether a folder holds a model as the library `transformers` writes it, and no checkpoint."""
    return not folder.exists(DESCRIPTION) and pretrained.is_pretrained(folder)


def _build(
    folder: Folder, described: Description, config: ModelConfig, tensors: Mapping[str, torch.Tensor]
) -> tuple[Encoder, TextClassifier]:
    """Encoder and model as described, with fresh weights; the tensors are checked first."""
    if isinstance(described.vocabulary, dict) != (config.name in encoders.TRANSFORMERS):
        raise damaged(folder, DESCRIPTION, f"its vocabulary is not that of a {config.name}")
    try:
        encoder = _encoder(described, config)
        with torch.device("meta"):  # uses no memory, whatever sizes the file states
            check_fit(folder, _fresh(described, config, encoder), tensors)
        model, vocabulary = _fresh(described, config, encoder), encoder.vocabulary
        largest = vocabulary.max_id if isinstance(vocabulary, WordPieces) else len(vocabulary) - 1
    except DamagedFileError:
        raise
    except Exception as error:  # wrong values can raise any error
        raise damaged(folder, DESCRIPTION, f"no model can be built from it: {' '.join(str(error).split())}") from error
    if largest >= model.embedding.num_embeddings:
        sizes = f"its vocabulary has {largest + 1} pieces, the embedding {model.embedding.num_embeddings}"
        raise damaged(folder, DESCRIPTION, sizes)
    group_V = tensors.get(GROUPS, torch.zeros(1))
    if group_V.min() < 0 or group_V.max() > config.group_masks:
        raise damaged(folder, WEIGHTS, f"{GROUPS} has other groups than 0 to {config.group_masks}")
    return encoder, model


def _encoder(described: Description, config: ModelConfig) -> Encoder:
    if config.name == encoders.CLASSIFIER:
        return pretrained.restore_encoder(described.vocabulary, described.max_length)  # type: ignore[arg-type]
    kind = WordPieces if config.name in encoders.TRANSFORMERS else Vocabulary
    return encoder_of(kind.from_json(described.vocabulary), described.max_length)  # type: ignore[arg-type]


def _fresh(described: Description, config: ModelConfig, encoder: Encoder) -> TextClassifier:
    classes, vocabulary = len(described.label_names), encoder.vocabulary
    model: TextClassifier
    if isinstance(encoder, WholeTextEncoder):
        model = pretrained.rebuild(config, described.encoder, encoder)
    elif isinstance(vocabulary, WordPieces):
        model = encoders.rebuild(config, described.encoder, vocabulary, classes)
    else:
        model = build(config, len(vocabulary), classes)
    if described.masked:
        add_mask(model, config)
    return model


def fingerprint(folder: Folder) -> str:
    """Hash of a checkpoint's weights and description, as sixteen hexadecimal digits.

    The description holds the hash of the weights, which are checked when they are loaded, so they are not read here.

    Raises:
        UserError: the folder holds no checkpoint of this format.
        DamagedFileError: its description is damaged.
    """
    if black_box.is_black_box(folder):
        return black_box.read(folder).fingerprint
    if is_pretrained(folder):
        pretrained.read_settings(folder)
        pretrained.check_weights(folder)
        return content_hash(pretrained.fingerprint_files(folder))[:16]
    described, _ = read_description(folder)
    digests = {WEIGHTS: described.weights or folder.sha256(WEIGHTS), DESCRIPTION: folder.sha256(DESCRIPTION)}
    digest = hashlib.sha256()
    for name in FILES:
        digest.update(bytes.fromhex(digests[name]))
    return digest.hexdigest()[:16]


def with_model(checkpoint: Checkpoint, model: TextClassifier) -> Checkpoint:
    """The same checkpoint with another model in it."""
    return replace(checkpoint, model=model)
