"""Runs in MLflow, and what its errors mean.

Runs are addressed by id through `MlflowClient`, so that nothing depends on which run is active in a process.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from flat_dist.config.errors import UserError
from flat_dist.storage.folder import Folder
from flat_dist.tracking import address, quiet
from flat_dist.tracking import database as databases
from flat_dist.tracking.outbox import UnreadableError
from flat_dist.tracking.tracker import Destination, Operation, Tracker

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

PARENT = "mlflow.parentRunId"
"""Tag of a child run."""

AT_ONCE = 100
"""Parameters in a request, at most: MLflow's limit."""

ELSEWHERE = "name another with --tracking.uri, or run with --tracking.no-enabled"


def open_client(uri: str) -> "MlflowClient":
    """A client of a server or a database."""
    quiet.settle()
    from mlflow import MlflowClient

    if uri.startswith(address.DATABASES):  # say soon that it is away: MLflow itself would try for minutes
        import sqlalchemy

        engine = sqlalchemy.create_engine(uri)
        engine.connect().close()
        engine.dispose()
    return MlflowClient(tracking_uri=uri)


def find_experiment(client: "MlflowClient", where: Destination) -> str | None:
    """Id of the experiment; None if it is not there yet."""
    experiment = client.get_experiment_by_name(where.experiment)
    if experiment is None:
        return None
    if experiment.lifecycle_stage == "deleted":
        raise UserError(
            f"the experiment {where.experiment} is deleted at {where.uri}: restore it, or name another with "
            "--tracking.experiment"
        )
    return _known(experiment.experiment_id)


def _known(identity: str | None) -> str:
    """An id that a server answered with; ValueError: it answers something, but is no MLflow."""
    if not identity:
        raise ValueError("its answer is not MLflow's")
    return identity


@contextmanager
def explained(uri: str) -> Iterator[None]:
    """Say of whatever goes wrong at a server where it was, and what to do."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # MLflow, its drivers and a server that answers nonsense raise all kinds
        raise UserError(_sentence(uri, error)) from error


def _sentence(uri: str, error: Exception) -> str:
    first = (str(error).strip().splitlines() or [""])[0] or type(error).__name__
    said = first[:300]
    code = getattr(error, "error_code", None)
    if code == "UNAUTHENTICATED":
        return f"MLflow at {uri} asks for a login, or does not know this one: {address.LOGIN}"
    if code == "PERMISSION_DENIED":
        return f"MLflow at {uri} does not permit it ({said}): ask for access, or {ELSEWHERE}"
    if "failed with exception" in first:
        said = first.split(": ")[-1].strip("'\")")  # the innermost of errors that quote each other
        return f"MLflow cannot be reached at {uri} ({said}): start it, {ELSEWHERE}"
    return f"MLflow at {uri} cannot be used ({said}): see to it, {ELSEWHERE}"


class MlflowTracker(Tracker):
    """Logs to MLflow. A run that is started again under its name goes on where it was.

    Args:
        where: the server, at an address that was checked, and the run.
        say: says a line.

    Raises:
        UserError: the server or the database cannot be used, the experiment is deleted, or there is a run of this name
            with other parameters.
    """

    def __init__(self, where: Destination, log_line: Callable[[str], None]):
        self.children: dict[str, str] = {}
        self.ended: set[str] = set()
        self.run_name = where.run_name
        with explained(where.uri):
            if (file := address.file_of(where.uri)) is not None:
                databases.prepare(file, log_line)
            self.client = open_client(where.uri)
            self.experiment = self._open_experiment(where)
            self.parent = self._start(where.run_name, None, {"mlflow.user": "flat_dist"}, where.parameters)
            self.client.set_tag(self.parent, "hardware", where.hardware, synchronous=True)

    def _open_experiment(self, where: Destination) -> str:
        from mlflow.exceptions import MlflowException

        known = find_experiment(self.client, where)
        if known is None:
            try:
                known = self.client.create_experiment(where.experiment, artifact_location=where.artifacts)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":  # as when two runs create it at once
                    raise
                known = find_experiment(self.client, where)
        return _known(known)

    def _start(self, name: str, parent: str | None, tags: Mapping[str, str], parameters: Mapping[str, Any]) -> str:
        known = self._find(name, parent)
        if known is None:
            tags = {**tags, PARENT: parent} if parent else tags
            run = _known(self.client.create_run(self.experiment, run_name=name, tags=dict(tags)).info.run_id)
            self._log_parameters(run, parameters)
            return run
        self._refuse_other(known, parameters)
        self.client.update_run(known.info.run_id, status="RUNNING")
        new = {key: value for key, value in parameters.items() if key not in known.data.params}
        self._log_parameters(known.info.run_id, new)
        return str(known.info.run_id)

    def _find(self, name: str, parent: str | None) -> "Run | None":
        """The latest run of a name. No quoting in a filter is safe for all names: `%` stands for odd characters."""
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
                if run.info.run_name == name and run.data.tags.get(PARENT) == parent:
                    return run
            if not (token := page.token):
                return None

    def _refuse_other(self, known: "Run", parameters: Mapping[str, Any]) -> None:
        old, new = known.data.params, _texts(parameters)
        differing = [f"{key} was {old[key]!r}, now {new[key]!r}" for key in new if old.get(key, new[key]) != new[key]]
        if differing:
            raise UserError(
                f"MLflow has a run {known.info.run_name!r} with other parameters ({'; '.join(differing[:5])}): give "
                "these values again, or another --run-name or --tracking.experiment"
            )

    def _run(self, kind: str | None) -> str:
        if kind is None:
            return self.parent
        if kind not in self.children:
            name = f"{kind}-{self.run_name}"
            self.children[kind] = self._start(name, self.parent, {"kind": kind}, {"kind": kind})
        return self.children[kind]

    def log(self, operation: Operation) -> None:
        """Carry out an operation; one that was carried out already changes nothing."""
        getattr(self, f"_log_{operation.kind}")(self._run(operation.child), **operation.arguments)

    def _log_parameters(self, run: str, values: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        parameters = [Param(key, text) for key, text in _texts(values).items()]
        for start in range(0, len(parameters), AT_ONCE):
            self.client.log_batch(run, params=parameters[start : start + AT_ONCE], synchronous=True)

    def _log_metrics(self, run: str, values: Mapping[str, float], step: int, timestamp: int) -> None:
        from mlflow.entities import Metric

        # The store knows a metric by its time, too, and takes none twice.
        metrics = [Metric(name, value, timestamp, step) for name, value in values.items()]
        self.client.log_batch(run, metrics, synchronous=True)  # what is logged later can get lost

    def _log_artifacts(self, run: str, folder: str, path: str) -> None:
        with Folder(folder).as_directory() as directory:
            if not directory.is_dir():
                raise UnreadableError(f"{folder} does not exist any more")
            self.client.log_artifacts(run, str(directory), path)

    def _log_artifact(self, run: str, folder: str, name: str, path: str) -> None:
        try:
            text = Folder(folder).read(name).decode()
        except (FileNotFoundError, UnicodeDecodeError) as error:
            raise UnreadableError(f"{folder}/{name} is no text file any more") from error
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
        for one in (*self.children.values(), run):
            if one not in self.ended:
                self.client.set_terminated(one, status)


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    """Parameters as MLflow stores them."""
    from mlflow.utils.validation import MAX_PARAM_VAL_LENGTH

    return {key: str(value)[:MAX_PARAM_VAL_LENGTH] for key, value in values.items()}
