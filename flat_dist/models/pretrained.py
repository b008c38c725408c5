"""Fine-tuned classifiers of Hugging Face, as `save_pretrained` writes them: own tokenizer, own head, own classes.

Only safetensors are read, and no code that comes with a model is run.

Shapes: B texts, T word pieces, D size of a word embedding, C classes.
"""

import itertools
import json
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from flat_dist.config.errors import UserError
from flat_dist.config.schema import ModelConfig
from flat_dist.data.batches import to_batch
from flat_dist.data.encoder import Encoder
from flat_dist.data.sentence_pairs import join, split
from flat_dist.data.whole_text import WholeTextEncoder
from flat_dist.data.wordpieces import WordPieces
from flat_dist.models.classifier import Prediction, TextClassifier
from flat_dist.models.encoder_loading import CODE_FIELDS, field_names, library, load, load_tokenizer
from flat_dist.models.encoders import known_settings
from flat_dist.models.transformer import Transformer
from flat_dist.storage.folder import Folder

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

AS_IT_IS = ModelConfig(name="classifier")
"""Options of a classifier that gets no mask."""

SETTINGS = "config.json"
CLASSIFIER = "ForSequenceClassification"
"""End of the names of all architectures that classify texts."""

CONTENT = re.compile(r".+\.(json|safetensors|txt|model)")
"""Files that a prediction depends on."""

LENGTH = 512
"""Pieces of a text, where neither the tokenizer nor the model has a limit."""

TOLERANCE = 1e-4
"""Largest difference of two computations of the same logits, relative to the largest logit or 1."""

TRIAL = ("a fine film .", "it is not good , and it is far too long for what it says .")
"""Texts that a model is tried on when it is loaded."""

PAIR_TRIAL = tuple(itertools.starmap(join, itertools.pairwise((*TRIAL, TRIAL[0]))))
"""Pairs of sentences that it is tried on."""


def trial(encoder: Encoder) -> tuple[str, ...]:
    """Texts and pairs of sentences to try a model on: those that its encoder reads."""
    return (*(TRIAL if encoder.reads_texts else ()), *(PAIR_TRIAL if encoder.reads_pairs else ()))


@dataclass(frozen=True)
class Settings:
    """What config.json says of a classifier."""

    architecture: str
    label_names: tuple[str, ...]


class PretrainedClassifier(Transformer):
    """A fine-tuned classifier as it is, or with a word mask before it.

    Args:
        classifier: of the library `transformers`, with a head for classes.
        around: numbers of special pieces before and after a text.
        options: of the word mask.
        between: special pieces between the sentences of a pair; empty if the model reads single texts only.
        segments: whether the model is told which sentence a piece is of.

    Raises:
        UserError: its head has no linear layer for the classes, or it does not support the mask that the options ask
            for.
    """

    def __init__(
        self,
        classifier: "PreTrainedModel",
        around: tuple[int, int],
        options: ModelConfig = AS_IT_IS,
        between: tuple[int, ...] = (),
        segments: bool = False,
    ):
        TextClassifier.__init__(self, dropout=0.0)
        self.backbone, self.around, self.options = classifier, around, options
        self.between, self.segments = between, segments
        classes = classifier.config.num_labels
        heads = [
            name
            for name, one in classifier.named_modules()
            if isinstance(one, nn.Linear) and one.out_features == classes
        ]
        if not heads:
            raise UserError(
                f"the head of a {type(classifier).__name__} is not a linear layer, so it cannot be used here: give it "
                "as a function, --checkpoint package.module:function"
            )
        self._head = heads[-1]
        padding = classifier.config.pad_token_id
        self._padding_id = 0 if padding is None else padding
        end = classifier.config.eos_token_id
        self.end_id = end if isinstance(end, int) else None
        self._check_contextual()

    @property
    def output(self) -> nn.Linear:  # type: ignore[override]
        """The linear layer of the head: a part of `backbone`, so that its weights have one name."""
        return self.backbone.get_submodule(self._head)

    @property
    def embeddings(self) -> nn.Module:
        """The embedding layer of the encoder inside."""
        return getattr(self.backbone.base_model, "embeddings", self.embedding)

    def forward(self, ids_BT: Tensor, real_BT: Tensor) -> Prediction:
        """Prediction from ids, as the model was fine-tuned; with a mask, from word embeddings."""
        if self.mask is not None:
            return self.predict_embedded(self.embed(ids_BT), real_BT)
        ids_BT = torch.where(real_BT, ids_BT, self._padding_id)  # some models find the end of a text by this id
        segments = self._segments(ids_BT == self.between[0] if self.between else None, real_BT)
        return Prediction(self.backbone(input_ids=ids_BT, attention_mask=real_BT.long(), **segments).logits, None)

    def _logits(
        self, embedded_BTD: Tensor, real_BT: Tensor, attended_BT: Tensor, segments: dict[str, Tensor]
    ) -> Tensor:
        return self.backbone(inputs_embeds=embedded_BTD, attention_mask=attended_BT.long(), **segments).logits


