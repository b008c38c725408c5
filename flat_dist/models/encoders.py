"""Hugging Face encoders: from the hub, from a folder, or from the package that carries MiniLM."""

import hashlib
import importlib
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub.errors import HfHubHTTPError

from flat_dist.config.errors import UserError
from flat_dist.config.schema import ModelConfig
from flat_dist.config.serialization import content_hash
from flat_dist.data.hub import check_reachable
from flat_dist.data.wordpieces import WordPieces
from flat_dist.resources import assets

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from flat_dist.models.transformer import Transformer

HUB = {"bert": "bert-base-uncased", "deberta": "microsoft/deberta-base"}
"""Names on the hub (paper, Section 4: the base versions of both)."""

BUILT_IN = "minilm"
"""The encoder that a registry package carries: six layers of BERT's architecture, 22 million parameters."""

TRANSFORMERS = (*HUB, BUILT_IN, "encoder")
"""Names of models that are transformers; `encoder` is any other one."""

CODE = frozenset(
    (
        "auto_map",
        "custom_pipelines",
        "attn_implementation",
        "_attn_implementation",
        "_attn_implementation_internal",
        "experts_implementation",
        "quantization_config",
        "use_kernels",
        "kernel_config",
    )
)
"""Fields of an encoder's configuration that name code, or kernels on the hub, which `transformers` would load."""

TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model")
"""Files of a folder that a tokenizer can be made of."""

TOLERANCE = 1e-3
"""Largest difference of two ways to compute the same states, relative to the largest state."""


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
        raise UserError("--model.name encoder needs --model.encoder: a hub name, or a folder with config.json")
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
    """The config without a folder of this machine, which a checkpoint does not need."""
    return replace(config, encoder=None) if config.encoder and Path(config.encoder).is_dir() else config


def check(config: ModelConfig) -> None:
    """Raise UserError if an encoder cannot be used, before any work; weights of the hub are not fetched."""
    if config.name not in TRANSFORMERS:
        return
    if Path(source(config)).is_dir():
        pretrained(config, classes=2)
    else:
        _check_sizes(config, _pieces(config), getattr(settings(config), "vocab_size", None))


def settings(config: ModelConfig) -> Any:
    """The encoder's configuration, with the dropout that ours asks for.

    Raises:
        UserError: it cannot be had.
    """
    return _set_dropout(_load("AutoConfig", config), config.encoder_dropout)


def pretrained(config: ModelConfig, classes: int) -> tuple["Transformer", WordPieces]:
    """A classifier on pretrained weights, with a fresh output layer, and its tokenizer.

    Raises:
        UserError: the encoder cannot be had, or not be masked.
    """
    import torch  # a second, which names and settings of encoders do not need

    pieces = _pieces(config)
    options = {"config": settings(config), "dtype": torch.float32}
    backbone, loaded = _load("AutoModel", config, output_loading_info=True, **options)
    if lacking := [name for name in loaded["missing_keys"] if "pooler" not in name]:  # which fresh weights would fill
        raise UserError(
            f"{source(config)} lacks {len(lacking)} of the encoder's weights, such as {lacking[0]}: save all"
        )
    _check_sizes(config, pieces, backbone.get_input_embeddings().num_embeddings)
    _check_embeddings(backbone, pieces, source(config))
    return _classifier(config, backbone, pieces, classes), pieces


def _pieces(config: ModelConfig) -> WordPieces:
    name = source(config)
    folder = Path(name)
    if folder.is_dir() and not any(path.name in TOKENIZERS for path in folder.iterdir()):
        raise UserError(
            f"{name} has no tokenizer: save it beside the weights (tokenizer.save_pretrained writes tokenizer.json)"
        )
    tokenizer = _load("AutoTokenizer", config)
    if not isinstance(tokenizer, _library().PreTrainedTokenizerFast):
        raise UserError(f"{name} has no fast tokenizer: save one (tokenizer.json) beside its weights")
    try:
        return WordPieces.of(tokenizer)
    except ValueError as error:
        raise UserError(f"{name} cannot be used: {error}") from error


