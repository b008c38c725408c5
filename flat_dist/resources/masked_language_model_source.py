"""Where the masked language model of an attack is from: the stand-in, a folder of the user, or the hub."""

import functools
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from flat_dist.config.errors import UserError, first_line
from flat_dist.resources.assets import Assets
from flat_dist.storage import durable

ORIGINALS = ("bert-base-uncased", "distilroberta-base")
"""Names on the hub of the models that TextAttack's recipes use."""

KINDS = ("bert", "electra", "longformer", "roberta")
"""Kinds of models of which TextAttack 0.3.11 can tell words from pieces of words, and which fill gaps."""

DOWNLOADED = ("*.json", "*.txt", "model.safetensors")

GIVE = "a folder of a masked language model, as save_pretrained of transformers writes it with its tokenizer"


class MaskedLanguageModel(NamedTuple):
    """A model and its tokenizer, of the library `transformers`."""

    model: Any
    tokenizer: Any


def load(folder: Path) -> MaskedLanguageModel:
    """The model in a folder, in evaluation mode; code that comes with it is never run.

    Raises:
        UserError: it cannot be read, does not fill gaps, or TextAttack cannot use it.
    """
    from transformers import AutoModelForMaskedLM, AutoTokenizer, PreTrainedTokenizerFast

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            str(folder), use_fast=True, local_files_only=True, trust_remote_code=False
        )
        model, info = AutoModelForMaskedLM.from_pretrained(
            str(folder), output_loading_info=True, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # a damaged file can raise any error
        raise UserError(
            f"the masked language model in {folder} cannot be loaded ({type(error).__name__}: {first_line(error)}): "
            f"give {GIVE}"
        ) from error
    if info["missing_keys"]:
        raise UserError(
            f"{folder} has no weights for {', '.join(sorted(info['missing_keys'])[:3])}, so its model cannot fill "
            f"gaps: give {GIVE}"
        )
    if model.config.model_type not in KINDS:
        raise UserError(
            f"TextAttack cannot use the {model.config.model_type} model in {folder}: give one of the kinds "
            f"{', '.join(KINDS)}"
        )
    if not isinstance(tokenizer, PreTrainedTokenizerFast) or tokenizer.mask_token is None:
        raise UserError(f"the tokenizer in {folder} is not a fast one with a mask token: give {GIVE}")
    return MaskedLanguageModel(model.eval(), tokenizer)


def tiny(assets: Assets) -> MaskedLanguageModel:
    """A model of random weights that is made at once, for attacks that are only looked at."""
    from transformers import AutoTokenizer, BertConfig, BertForMaskedLM

    tokenizer = AutoTokenizer.from_pretrained(str(assets.minilm), local_files_only=True, trust_remote_code=False)
    sizes = {"hidden_size": 2, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 2}
    return MaskedLanguageModel(BertForMaskedLM(BertConfig(vocab_size=len(tokenizer), **sizes)).eval(), tokenizer)


def describe_folder(folder: Path) -> dict[str, str]:
    """The provenance of a folder of the user.

    Raises:
        UserError: its model cannot be used.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is a file: give {GIVE}")
    digest = hash_of({one.name: one for one in sorted(folder.iterdir()) if one.is_file()})
    _check(folder, digest)
    return {"source": "user", "sha256": digest, "detail": folder.name}


@functools.cache
def _check(folder: Path, digest: str) -> None:
    load(folder)


def hash_of(files: Mapping[str, Path]) -> str:
    """sha256 of the names and the contents of files.

    Raises:
        UserError: one cannot be read.
    """
    try:
        hashes = {name: durable.sha256(path) for name, path in files.items()}
    except OSError as error:
        raise UserError(f"{error.filename} cannot be read ({error.strerror}): allow access") from error
    return hashlib.sha256(json.dumps(hashes).encode()).hexdigest()


@functools.cache
def download(name: str) -> Path:
    """The folder of one of `ORIGINALS` from the Hugging Face hub, or from its cache.

    Raises:
        UserError: neither has it.
    """
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=list(DOWNLOADED)))
    except Exception as error:  # without network, many kinds of errors
        raise UserError(
            f"the masked language model {name} cannot be downloaded from the Hugging Face hub "
            f"({type(error).__name__}: {first_line(error)}): leave out --attack.resources "
            f"masked_language_model=original to use the stand-in, or give {GIVE}"
        ) from error


def downloaded() -> list[Path]:
    """The folders of `ORIGINALS` in the cache of the Hugging Face libraries; empty if one is missing."""
    from huggingface_hub import try_to_load_from_cache

    found = [try_to_load_from_cache(name, "model.safetensors") for name in ORIGINALS]
    folders = [Path(file).parent for file in found if isinstance(file, str)]
    return folders if len(folders) == len(ORIGINALS) else []


def describe_originals() -> dict[str, str]:
    """The provenance of the models of the hub.

    Raises:
        UserError: they cannot be downloaded.
    """
    files = {f"{name}/{one.name}": one for name in ORIGINALS for one in sorted(download(name).iterdir())}
    return {"source": "original", "sha256": hash_of(files), "detail": ", ".join(ORIGINALS)}