def is_pretrained(folder: Folder) -> bool:
    """Whether a folder holds a model of Hugging Face."""
    return folder.exists(SETTINGS)


def read_settings(folder: Folder) -> Settings:
    """What config.json says of a classifier.

    Raises:
        UserError: it is no classifier of texts that can be used as it is.
        DamagedFileError: the file is damaged.
    """
    place = folder.place(SETTINGS)
    values = folder.read_json(SETTINGS, dict[str, Any])
    names = values.get("architectures") or [f"model of type {values.get('model_type')}"]
    if not isinstance(names, list) or not str(names[0]).endswith(CLASSIFIER):
        raise UserError(
            f"{folder.uri} holds a {names[0] if isinstance(names, list) else names}, which does not classify texts: "
            f"fine-tune it first, or train one from it: --model.name encoder --model.encoder {folder.uri}"
        )
    if code_fields := sorted(field_names(values) & CODE_FIELDS):
        raise UserError(f"{place} asks for code or kernels of its own ({', '.join(code_fields)}), which are never run")
    labels = values.get("id2label") or {"0": "LABEL_0", "1": "LABEL_1"}  # what the library leaves out
    if not isinstance(labels, dict) or sorted(labels, key=str) != sorted(map(str, range(len(labels)))):
        raise UserError(f"{place}: id2label must name the classes 0, 1, ..., not {json.dumps(labels)[:200]}")
    classes = tuple(" ".join(str(labels[str(number)]).split()) for number in range(len(labels)))
    kind = values.get("problem_type")
    if len(classes) < 2 or kind in ("regression", "multi_label_classification"):
        what = kind or "regression"
        raise UserError(f"{folder.uri} is a model for {what}: only those with exactly one class per text can be used")
    if len(set(classes)) < len(classes) or not all(classes):
        raise UserError(f"{place}: id2label must have different names, not {', '.join(classes)}")
    return Settings(str(names[0]), classes)


def check_weights(folder: Folder) -> None:
    """Raise UserError if the weights are missing, or only in a file that can run code."""
    names = folder.names()
    if any(name.endswith(".safetensors") for name in names):
        return
    unsafe = next((name for name in names if name.endswith((".bin", ".pt", ".pth", ".ckpt", ".h5"))), "")
    if not unsafe:
        raise UserError(f"{folder.uri} has no weights: save the model there, model.save_pretrained(FOLDER)")
    raise UserError(
        f"{folder.uri} has its weights in {unsafe}, which can run code and is never read: load the model where you "
        "trust it, and save it again with model.save_pretrained(FOLDER), which writes model.safetensors"
    )