def _check_sizes(config: ModelConfig, pieces: WordPieces, embeddings: int | None) -> None:
    """Raise UserError if the tokenizer makes pieces that the encoder has no embedding of."""
    if embeddings is not None and pieces.largest >= embeddings:
        raise UserError(
            f"the tokenizer of {source(config)} has {pieces.largest + 1} pieces, the encoder {embeddings} embeddings: "
            "resize them (model.resize_token_embeddings(len(tokenizer))) and save both anew"
        )


def rebuild(config: ModelConfig, described: dict[str, Any], pieces: WordPieces, classes: int) -> "Transformer":
    """A classifier of the same architecture, for the weights of a checkpoint. No code but the library's own is run.

    Raises:
        UserError: the architecture is unknown, or asks for code of its own.
    """
    described = dict(described)
    if foreign := sorted(_names(described) & CODE):
        raise UserError(f"its encoder asks for code of its own ({', '.join(foreign)}), which is never run")
    kind = described.pop("model_type", None)
    if kind not in _library().CONFIG_MAPPING:
        raise UserError(f"its encoder is of the type {kind!r}, which transformers does not have")
    settings = _library().AutoConfig.for_model(kind, **described)
    return _classifier(config, _library().AutoModel.from_config(settings, trust_remote_code=False), pieces, classes)


def describe(model: "Transformer") -> dict[str, Any]:
    """What `rebuild` needs, as plain values; the same wherever the weights were read from."""
    values = json.loads(model.backbone.config.to_json_string(use_diff=False))
    return {name: value for name, value in values.items() if not name.startswith("_") and name not in CODE}


def _names(values: Any) -> set[str]:
    """Names of all fields of nested plain values."""
    inner = values.values() if isinstance(values, dict) else values if isinstance(values, list) else ()
    return set(values if isinstance(values, dict) else ()).union(*map(_names, inner))


def _library() -> Any:
    """`transformers`, which takes as long to import as all else, and which a model of whole words does without."""
    return importlib.import_module("transformers")


def _classifier(config: ModelConfig, backbone: "PreTrainedModel", pieces: WordPieces, classes: int) -> "Transformer":
    from flat_dist.models.transformer import Transformer

    return Transformer(config, backbone, (len(pieces.prefix), len(pieces.suffix)), classes)


def _load(kind: str, model: ModelConfig, **options: Any) -> Any:
    """What the library makes of a folder or a name, without code from there, and without asking for leave to run it."""
    name = source(model)
    local = Path(name).is_dir()
    try:
        if not local:
            try:
                check_reachable(name)
            except HfHubHTTPError:  # the hub has answered, with a no
                raise
            except OSError:
                local = True  # what an earlier run has left in the cache
        load = getattr(_library(), kind).from_pretrained
        return load(name, local_files_only=local, trust_remote_code=False, **options)
    except Exception as error:  # the library raises whatever its parsers make of a damaged or foreign file
        if "trust_remote_code" in str(error):
            raise UserError(
                f"the encoder {name!r} needs code of its own (auto_map in its config.json), which is never run: use "
                "one that transformers itself has"
            ) from error
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"cannot load the encoder {name!r} ({type(error).__name__}: {reason}): check name and connection, give its "
            f"folder with --model.encoder, or use --preset minilm, whose encoder comes with a registry package"
        ) from error


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
            found = backbone(inputs_embeds=embedded_BTD, attention_mask=mask_BT).last_hidden_state
    except (TypeError, ValueError, NotImplementedError, AttributeError) as error:
        raise UserError(
            f"{name} does not take word embeddings (inputs_embeds), so its words cannot be masked"
        ) from error
    if (found - expected).abs().max() > TOLERANCE * expected.abs().max():
        raise UserError(f"{name} makes more of a word than its embedding, so its words cannot be masked: use another")
