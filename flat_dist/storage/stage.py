"""Stages: the steps of a run, each of which fills a folder that is named by a hash of what its result depends on.

A stage whose folder is complete is not run again. So running the same command again is how anything resumes, and runs
that share a stage share its result. Marin's executor (a step is a name, a hash of its fields, and its dependencies) is
the model.

A folder is complete when its marker, which is written last, is there, names the same inputs, and every file that it
lists has the recorded content. A damaged folder is filled again, and a message says so.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from typing import Any, Generic, TypeVar

from flat_dist.config.serialization import content_hash
from flat_dist.storage.file_validation import DamagedFileError
from flat_dist.storage.folder import Folder
from flat_dist.storage.lock import exclusive_lock

VERSION = 3
"""Raised when a change of the code makes the results of older stages wrong."""

MARKER = "stage.json"
STAGES = "stages"
"""Name of the folder of all stages in a storage."""


@dataclass(frozen=True)
class Marker:
    """The file that a complete stage ends with."""

    inputs: dict[str, Any]
    """What the result depends on."""
    files: dict[str, str]
    """sha256 of each file of the result."""
    records: dict[str, str] = field(default_factory=dict)
    """sha256 of each file that says how it was made."""
    notes: dict[str, Any] = field(default_factory=dict)
    """What the stage says about its result."""


@dataclass(frozen=True)
class Output:
    """What a stage has written into its folder."""

    files: Sequence[str]
    """Names of the files that make up the result."""
    records: Sequence[str] = ()
    """Names of files that say how it was made, such as timings: no part of the result's fingerprint."""
    notes: Mapping[str, Any] = field(default_factory=dict)
    """Plain values about it, kept in the marker."""
    after_commit: Callable[[], None] = lambda: None
    """Removes what only an interrupted stage needs."""


@dataclass(frozen=True)
class Artifact:
    """The result of a stage."""

    folder: Folder
    fingerprint: str
    """Sixteen hexadecimal digits that depend on the content of its files alone."""
    notes: Mapping[str, Any] = field(default_factory=dict, compare=False)


def _fill_nothing(folder: Folder) -> Output:
    raise NotImplementedError("this stage is filled together with others")


def _log_nothing(artifact: Artifact) -> None:
    pass


@dataclass(frozen=True, kw_only=True, eq=False)
class Stage:
    """One step of a run."""

    name: str
    """First part of the folder's name, such as train-flat-2."""
    title: str
    """What it does, for messages."""
    inputs: Mapping[str, Any]
    """All that decides the result, as plain values."""
    fill: Callable[[Folder], Output] = _fill_nothing
    """Writes the result into the stage's folder. What an interrupted call left may be there."""
    log: Callable[[Artifact], None] = _log_nothing
    """Logs the result; called each time the stage is asked for, so that a resumed run logs all of it."""
    keep_damaged: bool = False
    """Whether `fill` itself finds out which parts of a damaged folder are intact; otherwise the folder is emptied."""

    def folder(self, storage: Folder) -> Folder:
        """Where the stage writes in a storage."""
        name = self.name.replace(":", "-")  # of an attack of the user
        return storage / STAGES / f"{name}-{content_hash({'version': VERSION, **self.inputs})}"


S = TypeVar("S", bound=Stage)


@dataclass(frozen=True, eq=False)
class OpenStage(Generic[S]):
    """A stage that is to be filled, and whose lock this process holds."""

    stage: S
    folder: Folder

    def fill(self) -> None:
        """Fill the folder by itself, and commit it."""
        self.commit(self.stage.fill(self.folder))

    def commit(self, output: Output) -> None:
        """Declare the folder complete."""
        files, records = (
            {name: self.folder.sha256(name) for name in names} for names in (output.files, output.records)
        )
        marker = Marker(_plain(self.stage.inputs), files, records, _plain(output.notes))
        self.folder.write_json(MARKER, asdict(marker))
        self.folder.clear_leftovers()
        output.after_commit()