def load_classifier(
    folder: Folder, device: str, options: ModelConfig = AS_IT_IS
) -> tuple[PretrainedClassifier, WholeTextEncoder, Settings]:
    """The classifier, its tokenizer, and what config.json says.

    Args:
        folder: that `save_pretrained` wrote.
        device: of the classifier.
        options: of the word mask that it may get.

    Raises:
        UserError: the folder is incomplete, or the classifier cannot be used as it is.
        DamagedFileError: config.json is damaged.
    """
    settings = read_settings(folder)
    check_weights(folder)
    with folder.as_directory() as directory:
        encoder = _encoder(directory)
        classifier, loaded = load(
            "AutoModelForSequenceClassification",
            str(directory),
            what="classifier",
            remedy="save the model and its tokenizer there again, with save_pretrained",
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    if missing := [*loaded["missing_keys"], *(one[0] for one in loaded["mismatched_keys"])]:
        raise UserError(
            f"{folder.uri} lacks {len(missing)} of the classifier's weights, such as {missing[0]}: save all"
        )
    for name, tensor in classifier.named_parameters():
        if not tensor.isfinite().all():
            raise UserError(f"{folder.uri}: {name} has weights that are not finite: save the model again")
    if encoder.vocabulary.max_id >= (known := classifier.get_input_embeddings().num_embeddings):
        raise UserError(
            f"the tokenizer of {folder.uri} has {encoder.vocabulary.max_id + 1} pieces, the model {known} embeddings: "
            "resize them (model.resize_token_embeddings(len(tokenizer))) and save both again"
        )
    pieces = encoder.vocabulary
    model = _with_pieces(classifier, pieces, options).eval()
    _try(model, encoder, TRIAL, folder)
    if pieces.between:
        try:
            _try(model, encoder, PAIR_TRIAL, folder)
        except UserError:  # the model cannot tell the sentences of a pair apart as it was trained to
            model.between, encoder = (), replace(encoder, vocabulary=replace(pieces, between=()))
    return model.to(device), encoder, settings


def read_encoder(folder: Folder) -> WholeTextEncoder:
    """The tokenizer of a classifier.

    Raises:
        UserError: it is missing or cannot be used.
    """
    with folder.as_directory() as directory:
        return _encoder(directory)


def _encoder(directory: Path) -> WholeTextEncoder:
    pieces = _pieces(str(directory))
    tokenizer = load("AutoTokenizer", str(directory))
    return WholeTextEncoder(pieces, _max_length(directory, tokenizer), tokenizer)


def _pieces(directory: str) -> WordPieces:
    """The tokenizer, with the pieces between the sentences of a pair, if it puts any there."""
    try:
        return load_tokenizer(directory, pairs=True)
    except UserError:
        return load_tokenizer(directory)


def _with_pieces(classifier: "PreTrainedModel", pieces: WordPieces, options: ModelConfig) -> PretrainedClassifier:
    around = len(pieces.prefix), len(pieces.suffix)
    return PretrainedClassifier(classifier, around, options, pieces.between, pieces.segments)


def _max_length(directory: Path, tokenizer: "PreTrainedTokenizerFast") -> int:
    """Pieces of the longest text: the tokenizer's limit, or the model's positions."""
    settings = load("AutoConfig", str(directory))
    with torch.device("meta"):  # uses no memory
        model = library().AutoModelForSequenceClassification.from_config(settings, trust_remote_code=False)
    positions = PretrainedClassifier(model, (0, 0)).max_pieces
    stated = getattr(settings, "max_position_embeddings", None) or LENGTH
    return int(min(tokenizer.model_max_length, positions if positions < 10**9 else stated))


@torch.no_grad()
def _try(model: PretrainedClassifier, encoder: WholeTextEncoder, texts: Sequence[str], folder: Folder) -> None:
    """Raise UserError if a text's logits depend on padding, or on more than its ids."""
    ids = [encoder.encode(text) for text in texts]
    try:
        inputs = [split(text) or (text,) for text in texts]
        asked = [encoder.tokenizer(*one, truncation=True, max_length=encoder.max_length) for one in inputs]
        expected = [model.backbone(**{name: torch.tensor([row]) for name, row in one.items()}).logits for one in asked]
        width = max(map(len, ids))
        rows = [[*row, *itertools.repeat(0, width - len(row))] for row in ids]
        real_BT = torch.tensor([[place < len(row) for place in range(width)] for row in ids])
        found_BC = model(torch.tensor(rows), real_BT).logits_BC
    except Exception as error:  # a model of any architecture can raise any error
        raise UserError(
            f"{folder.uri} cannot classify texts in batches ({' '.join(str(error).split())[:200]}): give its model a "
            "padding token (config.pad_token_id), and save it again"
        ) from error
    expected_BC = torch.cat(expected)
    if (found_BC - expected_BC).abs().max() > TOLERANCE * max(1.0, float(expected_BC.abs().max())):
        raise UserError(
            f"{folder.uri} gives a text other scores beside a longer one, or needs more than its ids: give it as a "
            "function, --checkpoint package.module:function"
        )


def has_word_vectors(model: PretrainedClassifier, encoder: WholeTextEncoder) -> bool:
    """Whether the classifier, without a mask, gives the same logits for the word embeddings of texts as for their ids.

    One of the texts is padded: some models find the end of a text by its ids alone.
    """
    batch = to_batch([encoder.encode(text) for text in TRIAL]).to(model.output.weight.device)
    try:
        with torch.no_grad():
            found_BC = model.classify(model.embed(batch.ids_BT), batch.real_BT)
            expected_BC = model(batch.ids_BT, batch.real_BT).logits_BC
    except (TypeError, ValueError, NotImplementedError, AttributeError):
        return False
    return bool((found_BC - expected_BC).abs().max() <= TOLERANCE * max(1.0, float(expected_BC.abs().max())))


def restore_encoder(files: dict[str, Any], max_length: int) -> WholeTextEncoder:
    """The encoder of a checkpoint, from the tokenizer's files as `WholeTextEncoder.to_json` returns them.

    Raises:
        UserError: the tokenizer is damaged, or needs its own code.
        ValueError: they are no files of a tokenizer.
    """
    if not all(re.fullmatch(r"[\w-]+\.json", name) for name in files):
        raise ValueError(f"{', '.join(files)} are no files of a tokenizer")
    with tempfile.TemporaryDirectory() as directory:
        for name, content in files.items():
            (Path(directory) / name).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
        return WholeTextEncoder(_pieces(directory), max_length, load("AutoTokenizer", directory))


def rebuild(options: ModelConfig, described: dict[str, Any], encoder: WholeTextEncoder) -> PretrainedClassifier:
    """A classifier of a checkpoint's architecture, with fresh weights; only the library's code is run.

    Args:
        options: of the word mask.
        described: the configuration, as `encoders.describe` returns it.
        encoder: its tokenizer.

    Raises:
        UserError: the architecture is unknown, or needs its own code.
    """
    settings = known_settings(described)
    classifier = library().AutoModelForSequenceClassification.from_config(settings, trust_remote_code=False)
    return _with_pieces(classifier, encoder.vocabulary, options)


def fingerprint_files(folder: Folder) -> dict[str, str]:
    """sha256 of each file that a prediction depends on."""
    return {name: folder.sha256(name) for name in folder.names() if CONTENT.fullmatch(name)}


def describe(folder: Folder) -> dict[str, Any]:
    """The description of a classifier, as `flat_dist.models.checkpoint.describe` gives it.

    Raises:
        UserError: the folder is incomplete, or the classifier cannot be used as it is.
        DamagedFileError: config.json is damaged.
    """
    settings = read_settings(folder)
    return {
        "architecture": settings.architecture,
        "masked": False,
        "label_names": list(settings.label_names),
        "max_length": read_encoder(folder).max_length,
    }
