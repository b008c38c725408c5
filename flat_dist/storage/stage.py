"""Stages: folders named by a hash of their config and inputs, so that what is finished is found again.

A stage is finished when its marker, which is written last, is there, names the inputs that it was asked for, and every
file that it lists has the content that it had. What is damaged is made again, under the stage's lock, and said to be.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from flat_dist.config.serialization import content_hash
from flat_dist.storage.file_validation import DamagedFileError
from flat_dist.storage.folder import Folder

VERSION = 2
"""Raised when a change of the code makes the results of older stages wrong."""

DONE = "stage.json"
"""The marker of a stage; stages with a manifest of their own need none."""


def folder(storage: Folder, label: str, inputs: Mapping[str, Any]) -> Folder:
    """Where a stage with these inputs writes."""
    return storage / "stages" / f"{label}-{content_hash({'version': VERSION, **inputs})}"


@dataclass(frozen=True)
class Marker:
    """What a finished stage says of itself."""

    inputs: dict[str, Any]
    """What went into it."""
    files: dict[str, str]
    """sha256 of each file that it consists of."""
    notes: dict[str, Any] = field(default_factory=dict)
    """Said for people: nothing depends on it."""


def is_finished(target: Folder, inputs: Mapping[str, Any]) -> bool:
    """Whether a stage of these inputs is finished, and all of it is as it was; each file is read once in a process."""
    try:
        marker: Marker = target.read_json(DONE, Marker)
        return marker.inputs == _plain(inputs) and all(
            target.sha256(name) == digest for name, digest in marker.files.items()
        )
    except (FileNotFoundError, DamagedFileError):
        return False


def begin(target: Folder, inputs: Mapping[str, Any], log_line: Callable[[str], None]) -> bool:
    """Whether there is anything to do for a stage whose lock is held.

    If it was finished and is damaged, it is emptied first, and that is said. What an interrupted job left stays.
    """
    if is_finished(target, inputs):
        return False
    if target.exists(DONE):
        log_line(f"{target.uri} is damaged, or from an older version: it is made again")
        target.clear()
    return True


def commit(target: Folder, inputs: Mapping[str, Any], files: Sequence[str], **notes: Any) -> None:
    """Say that a stage is finished, and consists of these files."""
    hashes = {name: target.sha256(name) for name in files}
    target.write_json(DONE, asdict(Marker(_plain(inputs), hashes, notes)))
    target.clear_leftovers()


def _plain(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON gives them back."""
    plain: dict[str, Any] = json.loads(json.dumps(inputs))
    return plain
