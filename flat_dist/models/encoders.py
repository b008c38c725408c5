"""Hugging Face encoders as classifiers: from the hub, from a folder, or MiniLM from a package."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flat_dist.config.errors import UserError, option
from flat_dist.config.schema import ModelConfig
from flat_dist.config.serialization import content_hash
from flat_dist.data.wordpieces import WordPieces
from flat_dist.models.encoder_loading import CODE_FIELDS, field_names, library, load, load_tokenizer
from flat_dist.resources import assets

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from flat_dist.models.transformer import Transformer

HUB = {"bert": "bert-base-uncased", "deberta": "microsoft/deberta-base"}
"""Names on the hub (paper, Section 4: the base versions of both)."""

BUILT_IN = "minilm"
"""The encoder that is installed from a package: BERT's architecture, six layers, 22 million parameters."""

CLASSIFIER = "classifier"
"""A fine-tuned classifier of the user, with its own head and tokenizer: see `flat_dist.models.pretrained`."""

TRANSFORMERS = (*HUB, BUILT_IN, "encoder", CLASSIFIER)
"""Models that are transformers; `encoder` is any other one."""

TOLERANCE = 1e-3
"""Largest difference between two computations of the same states, relative to the largest state."""


def source(config: ModelConfig) -> str:
    """Folder or hub name that the weights come from.

    Raises:
        UserError: none is given.
    """
    if config.encoder is not None and not config.encoder.strip():
        raise UserError("--model.encoder is empty: give a hub name, or a folder with config.json, or leave it out")
    if config.encoder:
        return config.encoder
    if config.name == BUILT_IN:
        return str(assets.prepare().minilm)
    if config.name not in HUB:
        what = "the folder of a fine-tuned classifier" if config.name == CLASSIFIER else "a hub name, or a folder"
        raise UserError(f"--model.name {config.name} needs --model.encoder: {what} with config.json")
    return HUB[config.name]


