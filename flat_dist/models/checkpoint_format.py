"""The files of a checkpoint: what they must hold, so that one from anywhere is a model or one sentence.

Nothing here builds a model, or runs anything that a file names.
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
"""What a checkpoint consists of."""

REMEDY = "take a whole copy of the checkpoint, or train it again"
"""What to do about a damaged one."""


@dataclass(frozen=True)
class Description:
    """What a description must hold, and its types."""

    model: dict[str, Any]
    masked: bool
    label_names: list[str]
    max_length: int
    vocabulary: list[str] | dict[str, Any]
    encoder: dict[str, Any] = field(default_factory=dict)
    """How to build a transformer's encoder."""
    weights: str | None = None
    """sha256 of the file of the weights; older versions left it out."""


def read_description(folder: Folder) -> tuple[Description, ModelConfig]:
    """What a checkpoint says of itself, and its model's options.

    Raises:
        UserError: the folder holds no checkpoint of this format.
        DamagedFileError: the description is damaged.
    """
    if not all(folder.exists(name) for name in FILES):
        raise UserError(f"{folder.uri} holds no checkpoint: {DESCRIPTION} and {WEIGHTS} must be there")
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
        DamagedFileError: they are not those that were written, or not finite.
    """
    data = folder.read(WEIGHTS)
    if described.weights is not None and hashlib.sha256(data).hexdigest() != described.weights:
        raise damaged(folder, WEIGHTS, f"its sha256 is not the one in {DESCRIPTION}")
    try:
        tensors: dict[str, torch.Tensor] = load_tensors(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise damaged(folder, WEIGHTS, "it is empty" if not data else " ".join(str(error).split())) from error
    for name, tensor in sorted(tensors.items()):
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise damaged(folder, WEIGHTS, f"{name} has weights that are no finite numbers")
    return tensors


def check_fit(folder: Folder, model: torch.nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """Raise DamagedFileError if tensors are not those of a model."""
    wanted = model.state_dict()
    for name in sorted(wanted.keys() - tensors.keys()):
        raise damaged(folder, WEIGHTS, f"it lacks {name}, which {DESCRIPTION} asks for")
    for name in sorted(tensors.keys() - wanted.keys()):
        raise damaged(folder, WEIGHTS, f"it holds {name}, of which {DESCRIPTION} says nothing")
    for name, tensor in sorted(tensors.items()):
        if tensor.shape != wanted[name].shape:
            shapes = [" x ".join(map(str, shape)) or "a number" for shape in (tensor.shape, wanted[name].shape)]
            raise damaged(folder, WEIGHTS, f"{name} is {shapes[0]}, but by {DESCRIPTION} it is {shapes[1]}")
        if tensor.is_floating_point() != wanted[name].is_floating_point():
            raise damaged(folder, WEIGHTS, f"{name} is of the type {tensor.dtype}, not {wanted[name].dtype}")


def damaged(folder: Folder, name: str, reason: str) -> DamagedFileError:
    """The error to raise about a file of a checkpoint."""
    return DamagedFileError(f"{folder.place(name)} is damaged or foreign ({reason}): {REMEDY}")
