"""What is logged, as plain operations, and those of them that a server was not there to take.

Operations that could not be sent are kept in order in the run's folder, and sent before any later one. Each may be sent
twice without harm, so that a crash between the sending and the forgetting does none.
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

PENDING = "tracking-pending.json"
"""In the run's folder: where it is logged, and the operations that were not sent."""
DAMAGED = "tracking-pending.damaged.json"
"""What such a file is renamed to if it cannot be used."""

RETRY_SECONDS = 30.0
"""A server that was away is tried again this often at most."""


class UnreadableError(Exception):
    """A file that was to be logged cannot be read any more, so that no server can ever take it."""


class Kept(Tracker):
    """Logs to a tracker, and keeps what that cannot send.

    Args:
        tracker: what logs.
        where: where it logs.
        folder: the run's; operations that it keeps are sent first.
        say: says a line.
    """

    def __init__(self, tracker: Tracker, where: Destination, folder: Folder, log_line: Callable[[str], None]):
        self.tracker, self.where, self.folder, self.log_line = tracker, where, folder, log_line
        self.tried, self.told = float("-inf"), False
        try:
            self.pending = read_pending(folder)[1]
        except PendingError as error:
            self.pending = []
            folder.write(DAMAGED, folder.read(PENDING))
            folder.delete(PENDING)
            log_line(f"{error}; it is renamed to {DAMAGED}, and the run goes on without it")

    def log(self, operation: Operation) -> None:
        """Carry out an operation, or keep it; never raises because of the server or the disk."""
        self.pending.append(operation)
        if len(self.pending) == 1 or time.monotonic() - self.tried >= RETRY_SECONDS or operation.kind == "finish":
            self.send()
        else:
            self._write()
        if self.pending and operation.kind == "finish":
            self.log_line(
                "MLflow is still away; when it is back, start the same command again, or: python jobs/report.py "
                f"--run {shlex.quote(self.folder.uri)} --resend --tracking.uri {shlex.quote(self.where.uri)}"
            )

    def send(self) -> str:
        """Send what is pending, in order; why not all of it could be, or nothing."""
        self.tried, problem = time.monotonic(), ""
        while self.pending and not problem:
            try:
                self.tracker.log(self.pending[0])
                self.pending.pop(0)
            except UnreadableError as error:
                self.log_line(f"{error}, and is not logged to MLflow")
                self.pending.pop(0)
            except Exception as error:  # Whatever happens to the log, the run goes on.
                problem = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        if problem:
            self._write(problem)
        else:
            self._forget()
        return problem

    def _write(self, problem: str = "") -> None:
        operations = [asdict(operation) for operation in self.pending]
        where = f"in {self.folder.uri}/{PENDING}"
        try:
            self.folder.write_json(PENDING, {"destination": asdict(self.where), "operations": operations})
        except UserError as error:  # such as a full disk, on which MLflow's file may be, too
            where = f"in memory, and nowhere else if the run ends before that ({error})"
        if problem and not self.told:
            self.told = True
            self.log_line(f"MLflow does not answer ({problem}): numbers are kept {where} until it does")

    def _forget(self) -> None:
        try:
            kept = self.folder.exists(PENDING)
            self.folder.delete(PENDING)
        except UserError as error:
            self.log_line(f"{error}; what is kept there for MLflow was sent")
            return
        if kept or self.told:
            self.told = False
            self.log_line("MLflow has everything that was kept for it")


class PendingError(UserError):
    """A file of kept operations is damaged, or asks for what it must not."""


def read_pending(folder: Folder) -> tuple[Destination | None, list[Operation]]:
    """Where a run is logged, and the operations that were not sent; None and nothing if all were.

    Raises:
        PendingError: the file is damaged, or would send files that are not the run's.
    """
    try:
        content = folder.read(PENDING)
    except FileNotFoundError:
        return None, []
    try:
        kept = json.loads(content)
        outbox_file.check_form(kept)
        outbox_file.check_places(kept["operations"], folder)
    except (ValueError, RecursionError) as error:
        raise PendingError(f"{folder.uri}/{PENDING} is damaged ({error})") from error
    except (UserError, OSError, RuntimeError) as error:
        raise PendingError(f"{folder.uri}/{PENDING} cannot be sent: {error}") from error
    return Destination(**kept["destination"]), [Operation(**operation) for operation in kept["operations"]]
