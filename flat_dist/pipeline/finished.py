"""Runs that have ended: the same command prints their results again, and starts neither Ray nor MLflow.

The record of a run lists its stages, its own files, and where it was logged. It counts as long as all of them are there
and undamaged. Otherwise the run goes through its stages again, which repairs what is missing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

from flat_dist.config.schema import Config
from flat_dist.config.serialization import to_dict
from flat_dist.pipeline import run_folder
from flat_dist.runtime import cluster_address, hardware
from flat_dist.storage.file_validation import DamagedFileError
from flat_dist.storage.folder import Folder
from flat_dist.storage.stage import STAGES, is_intact
from flat_dist.tracking import address, outbox
from flat_dist.tracking.mlflow import database

FILE, PACKAGE = "finished.json", "flat_dist"
PARTS = ("cards", "report", "report/figures")
"""Folders of a run's own files, besides its folder itself."""


@dataclass(frozen=True)
class FinishedRun:
    """What was there when a run ended."""

    version: str
    """Of this package."""
    stages: Mapping[str, str]
    """Fingerprint of each stage's result, by the name of its folder."""
    files: Mapping[str, Mapping[str, str]]
    """sha256 of the run's own files, by folder and name."""
    tracking: Mapping[str, Any]
    """Settings of tracking: where the run was logged."""
    hints: Sequence[str]
    """What was printed below the table."""


def record(folder: Folder, config: Config, stages: Mapping[str, str], hints: Sequence[str]) -> None:
    """Record that a run has ended, unless MLflow has yet to take a part of it.

    Args:
        folder: of the run.
        config: of the run.
        stages: fingerprint of each stage's result, by the name of its folder.
        hints: what is printed below the table.
    """
    if folder.exists(outbox.FILE):
        return
    files = {part: {name: one.sha256(name) for name in one.names() if name != FILE} for part, one in _parts(folder)}
    ended = FinishedRun(metadata.version(PACKAGE), stages, files, _tracking(config), hints)
    folder.write_json(FILE, asdict(ended))


def find(config: Config, fingerprint: str) -> tuple[Config, Folder, FinishedRun] | None:
    """A run of this config on this machine that has ended, and of which nothing is missing or damaged.

    Args:
        config: of the run.
        fingerprint: of its dataset.

    Returns:
        The config with hardware resolved, the run's folder, and what was recorded; None if the run has work to do.
    """
    if config.profile or cluster_address.find():  # a cluster may have other hardware
        return None
    config, _ = hardware.resolve(config, hardware.detect())
    settings = run_folder.identity(config, fingerprint)
    run_folder.check(config, settings)
    folder = Folder(config.storage) / run_folder.run_name(config, settings)
    try:
        ended: FinishedRun = folder.read_json(FILE, FinishedRun)
        intact = _is_current(ended, config, folder) and _is_intact(ended, config, folder)
    except (FileNotFoundError, DamagedFileError):
        return None
    return (config, folder, ended) if intact else None


def _is_current(ended: FinishedRun, config: Config, folder: Folder) -> bool:
    """Whether this version of the package wrote the record, and the run was logged where it shall be."""
    file = address.file_of(config.tracking.uri or database(config.storage))
    logged = not config.tracking.enabled or file is None or file.is_file()
    return (
        ended.version == metadata.version(PACKAGE)
        and ended.tracking == _tracking(config)
        and logged
        and not folder.exists(outbox.FILE)
    )


def _is_intact(ended: FinishedRun, config: Config, folder: Folder) -> bool:
    parts = dict(_parts(folder))
    own = all(parts[part].sha256(name) == known for part, files in ended.files.items() for name, known in files.items())
    stages = Folder(config.storage) / STAGES
    return own and all(is_intact(stages / name, fingerprint) for name, fingerprint in ended.stages.items())


def _parts(folder: Folder) -> Iterator[tuple[str, Folder]]:
    yield "", folder
    for part in PARTS:
        inner = folder
        for name in part.split("/"):
            inner = inner / name
        yield part, inner


def _tracking(config: Config) -> Mapping[str, Any]:
    tracking: Mapping[str, Any] = to_dict(config)["tracking"]
    return tracking
