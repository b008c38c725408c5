"""The interface of trackers, and their operations as plain values."""

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flat_dist.storage.folder import Folder


@dataclass(frozen=True)
class Destination:
    """A server, and the run to log there."""

    uri: str
    experiment: str
    artifacts: str | None
    """Folder of a new experiment's files; None: the server decides."""
    run_name: str
    parameters: Mapping[str, Any]
    """What the results depend on, by dotted name."""
    hardware: str


@dataclass(frozen=True)
class Operation:
    """Something to log to the parent run, or to a child run."""

    kind: str
    """parameters, metrics, artifact, artifacts, table, end or finish."""
    child: str | None
    """Name of the child run; None: the parent."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Plain values, as the tracker's method takes them."""


class Tracker(ABC):
    """A parent run, with a child run for each training or trial."""

    @abstractmethod
    def log(self, operation: Operation) -> None:
        """Carry out an operation."""

    def parameters(self, child: str, values: Mapping[str, Any]) -> None:
        """Log the parameters of a child run."""
        self.log(Operation("parameters", child, {"values": dict(values)}))

    def metrics(
        self, child: str | None, values: Mapping[str, float | None], step: int = 0, timestamp: int | None = None
    ) -> None:
        """Log numbers. None values are skipped.

        Args:
            child: name of the child run; None: the parent.
            values: numbers by name.
            step: their round, epoch or k.
            timestamp: time of the measurement, in milliseconds since 1970; None: now. Give it for numbers that may be
                logged again: the store drops a number that has the same timestamp.
        """
        known = {name: float(value) for name, value in values.items() if value is not None}
        when = round(1000 * time.time()) if timestamp is None else timestamp
        self.log(Operation("metrics", child, {"values": known, "step": step, "timestamp": when}))

    def artifact(self, child: str | None, folder: Folder, name: str, path: str) -> None:
        """Log a text file of a folder under `path`."""
        self.log(Operation("artifact", child, {"folder": folder.uri, "name": name, "path": path}))

    def artifacts(self, child: str | None, folder: Folder, path: str) -> None:
        """Log all files of a folder under `path`."""
        self.log(Operation("artifacts", child, {"folder": folder.uri, "path": path}))

    def table(self, child: str | None, rows: Sequence[Mapping[str, Any]], path: str) -> None:
        """Log rows as a table that the UI can show and filter. A table that exists stays as it is."""
        self.log(Operation("table", child, {"rows": list(rows), "path": path}))

    def end(self, child: str, status: str, tags: Mapping[str, str]) -> None:
        """End one child run as FINISHED, FAILED or KILLED, with tags for details."""
        self.log(Operation("end", child, {"status": status, "tags": dict(tags)}))

    def finish(self, status: str) -> None:
        """End the parent and the child runs that have not ended, as FINISHED, FAILED or KILLED."""
        self.log(Operation("finish", None, {"status": status}))


class NoTracker(Tracker):
    """Logs nothing."""

    def log(self, operation: Operation) -> None:
        """Do nothing."""
