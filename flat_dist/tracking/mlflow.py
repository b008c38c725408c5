"""Experiment tracking behind one interface: MLflow, or nothing.

Runs are addressed by id through `MlflowClient`, so that nothing depends on which run is active in a process.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from flat_dist.config import Config, UserError
from flat_dist.data.storage import Folder
from flat_dist.tracking.pending import Destination, Kept, NoTracker, Operation, Tracker

LOCAL = "runs"
"""Where the SQLite file is if the storage is an object store, which cannot hold one."""


def database(storage: str) -> str:
    """URI of the SQLite file that runs are logged to when no server is named."""
    return f"sqlite:///{_beside(storage) / 'mlflow.db'}"


def _beside(storage: str) -> Path:
    return (Folder(storage).local or Path(LOCAL)).absolute()


def check(config: Config) -> None:
    """Raise UserError if the address of the tracking server holds credentials: it is printed, and stored."""
    if config.tracking.uri and "@" in urlsplit(config.tracking.uri).netloc:
        raise UserError(
            "--tracking.uri holds a password or a token: leave it out, and set MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
        )


def destination(config: Config, run_name: str, parameters: Mapping[str, Any]) -> Destination:
    """Where a run is logged.

    Args:
        config: where to log, and what the run is on.
        run_name: name of the parent run.
        parameters: what the results depend on.
    """
    check(config)
    own = config.tracking.uri is None
    return Destination(
        uri=config.tracking.uri or database(config.storage),
        experiment=config.tracking.experiment,
        artifacts=(_beside(config.storage) / "mlartifacts").as_uri() if own else None,
        run_name=run_name,
        parameters=_flat(parameters),
        hardware=config.hardware,
    )


class MlflowTracker(Tracker):
    """Logs to MLflow. A run that is started again under its name goes on where it was.

    Args:
        where: the server, and the run; MLflow refuses a run that comes again with other parameters.

    Raises:
        UserError: the tracking server cannot be reached.
    """

    def __init__(self, where: Destination):
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
        if where.uri.startswith("http"):  # say soon that a server is away, instead of trying for minutes
            os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
            os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        self.client = MlflowClient(tracking_uri=where.uri)
        try:
            experiment = self.client.get_experiment_by_name(where.experiment)
            self.experiment = (
                experiment.experiment_id
                if experiment
                else self.client.create_experiment(where.experiment, artifact_location=where.artifacts)
            )
        except MlflowException as error:
            raise UserError(
                f"MLflow cannot be reached at {where.uri} ({str(error).splitlines()[0]}): start it, name another with "
                "--tracking.uri, or run with --tracking.no-enabled"
            ) from error
        self.parent = self._start(where.run_name, {"mlflow.user": "flat_dist"})
        self._log_parameters(self.parent, where.parameters)
        self.client.set_tag(self.parent, "hardware", where.hardware)
        self.children: dict[str, str] = {}
        self.ended: set[str] = set()
        self.run_name = where.run_name

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

    def log(self, operation: Operation) -> None:
        """Carry out an operation; one that was carried out already changes nothing."""
        getattr(self, f"_log_{operation.kind}")(self._run(operation.child), **operation.arguments)

    def _log_parameters(self, run: str, values: Mapping[str, Any]) -> None:
        for key, value in values.items():
            self.client.log_param(run, key, value)

    def _log_metrics(self, run: str, values: Mapping[str, float], step: int, timestamp: int) -> None:
        from mlflow.entities import Metric

        # The store knows a metric by its time, too, and takes none twice.
        self.client.log_batch(run, [Metric(name, value, timestamp, step) for name, value in values.items()])

    def _log_artifacts(self, run: str, folder: str, path: str) -> None:
        with Folder(folder).as_directory() as directory:
            self.client.log_artifacts(run, str(directory), path)

    def _log_artifact(self, run: str, folder: str, name: str, path: str) -> None:
        self.client.log_text(run, Folder(folder).read(name).decode(), f"{path}/{name}")

    def _log_table(self, run: str, rows: Sequence[Mapping[str, Any]], path: str) -> None:
        folder = path.rpartition("/")[0]
        if rows and path not in (file.path for file in self.client.list_artifacts(run, folder)):
            self.client.log_table(run, {name: [row[name] for row in rows] for name in rows[0]}, path)

    def _log_end(self, run: str, status: str, tags: Mapping[str, str]) -> None:
        for key, value in tags.items():
            self.client.set_tag(run, key, value)
        self.client.set_terminated(run, status)
        self.ended.add(run)

    def _log_finish(self, run: str, status: str) -> None:
        for one in (*self.children.values(), run):
            if one not in self.ended:
                self.client.set_terminated(one, status)


@contextmanager
def tracked(
    config: Config, run_name: str, parameters: Mapping[str, Any], folder: Folder, say: Callable[[str], None]
) -> Iterator[Tracker]:
    """A tracker that ends its runs with the status that the block ended with.

    What the server does not take is kept in the run's folder, and sent when it is back.

    Raises:
        UserError: the tracking server cannot be reached at the start.
    """
    if not config.tracking.enabled:
        yield NoTracker()
        return
    where = destination(config, run_name, parameters)
    tracker = Kept(MlflowTracker(where), where, folder, say)
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
