"""Models as results of stages, and checkpoints of a user as such."""

import re
from dataclasses import dataclass
from typing import Any

from flat_dist.models import checkpoint as checkpoints
from flat_dist.storage.file_validation import DamagedFileError
from flat_dist.storage.folder import Folder
from flat_dist.storage.stage import Artifact, read_marker

NAME = re.compile(r"train-(?P<training>\w+)-(?P<round>\d+)-[0-9a-f]{16}", re.ASCII)
"""Folders of trained models. The name counts where no marker says training and round: in folders of versions before 3,
and in copies without the marker."""


@dataclass(frozen=True)
class ModelArtifact(Artifact):
    """A checkpoint, with the training behind it. The fingerprint is that of weights and description."""

    model_name: str = ""
    """The training kind (base, continued, adv, flat), or the user's name for the checkpoint."""
    round: int = 0
    """Rounds of adversarial training behind it; 0 where that is not known."""

    @property
    def label(self) -> str:
        """What was trained, and the round, for messages: base-0 also for the kinds of training that start from it."""
        trained = self.notes.get("training", self.model_name)
        return f"{trained}-{self.round}" if self.notes or self.round else self.model_name


def model_notes(training: str, round_number: int) -> dict[str, Any]:
    """What the stage of a training notes about its model."""
    return {"training": training, "round": round_number}


def from_stage(artifact: Artifact, model_name: str, round_number: int) -> ModelArtifact:
    """The model that a stage of a training left."""
    fingerprint = checkpoints.fingerprint(artifact.folder)
    return ModelArtifact(artifact.folder, fingerprint, artifact.notes, model_name, round_number)


def open_checkpoint(folder: Folder, name: str | None = None) -> ModelArtifact:
    """The checkpoint in a folder; without a name it is called by its training kind, or else as the folder is.

    Raises:
        UserError: the folder holds no checkpoint.
    """
    training, number = _training_of(folder)
    return ModelArtifact(
        folder, checkpoints.fingerprint(folder), model_name=name or training or folder.name, round=number
    )


def _training_of(folder: Folder) -> tuple[str, int]:
    """Training kind and round of a checkpoint that a run left; nothing and 0 of another."""
    try:
        notes = read_marker(folder).notes
    except (FileNotFoundError, DamagedFileError):
        notes = {}
    training, number = notes.get("training"), notes.get("round")
    if isinstance(training, str) and isinstance(number, int):
        return training, number
    named = NAME.fullmatch(folder.name)
    return (named["training"], int(named["round"])) if named else ("", 0)
