"""Exports a model in the format that the user asks for."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from flat_dist.config.errors import UserError
from flat_dist.evaluation import served
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models.checkpoint import Checkpoint
from flat_dist.models.export import (
    check_exportable,
    requirements,
    why_not_transformers,
    write_folder,
    write_transformers,
)
from flat_dist.storage.folder import Folder
from flat_dist.tracking import served_model

Format = Literal["auto", "transformers", "folder", "mlflow"]


@dataclass(frozen=True)
class Exported:
    """What was written."""

    folder: str
    format: Format
    """Not auto."""
    label_names: tuple[str, ...]
    reason: str = ""
    """Why auto did not choose transformers."""


def export(checkpoint: Folder, to: Folder, form: Format = "auto") -> Exported:
    """Write a model into a folder, from which it can be used elsewhere.

    Args:
        checkpoint: folder of the model.
        to: a new or empty folder.
        form: transformers, folder or mlflow; auto: transformers where that is possible, else folder.

    Raises:
        UserError: there is no model, the format cannot hold it, or `to` is not empty or cannot be written.
    """
    to.check("--to")
    if to.names() or (to.local is not None and to.local.is_dir() and any(to.local.iterdir())):
        raise UserError(f"--to {to.uri} is not empty: name a new folder")
    loaded = checkpoints.load(checkpoint)
    check_exportable(loaded)
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory) / "model"
        reason = ""
        if form == "auto":
            reason = why_not_transformers(loaded)
            form = "folder" if reason else "transformers"
        if form == "mlflow":
            write_mlflow(loaded, place)
        else:
            place.mkdir()
            (write_transformers if form == "transformers" else write_folder)(loaded, place)
        put(place, to)
    return Exported(to.uri, form, loaded.label_names, reason)


def write_mlflow(checkpoint: Checkpoint, directory: Path) -> None:
    """Write a model as an MLflow model.

    Args:
        checkpoint: any model with weights.
        directory: a folder that does not exist.
    """
    names = served.columns(checkpoint.label_names)
    encoder = checkpoint.encoder
    interface = served_model.Interface(served.inputs(encoder), names[0], names[1:], served.example(encoder))
    with tempfile.TemporaryDirectory() as data:
        write_folder(checkpoint, Path(data))
        served_model.write(directory, served.MODULE, Path(data), interface, requirements())


def put(directory: Path, folder: Folder) -> None:
    """Copy a local folder, with all inside it, to another place; the file MLmodel last."""
    inside = sorted(directory.iterdir(), key=lambda path: (path.name == served_model.DESCRIPTION, path.name))
    for path in inside:
        if path.is_dir():
            put(path, folder / path.name)
    for path in inside:
        if path.is_file():
            folder.write(path.name, path.read_bytes())
