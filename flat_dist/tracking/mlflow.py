"""Starts tracking: decides where a run is logged, and whether it is."""

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
from flat_dist.tracking.client import find_experiment, open_client, translate_errors
from flat_dist.tracking.mlflow_tracker import MlflowTracker
from flat_dist.tracking.outbox import BufferedTracker, Outbox
from flat_dist.tracking.tracker import Destination, NoTracker, Tracker

LOCAL = "runs"
"""Folder of the SQLite file if the storage is an object store, which cannot hold one."""

MAX_EXPERIMENT_LENGTH = 500
"""Characters in the name of an experiment: MLflow's limit."""


def database(storage: str) -> str:
    """URI of the SQLite file that runs are logged to by default."""
    return address.uri_of(_local_folder(storage) / "mlflow.db")


def _local_folder(storage: str) -> Path:
    return (Folder(storage).local or Path(LOCAL)).absolute()


def check(config: Config) -> None:
    """Raise UserError if the config's tracking settings are invalid. Opens no file and no connection."""
    tracking = config.tracking
    if tracking.uri is not None:
        address.check(tracking.uri)
    name = tracking.experiment
    if not name.strip() or not name.isprintable() or len(name) > MAX_EXPERIMENT_LENGTH:
        raise UserError(
            f"--tracking.experiment {name[:50]!r} is not a valid name: give 1 to "
            f"{MAX_EXPERIMENT_LENGTH} printable characters"
        )


def check_server(config: Config) -> None:
    """Check the server or the database before any work. Changes nothing.

    Raises:
        UserError: it is unavailable, cannot be used, or the experiment is deleted.
    """
    check(config)
    if not config.tracking.enabled:
        return
    target = destination(config, "", {})
    file = address.file_of(target.uri)
    if file is not None and config.tracking.uri:
        Folder(file.parent).check("--tracking.uri")
        databases.check_is_database(file)
    with translate_errors(target.uri):
        if file is None or databases.state_of(file) == databases.CURRENT:
            find_experiment(open_client(target.uri), target)


def destination(config: Config, run_name: str, parameters: Mapping[str, Any]) -> Destination:
    """Where a run is logged.

    Args:
        config: where to log, and the hardware.
        run_name: name of the parent run.
        parameters: what the results depend on.

    Raises:
        UserError: MLflow cannot log there.
    """
    check(config)
    uri, artifacts = absolute_address(config.tracking.uri or database(config.storage))
    return Destination(
        uri=uri,
        artifacts=artifacts,
        experiment=config.tracking.experiment,
        run_name=run_name,
        parameters=_flatten(parameters),
        hardware=config.hardware,
    )


def absolute_address(uri: str) -> tuple[str, str | None]:
    """An address with an absolute path, and the folder of a new experiment's files; None: the server decides."""
    file = address.file_of(uri)
    return (uri, None) if file is None else (address.uri_of(file), (file.parent / "mlartifacts").as_uri())


@contextmanager
def tracked(
    config: Config, run_name: str, parameters: Mapping[str, Any], folder: Folder, log_line: Callable[[str], None]
) -> Iterator[Tracker]:
    """A tracker that ends its runs with the status of the block.

    While the server is unavailable, operations are kept in the run's folder. They are sent when it is back.

    Raises:
        UserError: MLflow cannot be used at the start.
    """
    if not config.tracking.enabled:
        yield NoTracker()
        return
    target = destination(config, run_name, parameters)
    tracker = BufferedTracker(MlflowTracker.start(target, log_line), Outbox.open(folder, target, log_line), log_line)
    status = "KILLED"
    try:
        yield tracker
        status = "FINISHED"
    except Exception:
        status = "FAILED"
        raise
    finally:
        tracker.finish(status)


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {_key(f"{prefix}{key}"): value}
    return flat


def _key(name: str) -> str:
    """A unique parameter name without the characters that MLflow rejects."""
    plain = re.sub(r"[^\w.\-: /]", "_", name)
    return name if plain == name else f"{plain}-{content_hash(name)[:4]}"
