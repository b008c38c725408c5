"""Experiment tracking behind one interface: MLflow, or nothing.

Runs are addressed by id through `MlflowClient`, so that nothing depends on which run is active in a process.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flat_dist.config import Config, UserError
from flat_dist.data.storage import Folder


def database(storage: str) -> str:
    """URI of the SQLite file that runs are logged to when no server is named."""
    return f"sqlite:///{Path(storage).absolute() / 'mlflow.db'}"


class Tracker(ABC):
    """A parent run, with a child run for each kind of training."""

    @abstractmethod
    def metrics(self, child: str | None, values: Mapping[str, float | None], step: int = 0) -> None:
        """Log numbers to a child run, or to the parent when `child` is None; None values are left out."""

    @abstractmethod
    def artifacts(self, child: str | None, folder: Folder, path: str) -> None:
        """Log the files of a folder, under `path`, to a child run, or to the parent when `child` is None."""

    @abstractmethod
    def table(self, child: str | None, rows: Sequence[Mapping[str, Any]], path: str) -> None:
        """Log rows as a table that the UI shows and filters, unless it is there already."""

    @abstractmethod
    def finish(self, status: str) -> None:
        """End all runs: FINISHED, FAILED or KILLED."""


class NoTracker(Tracker):
    """Logs nothing."""

    def metrics(self, child: str | None, values: Mapping[str, float | None], step: int = 0) -> None:
        """Nothing."""

    def artifacts(self, child: str | None, folder: Folder, path: str) -> None:
        """Nothing."""

    def table(self, child: str | None, rows: Sequence[Mapping[str, Any]], path: str) -> None:
        """Nothing."""

    def finish(self, status: str) -> None:
        """Nothing."""


class MlflowTracker(Tracker):
    """Logs to MLflow. A run that is started again under its name goes on where it was.

    Args:
        config: where to log, and what the run is on.
        run_name: name of the parent run.
        parameters: what the results depend on; MLflow refuses a run that comes again with other ones.

    Raises:
        UserError: the tracking server cannot be reached.
    """

    def __init__(self, config: Config, run_name: str, parameters: Mapping[str, Any]):
        uri = config.tracking.uri or database(config.storage)
        artifacts = None if config.tracking.uri else (Path(config.storage).absolute() / "mlartifacts").as_uri()
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
        if uri.startswith("http"):  # say soon that a server is away, instead of trying for minutes
            os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
            os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        self.client = MlflowClient(tracking_uri=uri)
        try:
            experiment = self.client.get_experiment_by_name(config.tracking.experiment)
            self.experiment = (
                experiment.experiment_id
                if experiment
                else self.client.create_experiment(config.tracking.experiment, artifact_location=artifacts)
            )
        except MlflowException as error:
            raise UserError(
                f"MLflow cannot be reached at {uri} ({str(error).splitlines()[0]}): start it, name another with "
                "--tracking.uri, or run with --tracking.no-enabled"
            ) from error
        self.parent = self._start(run_name, {"mlflow.user": "flat_dist"})
        for key, value in _flat(parameters).items():
            self.client.log_param(self.parent, key, value)
        self.client.set_tag(self.parent, "hardware", config.hardware)
        self.children: dict[str, str] = {}
        self.run_name = run_name

    def _start(self, name: str, tags: Mapping[str, str]) -> str:
        known = self.client.search_runs(
            [self.experiment], f"attributes.run_name = '{name}'", max_results=1, order_by=["attributes.start_time DESC"]
        )
        if known:
            self.client.update_run(known[0].info.run_id, status="RUNNING")
            return known[0].info.run_id
        return self.client.create_run(self.experiment, run_name=name, tags=dict(tags)).info.run_id

    def _run(self, kind: str | None) -> str:
        if kind is None:
            return self.parent
        if kind not in self.children:
            tags = {"mlflow.parentRunId": self.parent, "kind": kind}
            self.children[kind] = self._start(f"{kind}-{self.run_name}", tags)
            self.client.log_param(self.children[kind], "kind", kind)
        return self.children[kind]

    def metrics(self, child: str | None, values: Mapping[str, float | None], step: int = 0) -> None:
        """Log numbers to a child run, or to the parent when `child` is None; None values are left out."""
        for name, value in values.items():
            if value is not None:
                self.client.log_metric(self._run(child), name, value, step=step)

    def artifacts(self, child: str | None, folder: Folder, path: str) -> None:
        """Log the files of a folder, under `path`, to a child run, or to the parent when `child` is None."""
        with folder.as_directory() as directory:
            self.client.log_artifacts(self._run(child), str(directory), path)

    def table(self, child: str | None, rows: Sequence[Mapping[str, Any]], path: str) -> None:
        """Log rows as a table that the UI shows and filters, unless it is there already."""
        run, folder = self._run(child), path.rpartition("/")[0]
        if rows and path not in (file.path for file in self.client.list_artifacts(run, folder)):
            self.client.log_table(run, {name: [row[name] for row in rows] for name in rows[0]}, path)

    def finish(self, status: str) -> None:
        """End all runs: FINISHED, FAILED or KILLED."""
        for run in (*self.children.values(), self.parent):
            self.client.set_terminated(run, status)


@contextmanager
def tracked(config: Config, run_name: str, parameters: Mapping[str, Any]) -> Iterator[Tracker]:
    """A tracker that ends its runs with the status that the block ended with.

    Raises:
        UserError: the tracking server cannot be reached.
    """
    tracker = MlflowTracker(config, run_name, parameters) if config.tracking.enabled else NoTracker()
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
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
