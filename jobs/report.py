"""Show what a run or a sweep came to, and send to MLflow what it was not there to take.

A run whose tracking server goes away goes on, and keeps in its folder what the server is to have. The run's own command
sends that when it is started again; `--resend` does nothing else.

  python jobs/report.py --run runs/NAME
  python jobs/report.py --run runs/NAME --resend
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import tyro

from flat_dist import cli, findings, options
from flat_dist.config import UserError
from flat_dist.data.storage import Folder
from flat_dist.sweep import outcome
from flat_dist.tracking.mlflow import MlflowTracker
from flat_dist.tracking.pending import Kept, read_pending
from flat_dist.tracking.table import Result


@dataclass(frozen=True)
class Command:
    """Which run, and what to do."""

    run: str
    """Folder of the run, such as runs/sst2-cnn-textfooler-..."""
    resend: bool = False
    """Send to MLflow what is kept for it."""
    tracking_uri: Annotated[str | None, tyro.conf.arg(name="tracking.uri")] = None
    """Tracking server to send to, if it is not where it was."""
    json: bool = False
    """Print one JSON object as the last line of standard output."""


RENAMED = {"--tracking-uri": "--tracking.uri"}


def job(arguments: Sequence[str]) -> None:
    """Parse, send, show."""
    command = options.read(Command, arguments, __doc__, RENAMED)
    folder = Folder(command.run)
    if command.resend:
        resend(folder, command.tracking_uri)
    if folder.exists(findings.RESULTS):
        results = folder.read_json(findings.RESULTS, list[Result])
        findings.print_table(results, folder, folder.name)
        if command.json:
            findings.print_results(results, folder)
    elif folder.exists(outcome.RESULTS):
        outcome.show(folder, outcome.read(folder), command.json)
    elif not command.resend:
        raise UserError(
            f"{folder.uri} has neither {findings.RESULTS} nor {outcome.RESULTS}: it is no folder of a run or sweep, or "
            "that has not finished"
        )


def resend(folder: Folder, uri: str | None) -> None:
    """Send what is kept for a server, or raise UserError."""
    where, operations = read_pending(folder)
    if where is None:
        print(f"nothing in {folder.uri} is kept for MLflow: it has everything")
        return
    where = replace(where, uri=uri or where.uri)
    if problem := Kept(MlflowTracker(where), where, folder, print).send():
        raise UserError(f"MLflow at {where.uri} does not take it: {problem}")
    print(f"{len(operations)} operations sent to {where.uri}")


if __name__ == "__main__":
    cli.main(job)
