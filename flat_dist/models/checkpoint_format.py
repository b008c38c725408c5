"""The files of a checkpoint, checked: wrong content raises an error of one sentence.

This module builds no model, and runs no code that a file names.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors

from flat_dist.config.errors import UserError
from flat_dist.config.schema import Config, ModelConfig
from flat_dist.config.serialization import from_dict
from flat_dist.config.validation import validate
from flat_dist.storage.file_validation import DamagedFileError, parse_json
from flat_dist.storage.folder import Folder

FORMAT = "flat_dist.checkpoint/1"
WEIGHTS = "model.safetensors"
DESCRIPTION = "checkpoint.json"
FILES = (WEIGHTS, DESCRIPTION)
"""Files of a checkpoint."""

REMEDY = "copy the complete checkpoint again, or train it again"
"""What to do about a damaged checkpoint."""


@dataclass(frozen=True)
class Description:
    """Fields of checkpoint.json and their types."""

    model: dict[str, Any]
    masked: bool
    label_names: list[str]
    max_length: int
    vocabulary: list[str] | dict[str, Any]
    """Words; or word pieces; or the files of a classifier's own tokenizer, by name."""
    encoder: dict[str, Any] = field(default_factory=dict)
    """Configuration of a transformer's encoder, or of a classifier."""
    weights: str | None = None
    """sha256 of the weights' file; None in files of older versions."""


def read_description(folder: Folder) -> tuple[Description, ModelConfig]:
    """A checkpoint's description, and the config of its model.

    Raises:
        UserError: the folder has no checkpoint of this format.
        DamagedFileError: the description is damaged.
    """
    if not all(folder.exists(name) for name in FILES):
        raise UserError(
            f"{folder.uri} holds no checkpoint: it must contain {DESCRIPTION} and {WEIGHTS}, or a classifier of "
            "Hugging Face (config.json)"
        )
    data, place = folder.read(DESCRIPTION), folder.place(DESCRIPTION)
    found = parse_json(data, dict[str, Any], place, REMEDY).get("format")
    if found != FORMAT:
        raise UserError(f"{place} has format {found!r}, not {FORMAT!r}: {REMEDY}")
    described: Description = parse_json(data, Description, place, REMEDY)
    names = described.label_names
    if len(names) < 2 or len(set(names)) < len(names) or not all(names):
        raise damaged(folder, DESCRIPTION, f"label_names must be two or more different names, not {names}")
    if described.max_length < 1:
        raise damaged(folder, DESCRIPTION, f"max_length is {described.max_length}, but must be at least 1")
    try:
        config = from_dict(ModelConfig, described.model, "model")
        validate(Config(model=config))
    except UserError as error:
        raise damaged(folder, DESCRIPTION, str(error)) from error
    return described, config


def read_weights(folder: Folder, described: Description) -> dict[str, torch.Tensor]:
    """A checkpoint's tensors, by name.

    Raises:
        DamagedFileError: they do not match the expected hash, cannot be read, or are not finite.
    """
    data = folder.read(WEIGHTS)
    if described.weights is not None and hashlib.sha256(data).hexdigest() != described.weights:
        raise damaged(folder, WEIGHTS, f"its sha256 does not match the one in {DESCRIPTION}")
    try:
        tensors: dict[str, torch.Tensor] = load_tensors(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise damaged(folder, WEIGHTS, "it is empty" if not data else " ".join(str(error).split())) from error
    for name, tensor in sorted(tensors.items()):
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise damaged(folder, WEIGHTS, f"{name} has weights that are not finite")
    return tensors


def unshared(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors, of which no two share memory, as safetensors need it: some models have one weight in two places."""
    seen: set[int] = set()
    found = {}
    for name, tensor in tensors.items():
        place = tensor.untyped_storage().data_ptr()
        found[name] = tensor.clone() if place in seen else tensor
        seen.add(place)
    return found


def check_fit(folder: Folder, model: torch.nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """Raise DamagedFileError if the tensors do not fit a model: other names, shapes or types."""
    expected = model.state_dict()
    for name in sorted(expected.keys() - tensors.keys()):
        raise damaged(folder, WEIGHTS, f"it lacks {name}, which {DESCRIPTION} requires")
    for name in sorted(tensors.keys() - expected.keys()):
        raise damaged(folder, WEIGHTS, f"it holds {name}, which {DESCRIPTION} does not describe")
    for name, tensor in sorted(tensors.items()):
        if tensor.shape != expected[name].shape:
            shapes = [" x ".join(map(str, shape)) or "a number" for shape in (tensor.shape, expected[name].shape)]
            raise damaged(folder, WEIGHTS, f"{name} is {shapes[0]}, but {DESCRIPTION} requires {shapes[1]}")
        if tensor.is_floating_point() != expected[name].is_floating_point():
            raise damaged(folder, WEIGHTS, f"{name} has the type {tensor.dtype}, not {expected[name].dtype}")


def damaged(folder: Folder, name: str, reason: str) -> DamagedFileError:
    """The error for a damaged file of a checkpoint."""
    return DamagedFileError(f"{folder.place(name)} is damaged or foreign ({reason}): {REMEDY}")
