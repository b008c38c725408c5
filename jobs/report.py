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

import flat_dist.runtime.start  # noqa: F401, before the imports that take long
from flat_dist import cli
from flat_dist.config import options
from flat_dist.config.errors import UserError
from flat_dist.evaluation.result import Result
from flat_dist.pipeline import results as run_results
from flat_dist.storage.folder import Folder
from flat_dist.storage.lock import exclusive_lock
from flat_dist.sweep import results as sweep_results
from flat_dist.tracking import address
from flat_dist.tracking.client import MlflowTracker
from flat_dist.tracking.mlflow import database, place
from flat_dist.tracking.outbox import PENDING, Kept, PendingError, read_pending
from flat_dist.tracking.outbox_file import storage_of


@dataclass(frozen=True)
class Command:
    """Which run, and what to do."""

    run: str
    """Folder of the run, such as runs/sst2-cnn-textfooler-..."""
    resend: bool = False
    """Send to MLflow what is kept for it."""
    tracking_uri: Annotated[str | None, tyro.conf.arg(name="tracking.uri")] = None
    """Tracking server to send to, which is asked for unless it is the file beside the run."""
    json: bool = False
    """Print one JSON object as the last line of standard output."""


RENAMED = {"--tracking-uri": "--tracking.uri"}


def job(arguments: Sequence[str]) -> None:
    """Parse, send, show."""
    command = options.read(Command, arguments, __doc__, RENAMED)
    folder = Folder(command.run)
    if not folder.names():
        raise UserError(f"{folder.uri} holds no files: name the folder of a run or sweep")
    if command.tracking_uri and not command.resend:
        raise UserError("--tracking.uri says where --resend sends: give both")
    if command.resend:
        resend(folder, command.tracking_uri)
    if not show(folder, command.json) and not command.resend:
        raise UserError(
            f"{folder.uri} has neither {run_results.RESULTS} nor {sweep_results.RESULTS}: it is no folder of a run or "
            "sweep, or that has not finished"
        )


def show(folder: Folder, as_json: bool) -> bool:
    """Print what a run or a sweep came to; whether there is any."""
    if folder.exists(run_results.RESULTS):
        results = folder.read_json(run_results.RESULTS, list[Result])
        run_results.print_table(results, folder, folder.name)
        if as_json:
            run_results.print_results(results, folder)
    elif folder.exists(sweep_results.RESULTS):
        sweep_results.show(folder, sweep_results.read(folder), as_json)
    else:
        return False
    return True


def resend(folder: Folder, uri: str | None) -> None:
    """Send what is kept for a server, or raise UserError.

    A run's folder may come from somebody else: only the user names a server, and only the run's own files are sent.
    """
    try:
        where, operations = read_pending(folder)
    except PendingError as error:
        raise UserError(f"{error}; without that file, the run's command logs again what it measured") from error
    if where is None:
        print(f"nothing in {folder.uri} is kept for MLflow: it has everything")
        return
    if uri is None and where.uri != database(storage_of(folder).uri):
        named = "a server" if address.secrets_in(where.uri) else repr(where.uri)
        raise UserError(f"{folder.uri}/{PENDING} is kept for {named}: say where to send it with --tracking.uri")
    if uri is not None:
        address.check(uri)
    uri, artifacts = place(uri or where.uri)
    where = replace(where, uri=uri, artifacts=artifacts)
    with exclusive_lock(folder, "this run"):
        if problem := Kept(MlflowTracker(where, print), where, folder, print).send():
            raise UserError(f"MLflow at {where.uri} does not take it: {problem}")
    print(f"{len(operations)} operations sent to {where.uri}")


if __name__ == "__main__":
    cli.main(job)