def fingerprint(config: ModelConfig) -> str:
    """Content hash of a folder's files, or the name on the hub; empty for a model of whole words."""
    if config.name not in TRANSFORMERS:
        return ""
    folder = Path(source(config))
    if not folder.is_dir():
        return str(folder)
    digests = {}
    for path in sorted(folder.iterdir()):
        if path.is_file():
            with path.open("rb") as file:
                digests[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return content_hash(digests)


def portable(config: ModelConfig) -> ModelConfig:
    """The config without the path of a local folder, which a checkpoint does not need."""
    return replace(config, encoder=None) if config.encoder and Path(config.encoder).is_dir() else config


def check(config: ModelConfig, pairs: bool = False) -> None:
    """Raise UserError if the model cannot be used, for single texts or for pairs of sentences; weights are not
    downloaded. `flat_dist.pipeline.own_models` checks classifiers."""
    if pairs:
        _check_pairs(config)
    if config.name not in TRANSFORMERS or config.name == CLASSIFIER:
        return
    if Path(source(config)).is_dir():
        pretrained(config, classes=2, pairs=pairs)
    else:
        _check_sizes(config, load_tokenizer(source(config), pairs), getattr(settings(config), "vocab_size", None))


def _check_pairs(config: ModelConfig) -> None:
    """Raise UserError if a model cannot read pairs of sentences."""
    if config.name not in TRANSFORMERS:
        raise UserError(
            f"--model.name {config.name} reads single texts, but --data.text-pair-column gives pairs of sentences: "
            f"choose a transformer, such as --preset {BUILT_IN}"
        )
    for name in ("contextual", "mask_special"):
        if getattr(config, name):
            raise UserError(f"{option(f'model.{name}')} is not available for pairs of sentences: turn it off")


def settings(config: ModelConfig) -> Any:
    """The encoder's configuration, with our dropout.

    Raises:
        UserError: it is unavailable.
    """
    return _set_dropout(load("AutoConfig", source(config)), config.encoder_dropout)


def pretrained(config: ModelConfig, classes: int, pairs: bool = False) -> tuple["Transformer", WordPieces]:
    """A classifier of single texts, or of pairs of sentences, on pretrained weights, with a fresh output layer, and its
    tokenizer.

    Raises:
        UserError: the encoder is unavailable, or cannot be masked.
    """
    import torch  # a second, which names and settings of encoders do not need

    pieces = load_tokenizer(source(config), pairs)
    options = {"config": settings(config), "dtype": torch.float32}
    backbone, loaded = load("AutoModel", source(config), output_loading_info=True, **options)
    if missing := [name for name in loaded["missing_keys"] if "pooler" not in name]:  # would be random
        raise UserError(
            f"{source(config)} lacks {len(missing)} of the encoder's weights, such as {missing[0]}: save all"
        )
    _check_sizes(config, pieces, backbone.get_input_embeddings().num_embeddings)
    _check_embeddings(backbone, pieces, source(config))
    return _classifier(config, backbone, pieces, classes), pieces


def _check_sizes(config: ModelConfig, pieces: WordPieces, embeddings: int | None) -> None:
    """Raise UserError if the tokenizer has pieces without an embedding."""
    if embeddings is not None and pieces.max_id >= embeddings:
        raise UserError(
            f"the tokenizer of {source(config)} has {pieces.max_id + 1} pieces, the encoder {embeddings} embeddings: "
            "resize them (model.resize_token_embeddings(len(tokenizer))) and save both again"
        )


def rebuild(config: ModelConfig, described: dict[str, Any], pieces: WordPieces, classes: int) -> "Transformer":
    """A classifier of a checkpoint's architecture, with fresh weights; only the library's code is run.

    Raises:
        UserError: the architecture is unknown, or needs its own code.
    """
    settings = known_settings(described)
    return _classifier(config, library().AutoModel.from_config(settings, trust_remote_code=False), pieces, classes)


def known_settings(described: dict[str, Any]) -> Any:
    """The configuration that `describe` returned; only the library's code is run.

    Raises:
        UserError: the architecture is unknown, or needs its own code.
    """
    described = dict(described)
    if code_fields := sorted(field_names(described) & CODE_FIELDS):
        raise UserError(f"its encoder needs its own code ({', '.join(code_fields)}), which is never run")
    kind = described.pop("model_type", None)
    if kind not in library().CONFIG_MAPPING:
        raise UserError(f"its encoder has the type {kind!r}, which transformers does not know")
    return library().AutoConfig.for_model(kind, **described)


def describe(model: "Transformer") -> dict[str, Any]:
    """The encoder's configuration for `rebuild`, as plain values without local paths."""
    values = json.loads(model.backbone.config.to_json_string(use_diff=False))
    return {name: value for name, value in values.items() if not name.startswith("_") and name not in CODE_FIELDS}


def _classifier(config: ModelConfig, backbone: "PreTrainedModel", pieces: WordPieces, classes: int) -> "Transformer":
    from flat_dist.models.transformer import Transformer

    around = len(pieces.prefix), len(pieces.suffix)
    return Transformer(config, backbone, around, classes, pieces.between, pieces.segments)


def _set_dropout(settings: Any, dropout: float | None) -> Any:
    """Set every dropout rate that the encoder has."""
    for name, value in settings.to_dict().items():
        if dropout is not None and "dropout" in name and isinstance(value, int | float):
            setattr(settings, name, dropout)
    return settings


def _check_embeddings(backbone: "PreTrainedModel", pieces: WordPieces, name: str) -> None:
    """Raise UserError if the encoder uses token information beyond the embedding: its words cannot be masked."""
    import torch

    ids_BT = torch.tensor([[*pieces.prefix, *pieces.pieces("a"), *pieces.pieces("word"), *pieces.suffix]])
    mask_BT = torch.ones_like(ids_BT)
    backbone.eval()
    try:
        with torch.no_grad():
            expected = backbone(input_ids=ids_BT, attention_mask=mask_BT).last_hidden_state
            embedded_BTD = backbone.get_input_embeddings()(ids_BT)
            actual = backbone(inputs_embeds=embedded_BTD, attention_mask=mask_BT).last_hidden_state
    except (TypeError, ValueError, NotImplementedError, AttributeError) as error:
        raise UserError(
            f"{name} does not take word embeddings (inputs_embeds), so its words cannot be masked"
        ) from error
    if (actual - expected).abs().max() > TOLERANCE * expected.abs().max():
        raise UserError(
            f"{name} uses token information beyond the embedding, so its words cannot be masked: use another encoder"
        )
