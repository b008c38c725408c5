"""The state of training at the end of an epoch, and its files."""

from collections import defaultdict
from dataclasses import dataclass, field

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from flat_dist.models.checkpoint_format import unshared
from flat_dist.storage.file_validation import DEFAULT_REMEDY, DamagedFileError
from flat_dist.storage.folder import Folder

History = list[dict[str, int | float]]
"""Metrics of each epoch."""


@dataclass
class TrainingState:
    """State of training at the end of an epoch, apart from the weights and the optimiser's moments."""

    epoch: int = 0
    best_epoch: int = 0
    best_accuracy: float = -1.0
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    history: History = field(default_factory=list)


MODEL, BEST, OPTIMIZER = "model.safetensors", "best.safetensors", "optimizer.safetensors"

STATE = "state.json"
"""Name of the file that is written last, with the hashes of the others."""


@dataclass(frozen=True)
class Saved:
    """Content of the file `STATE`."""

    epoch: int
    best_epoch: int
    best_accuracy: float
    history: History
    files: dict[str, str]
    """sha256 of each of the other files."""


def read_saved(folder: Folder) -> Saved:
    """Content of the file `STATE`, after checking the files that it lists.

    Raises:
        DamagedFileError: a file is missing or damaged.
    """
    try:
        saved: Saved = folder.read_json(STATE, Saved)
        complete = saved.files.keys() == {MODEL, BEST, OPTIMIZER} and all(
            folder.sha256(name) == digest for name, digest in saved.files.items()
        )
    except FileNotFoundError as error:
        raise DamagedFileError(f"a file of {folder.uri} is missing ({error}): {DEFAULT_REMEDY}") from error
    if not complete:
        raise DamagedFileError(f"a file of {folder.uri} is damaged: {DEFAULT_REMEDY}")
    return saved


def save_state(folder: Folder, model: nn.Module, optimizer: torch.optim.Optimizer, state: TrainingState) -> None:
    """Write the weights, the best weights so far, the optimiser's moments and the history."""
    moments = optimizer.state_dict()["state"]
    tensors = {
        MODEL: model.state_dict(),
        BEST: state.best_weights,
        OPTIMIZER: {f"{index}.{key}": value for index, values in moments.items() for key, value in values.items()},
    }
    files = {name: folder.write(name, save_tensors(unshared(values))) for name, values in tensors.items()}
    numbers = {name: getattr(state, name) for name in ("epoch", "best_epoch", "best_accuracy", "history")}
    folder.write_json(STATE, {**numbers, "files": files})


def restore_state(folder: Folder, model: nn.Module, optimizer: torch.optim.Optimizer) -> TrainingState:
    """Load what `save_state` wrote into a model and its optimiser.

    Raises:
        DamagedFileError: a file is missing or damaged; then nothing is changed.
    """
    saved = read_saved(folder)
    tensors = {name: load_tensors(folder.read(name)) for name in saved.files}
    model.load_state_dict(tensors[MODEL])
    moments: dict[int, dict[str, Tensor]] = defaultdict(dict)
    for name, value in tensors[OPTIMIZER].items():
        index, _, key = name.partition(".")
        moments[int(index)][key] = value
    optimizer.load_state_dict(optimizer.state_dict() | {"state": dict(moments)})
    return TrainingState(
        best_weights=tensors[BEST],
        epoch=saved.epoch,
        best_epoch=saved.best_epoch,
        best_accuracy=saved.best_accuracy,
        history=saved.history,
    )
