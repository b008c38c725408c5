"""Loads Hugging Face encoders and tokenizers from the hub or a folder, and never runs code from there."""

import importlib
import textwrap
from pathlib import Path
from typing import Any

from huggingface_hub.errors import HfHubHTTPError

from flat_dist.config.errors import UserError, first_line
from flat_dist.data.hub import check_reachable
from flat_dist.data.wordpieces import WordPieces

CODE_FIELDS = frozenset(
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
"""Fields of an encoder's configuration that name code or kernels, which `transformers` would load."""

TOKENIZER_FILES = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
)
"""Files from which a tokenizer can be built."""


def library() -> Any:
    """The library `transformers`: its import is slow, and models of whole words do not need it."""
    return importlib.import_module("transformers")


REMEDY = (
    "check its name and the connection, give its folder with --model.encoder, or use --preset minilm, whose encoder is "
    "installed from a package"
)
"""What to do about an encoder that cannot be loaded."""


def load(kind: str, name: str, *, what: str = "encoder", remedy: str = REMEDY, **options: Any) -> Any:
    """Load a configuration, tokenizer or model; code that comes with it is never run.

    Args:
        kind: class of the library, such as AutoModel.
        name: folder, or name on the hub.
        what: what it is called in messages.
        remedy: what to do if it cannot be loaded, for messages.
        options: of `from_pretrained`.

    Raises:
        UserError: it is unavailable or damaged, or needs its own code.
    """
    local = Path(name).is_dir()
    try:
        if not local:
            try:
                check_reachable(name)
            except HfHubHTTPError:  # the hub answers, with an error
                raise
            except OSError:
                local = True  # use the cache
        from_pretrained = getattr(library(), kind).from_pretrained
        return from_pretrained(name, local_files_only=local, trust_remote_code=False, **options)
    except Exception as error:  # a damaged file can raise any error
        if "trust_remote_code" in str(error):
            raise UserError(
                f"the {what} {name!r} needs its own code (auto_map in its config.json), which is never run: use one "
                "that is part of transformers"
            ) from error
        reason = textwrap.shorten(first_line(error), 200, placeholder=" …")
        raise UserError(f"cannot load the {what} {name!r} ({type(error).__name__}: {reason}): {remedy}") from error


def load_tokenizer(name: str, pairs: bool = False) -> WordPieces:
    """The tokenizer of an encoder, for single texts or for pairs of sentences.

    Raises:
        UserError: it is missing, unavailable or unsupported.
    """
    folder = Path(name)
    if folder.is_dir() and not any(path.name in TOKENIZER_FILES for path in folder.iterdir()):
        raise UserError(
            f"{name} has no tokenizer: save it beside the weights (tokenizer.save_pretrained writes tokenizer.json)"
        )
    tokenizer = load("AutoTokenizer", name)
    if not isinstance(tokenizer, library().PreTrainedTokenizerFast):
        raise UserError(f"{name} has no fast tokenizer: save one (tokenizer.json) beside its weights")
    try:
        return WordPieces.from_tokenizer(tokenizer, pairs)
    except ValueError as error:
        raise UserError(f"{name} cannot be used: {error}") from error


def field_names(values: Any) -> set[str]:
    """Names of all fields of nested plain values."""
    inner = values.values() if isinstance(values, dict) else values if isinstance(values, list) else ()
    return set(values if isinstance(values, dict) else ()).union(*map(field_names, inner))
