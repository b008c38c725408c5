"""Experiment tracking behind one interface: where a run is logged, or that it is not."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flat_dist.config.errors import UserError
from flat_dist.config.schema import Config
from flat_dist.config.serialization import content_hash
from flat_dist.storage.folder import Folder
from flat_dist.tracking import address
from flat_dist.tracking import database as databases
from flat_dist.tracking.client import MlflowTracker, explained, find_experiment, open_client
from flat_dist.tracking.outbox import Kept
from flat_dist.tracking.tracker import Destination, NoTracker, Tracker

LOCAL = "runs"
"""Where the SQLite file is if the storage is an object store, which cannot hold one."""

LONGEST_EXPERIMENT = 500
"""Characters in an experiment's name, at most: MLflow's limit."""


def database(storage: str) -> str:
    """URI of the SQLite file that runs are logged to when no server is named."""
    return address.uri_of(_beside(storage) / "mlflow.db")


def _beside(storage: str) -> Path:
    return (Folder(storage).local or Path(LOCAL)).absolute()


def check(config: Config) -> None:
    """Raise UserError if no run can be logged as the config says; asks no server, and opens no file."""
    tracking = config.tracking
    if tracking.uri is not None:
        address.check(tracking.uri)
    name = tracking.experiment
    if not name.strip() or not name.isprintable() or len(name) > LONGEST_EXPERIMENT:
        raise UserError(
            f"--tracking.experiment {name[:50]!r} is no name of an experiment: give 1 to {LONGEST_EXPERIMENT} "
            "printable characters"
        )


def reach(config: Config) -> None:
    """Raise UserError if the server or the database is not there, cannot be used, or its experiment is deleted.

    It is asked before any work, and changes nothing.
    """
    check(config)
    if not config.tracking.enabled:
        return
    where = destination(config, "", {})
    file = address.file_of(where.uri)
    if file is not None and config.tracking.uri:
        Folder(file.parent).check("--tracking.uri")
        databases.check_kind(file)
    with explained(where.uri):
        if file is None or databases.look(file) == databases.CURRENT:
            find_experiment(open_client(where.uri), where)


def destination(config: Config, run_name: str, parameters: Mapping[str, Any]) -> Destination:
    """Where a run is logged.

    Args:
        config: where to log, and what the run is on.
        run_name: name of the parent run.
        parameters: what the results depend on.

    Raises:
        UserError: MLflow cannot log there.
    """
    check(config)
    uri, artifacts = place(config.tracking.uri or database(config.storage))
    return Destination(
        uri=uri,
        artifacts=artifacts,
        experiment=config.tracking.experiment,
        run_name=run_name,
        parameters=_flat(parameters),
        hardware=config.hardware,
    )


def place(uri: str) -> tuple[str, str | None]:
    """An address with an absolute path in it, and where a new experiment's files go; None: the server knows."""
    file = address.file_of(uri)
    return (uri, None) if file is None else (address.uri_of(file), (file.parent / "mlartifacts").as_uri())


@contextmanager
def tracked(
    config: Config, run_name: str, parameters: Mapping[str, Any], folder: Folder, log_line: Callable[[str], None]
) -> Iterator[Tracker]:
    """A tracker that ends its runs with the status that the block ended with.

    What the server does not take is kept in the run's folder, and sent when it is back.

    Raises:
        UserError: MLflow cannot be used at the start.
    """
    if not config.tracking.enabled:
        yield NoTracker()
        return
    where = destination(config, run_name, parameters)
    tracker = Kept(MlflowTracker(where, log_line), where, folder, log_line)
    status = "KILLED"
    try:
        yield tracker
        status = "FINISHED"
    except Exception:
        status = "FAILED"
        raise
    finally:
        tracker.finish(status)


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {_key(f"{prefix}{key}"): value}
    return flat


def _key(name: str) -> str:
    """A parameter's name without the characters that MLflow refuses, and different for different names."""
    plain = re.sub(r"[^\w.\-: /]", "_", name)
    return name if plain == name else f"{plain}-{content_hash(name)[:4]}"