def _fill_one_by_one(opened: Sequence[OpenStage[Any]]) -> None:
    for each in opened:
        each.fill()


@dataclass(frozen=True)
class Executor:
    """Runs stages: finds complete ones, locks the others, fills and commits them, and logs all.

    Args:
        storage: folder of all stages.
        log_line: prints a message.
    """

    storage: Folder
    log_line: Callable[[str], None] = print
    used: dict[str, str] = field(default_factory=dict)
    """Fingerprint of each result so far, by the name of its folder."""

    def run(self, stage: Stage) -> Artifact:
        """The result of a stage, which is run if it is not complete."""
        return self.run_all([stage])[0]

    def run_all(
        self, stages: Sequence[S], fill: Callable[[Sequence[OpenStage[S]]], None] = _fill_one_by_one
    ) -> list[Artifact]:
        """The results of stages that are filled together.

        Args:
            stages: may hold one of the same inputs twice, which is run once.
            fill: fills those that are not complete, and commits each as soon as it is.

        Raises:
            RuntimeError: `fill` left a stage uncommitted.
        """
        folders = [stage.folder(self.storage) for stage in stages]
        distinct: dict[str, OpenStage[S]] = {}
        for stage, folder in zip(stages, folders, strict=True):
            distinct.setdefault(folder.uri, OpenStage(stage, folder))
        missing = [opened for _, opened in sorted(distinct.items()) if _artifact(opened) is None]
        with ExitStack() as locks:
            for opened in missing:  # in the order of their names, so that no two drivers wait for each other
                locks.enter_context(exclusive_lock(opened.folder, opened.stage.title, self.log_line))
            todo = [opened for opened in missing if self._prepare(opened)]
            if todo:
                fill(todo)
        results = {uri: _artifact(opened) for uri, opened in distinct.items()}
        artifacts = []
        for stage, folder in zip(stages, folders, strict=True):
            artifact = results[folder.uri]
            if artifact is None:
                raise RuntimeError(f"{stage.title}: {folder.uri} is not complete")
            self.used[folder.name] = artifact.fingerprint
            stage.log(artifact)
            artifacts.append(artifact)
        return artifacts

    def _prepare(self, opened: OpenStage[Any]) -> bool:
        """Whether a locked stage is to be filled: another driver may have done it while this one waited."""
        if _artifact(opened) is not None:
            return False
        folder = opened.folder
        if folder.exists(MARKER):
            self.log_line(f"{folder.uri} is damaged, or was written by an older version: it is filled again")
            if opened.stage.keep_damaged:
                folder.delete(MARKER)
            else:
                folder.clear()
        return True


def read_marker(folder: Folder) -> Marker:
    """The marker of a complete stage.

    Raises:
        FileNotFoundError: there is none.
        DamagedFileError: it is damaged.
    """
    marker: Marker = folder.read_json(MARKER, Marker)
    return marker


def _artifact(opened: OpenStage[Any]) -> Artifact | None:
    """The result of a stage; None if it is not complete. A process reads each file once."""
    folder = opened.folder
    try:
        marker = read_marker(folder)
        complete = marker.inputs == _plain(opened.stage.inputs) and _has_all_files(folder, marker)
    except (FileNotFoundError, DamagedFileError):
        return None
    return Artifact(folder, content_hash(marker.files), marker.notes) if complete else None


def is_intact(folder: Folder, fingerprint: str) -> bool:
    """Whether a folder has the complete result of a stage, with this fingerprint.

    Raises:
        FileNotFoundError: its marker, or a file, is missing.
        DamagedFileError: its marker is damaged.
    """
    marker = read_marker(folder)
    return content_hash(marker.files) == fingerprint and _has_all_files(folder, marker)


def _has_all_files(folder: Folder, marker: Marker) -> bool:
    return all(folder.sha256(name) == digest for name, digest in (marker.files | marker.records).items())


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values as JSON returns them."""
    plain: dict[str, Any] = json.loads(json.dumps(values))
    return plain
