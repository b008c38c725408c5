"""Operations that the server did not take yet, and a tracker that keeps and sends them.

The outbox keeps operations in order, in a file of the run's folder. They are sent before any later operation. Sending
an operation twice changes nothing, so a crash between sending it and deleting it does no harm.
"""

import json
import shlex
import time
from collections.abc import Callable
from dataclasses import asdict

from flat_dist.config.errors import UserError
from flat_dist.storage.folder import Folder
from flat_dist.tracking import outbox_file
from flat_dist.tracking.tracker import Destination, Operation, Tracker

FILE = "tracking-pending.json"
"""File in the run's folder: the destination, and the operations that were not sent."""
DAMAGED_FILE = "tracking-pending.damaged.json"
"""New name of an outbox file that cannot be used."""

RETRY_SECONDS = 30.0
"""Shortest time between two attempts to reach an unavailable server."""


class UnreadableError(Exception):
    """A file to log cannot be read any more, so it can never be sent."""


class OutboxError(UserError):
    """An outbox file is damaged, or holds operations that are not allowed."""


class Outbox:
    """Operations that were not sent, in order, and their file in the run's folder."""

    def __init__(self, folder: Folder, destination: Destination, operations: list[Operation] | None = None):
        self.folder, self.destination = folder, destination
        self.operations = operations or []

    @classmethod
    def open(cls, folder: Folder, destination: Destination, log_line: Callable[[str], None]) -> "Outbox":
        """The outbox of a run. A file that cannot be used is renamed, and the outbox starts empty."""
        try:
            return cls(folder, destination, read_outbox(folder)[1])
        except OutboxError as error:
            folder.write(DAMAGED_FILE, folder.read(FILE))
            folder.delete(FILE)
            log_line(f"{error}; the file is renamed to {DAMAGED_FILE}, and the run continues without it")
            return cls(folder, destination)

    @property
    def uri(self) -> str:
        """The file."""
        return f"{self.folder.uri}/{FILE}"

    def save(self) -> None:
        """Write the file.

        Raises:
            UserError: the disk is full, or the folder cannot be written.
        """
        operations = [asdict(operation) for operation in self.operations]
        self.folder.write_json(FILE, {"destination": asdict(self.destination), "operations": operations})

    def delete(self) -> bool:
        """Delete the file; False if there was none.

        Raises:
            UserError: it cannot be deleted.
        """
        existed = self.folder.exists(FILE)
        self.folder.delete(FILE)
        return existed


class BufferedTracker(Tracker):
    """Logs to a tracker, and keeps in an outbox what cannot be sent.

    Args:
        tracker: sends the operations.
        outbox: its operations are sent first.
        log_line: prints a line.
    """

    def __init__(self, tracker: Tracker, outbox: Outbox, log_line: Callable[[str], None]):
        self.tracker, self.outbox, self.log_line = tracker, outbox, log_line
        self.last_attempt, self.warned = float("-inf"), False

    def log(self, operation: Operation) -> None:
        """Send an operation, or keep it. Errors of the server and of the disk are printed, not raised."""
        waiting = self.outbox.operations
        waiting.append(operation)
        is_last = operation.kind == "finish"
        if len(waiting) == 1 or time.monotonic() - self.last_attempt >= RETRY_SECONDS or is_last:
            self.send()
        else:
            self._save()
        if waiting and is_last:
            folder, uri = self.outbox.folder.uri, self.outbox.destination.uri
            self.log_line(
                "MLflow is still unavailable. When it is back, run the same command again, or: flat-dist report "
                f"--run {shlex.quote(folder)} --resend --tracking.uri {shlex.quote(uri)}"
            )

    def send(self) -> str:
        """Send the operations of the outbox, in order. Returns the reason if one cannot be sent, else ""."""
        self.last_attempt, problem, waiting = time.monotonic(), "", self.outbox.operations
        while waiting and not problem:
            try:
                self.tracker.log(waiting[0])
                waiting.pop(0)
            except UnreadableError as error:
                self.log_line(f"{error}; it is not logged to MLflow")
                waiting.pop(0)
            except Exception as error:  # a failed log must not end the run
                problem = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        if problem:
            self._save(problem)
        else:
            self._delete()
        return problem

    def _save(self, problem: str = "") -> None:
        place = f"in {self.outbox.uri}"
        try:
            self.outbox.save()
        except UserError as error:  # such as a full disk, which may be the reason why MLflow failed
            place = f"in memory only, and are lost if the run ends first ({error})"
        if problem and not self.warned:
            self.warned = True
            self.log_line(f"MLflow does not answer ({problem}): until it does, numbers are kept {place}")

    def _delete(self) -> None:
        try:
            existed = self.outbox.delete()
        except UserError as error:
            self.log_line(f"{error}; its operations were sent to MLflow")
            return
        if existed or self.warned:
            self.warned = False
            self.log_line("all kept numbers were sent to MLflow")


def read_outbox(folder: Folder) -> tuple[Destination | None, list[Operation]]:
    """Destination and operations of the outbox in a run's folder; None and nothing if it has no outbox.

    Raises:
        OutboxError: the file is damaged, or would send files that do not belong to the run.
    """
    try:
        content = folder.read(FILE)
    except FileNotFoundError:
        return None, []
    try:
        values = json.loads(content)
        outbox_file.check_form(values)
        outbox_file.check_places(values["operations"], folder)
    except (ValueError, RecursionError) as error:
        raise OutboxError(f"{folder.uri}/{FILE} is damaged ({error})") from error
    except (UserError, OSError, RuntimeError) as error:
        raise OutboxError(f"{folder.uri}/{FILE} cannot be sent: {error}") from error
    return Destination(**values["destination"]), [Operation(**operation) for operation in values["operations"]]
