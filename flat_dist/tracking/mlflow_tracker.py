"""Runs in MLflow.

Runs are addressed by id through `MlflowClient`, so that the active run of a process does not matter.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flat_dist.config.errors import UserError
from flat_dist.storage.folder import Folder
from flat_dist.tracking import address
from flat_dist.tracking import database as databases
from flat_dist.tracking.client import check_id, find_experiment, open_client, translate_errors
from flat_dist.tracking.outbox import UnreadableError
from flat_dist.tracking.tracker import Destination, Operation, Tracker

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

PARENT_TAG = "mlflow.parentRunId"
"""Tag of a child run that names its parent."""

MAX_PARAMETERS = 100
"""Parameters in one request: MLflow's limit."""


class MlflowTracker(Tracker):
    """Logs to MLflow. A run with a name that exists already is continued.

    Attributes:
        experiment: id of the experiment.
        parent: id of the parent run.
        children: ids of the child runs, by name.
        continued: ids of the runs that existed before.
        latest: the latest value of each metric at each step, by run and name: a value is logged once at a step.
    """

    def __init__(self, client: "MlflowClient", experiment: str, run_name: str):
        self.client, self.experiment, self.run_name = client, experiment, run_name
        self.parent = ""
        self.children: dict[str, str] = {}
        self.ended: set[str] = set()
        self.continued: set[str] = set()
        self.latest: dict[tuple[str, str], dict[int, float]] = {}

    @classmethod
    def start(cls, destination: Destination, log_line: Callable[[str], None]) -> "MlflowTracker":
        """Connect, and start or continue the parent run.

        Args:
            destination: the server, at a checked address, and the run.
            log_line: prints a line.

        Raises:
            UserError: the server or the database cannot be used, the experiment is deleted, or a run of this name has
                other parameters.
        """
        with translate_errors(destination.uri):
            if (file := address.file_of(destination.uri)) is not None:
                databases.prepare(file, log_line)
            client = open_client(destination.uri)
            tracker = cls(client, _open_experiment(client, destination), destination.run_name)
            tags = {"mlflow.user": "flat_dist"}
            tracker.parent = tracker._start_run(destination.run_name, None, tags, destination.parameters)
            client.set_tag(tracker.parent, "hardware", destination.hardware, synchronous=True)
        return tracker

    def log(self, operation: Operation) -> None:
        """Carry out an operation. Repeating one changes nothing."""
        getattr(self, f"_log_{operation.kind}")(self._run_id(operation.child), **operation.arguments)

    def _run_id(self, child: str | None) -> str:
        if child is None:
            return self.parent
        if child not in self.children:
            name = f"{child}-{self.run_name}"
            self.children[child] = self._start_run(name, self.parent, {"kind": child}, {"kind": child})
        return self.children[child]

    def _start_run(self, name: str, parent: str | None, tags: Mapping[str, str], parameters: Mapping[str, Any]) -> str:
        run = self._find_run(name, parent)
        if run is None:
            tags = {**tags, PARENT_TAG: parent} if parent else tags
            created = check_id(self.client.create_run(self.experiment, run_name=name, tags=dict(tags)).info.run_id)
            self._log_parameters(created, parameters)
            return created
        _check_parameters(run, parameters)
        self.continued.add(run.info.run_id)
        self.client.update_run(run.info.run_id, status="RUNNING")
        new = {key: value for key, value in parameters.items() if key not in run.data.params}
        self._log_parameters(run.info.run_id, new)
        return str(run.info.run_id)

    def _find_run(self, name: str, parent: str | None) -> "Run | None":
        """The latest run with a name. `%` replaces special characters, because no quoting is safe for all names."""
        pattern = re.sub(r"[^A-Za-z0-9 .-]+", "%", name)
        token = None
        while True:
            page = self.client.search_runs(
                [self.experiment],
                f"attributes.run_name LIKE '{pattern}'",
                order_by=["attributes.start_time DESC"],
                page_token=token,
            )
            for run in page:
                if run.info.run_name == name and run.data.tags.get(PARENT_TAG) == parent:
                    return run
            if not (token := page.token):
                return None

    def _log_parameters(self, run: str, values: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        parameters = [Param(key, text) for key, text in _as_texts(values).items()]
        for start in range(0, len(parameters), MAX_PARAMETERS):
            self.client.log_batch(run, params=parameters[start : start + MAX_PARAMETERS], synchronous=True)

    def _log_metrics(self, run: str, values: Mapping[str, float], step: int, timestamp: int) -> None:
        from mlflow.entities import Metric

        new = {name: value for name, value in values.items() if self._latest(run, name).get(step) != value}
        if not new:
            return
        # The store drops a metric whose name, step and timestamp it has already.
        metrics = [Metric(name, value, timestamp, step) for name, value in new.items()]
        self.client.log_batch(run, metrics, synchronous=True)  # asynchronous logging can lose metrics
        for name, value in new.items():
            self._latest(run, name)[step] = value

    def _latest(self, run: str, name: str) -> dict[int, float]:
        """The latest value of a metric at each step."""
        if (run, name) not in self.latest:
            logged = self.client.get_metric_history(run, name) if run in self.continued else []
            self.latest[run, name] = {each.step: each.value for each in sorted(logged, key=lambda each: each.timestamp)}
        return self.latest[run, name]

    def _log_artifacts(self, run: str, folder: str, path: str) -> None:
        with Folder(folder).as_directory() as directory:
            if not directory.is_dir():
                raise UnreadableError(f"{folder} does not exist any more")
            self.client.log_artifacts(run, str(directory), path)

    def _log_artifact(self, run: str, folder: str, name: str, path: str) -> None:
        try:
            text = Folder(folder).read(name).decode()
        except (FileNotFoundError, UnicodeDecodeError) as error:
            raise UnreadableError(f"{folder}/{name} is missing, or is not a text file any more") from error
        self.client.log_text(run, text, f"{path}/{name}")

    def _log_table(self, run: str, rows: Sequence[Mapping[str, Any]], path: str) -> None:
        folder = path.rpartition("/")[0]
        if rows and path not in (file.path for file in self.client.list_artifacts(run, folder)):
            self.client.log_table(run, {name: [row[name] for row in rows] for name in rows[0]}, path)

    def _log_end(self, run: str, status: str, tags: Mapping[str, str]) -> None:
        for key, value in tags.items():
            self.client.set_tag(run, key, value, synchronous=True)
        self.client.set_terminated(run, status)
        self.ended.add(run)

    def _log_finish(self, run: str, status: str) -> None:
        for identity in (*self.children.values(), run):
            if identity not in self.ended:
                self.client.set_terminated(identity, status)


def _open_experiment(client: "MlflowClient", destination: Destination) -> str:
    from mlflow.exceptions import MlflowException

    experiment = find_experiment(client, destination)
    if experiment is None:
        try:
            experiment = client.create_experiment(destination.experiment, artifact_location=destination.artifacts)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":  # two runs can create it at the same time
                raise
            experiment = find_experiment(client, destination)
    return check_id(experiment)


def _check_parameters(run: "Run", parameters: Mapping[str, Any]) -> None:
    """Raise UserError if a run that exists has other values of these parameters."""
    old, new = run.data.params, _as_texts(parameters)
    different = [f"{key} was {old[key]!r}, now {new[key]!r}" for key in new if old.get(key, new[key]) != new[key]]
    if different:
        raise UserError(
            f"MLflow has a run {run.info.run_name!r} with other parameters ({'; '.join(different[:5])}): give the old "
            "values again, or another --run-name or --tracking.experiment"
        )


def _as_texts(values: Mapping[str, Any]) -> dict[str, str]:
    """Parameters as MLflow stores them."""
    from mlflow.utils.validation import MAX_PARAM_VAL_LENGTH

    return {key: str(value)[:MAX_PARAM_VAL_LENGTH] for key, value in values.items()}
