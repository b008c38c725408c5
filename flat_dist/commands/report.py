"""Show the results of a run, a sweep or an ablation, and send to MLflow what the run could not send.

If the tracking server becomes unavailable, the run continues, and keeps in its folder what it could not send. Running
the same command again sends it, and so does `--resend`.

  flat-dist report --run runs/NAME
  flat-dist report --run runs/NAME --resend
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import tyro

from flat_dist.config import options
from flat_dist.config.errors import UserError
from flat_dist.storage.folder import Folder
from flat_dist.storage.lock import exclusive_lock
from flat_dist.tracking import address
from flat_dist.tracking.mlflow import absolute_address, database
from flat_dist.tracking.mlflow_tracker import MlflowTracker
from flat_dist.tracking.outbox import FILE, BufferedTracker, Outbox, OutboxError, read_outbox
from flat_dist.tracking.outbox_file import storage_of


@dataclass(frozen=True)
class Command:
    """The run, and what to do."""

    run: str
    """Folder of the run, such as runs/sst2-cnn-textfooler-..."""
    resend: bool = False
    """Send to MLflow what the run could not send."""
    tracking_uri: Annotated[str | None, tyro.conf.arg(name="tracking.uri")] = None
    """Tracking server for --resend. Required, unless the run was logged to mlflow.db in its storage."""
    json: bool = False
    """Print one JSON object as the last line of standard output."""


RENAMED = {"--tracking-uri": "--tracking.uri"}


def job(arguments: Sequence[str]) -> None:
    """Parse, send, print."""
    command = options.read(Command, arguments, __doc__, RENAMED)
    folder = Folder(command.run)
    if not folder.names():
        raise UserError(f"{folder.uri} is missing or empty: name the folder of a run or sweep")
    if command.tracking_uri and not command.resend:
        raise UserError("--tracking.uri has an effect only with --resend: give both")
    if command.resend:
        resend(folder, command.tracking_uri)
    show(folder, command.json, required=not command.resend)


def show(folder: Folder, as_json: bool, required: bool) -> None:
    """Print the results of a run, a sweep or an ablation.

    Raises:
        UserError: there are none, and they are required.
    """
    from flat_dist.evaluation.result import Result
    from flat_dist.pipeline import results as run_results
    from flat_dist.sweep import ablation_output
    from flat_dist.sweep import results as sweep_results

    if folder.exists(run_results.RESULTS):
        results = folder.read_json(run_results.RESULTS, list[Result])
        run_results.print_table(results, folder, folder.name)
        if as_json:
            run_results.print_results(results, folder)
    elif folder.exists(sweep_results.RESULTS):
        sweep_results.show(folder, sweep_results.read(folder), as_json)
    elif folder.exists(ablation_output.RESULTS):
        ablation_output.show(ablation_output.read(folder), folder, as_json)
    elif required:
        raise UserError(
            f"{folder.uri} has none of {run_results.RESULTS}, {sweep_results.RESULTS} and {ablation_output.RESULTS}: "
            "it is not the folder of a run, sweep or ablation, or nothing there has finished"
        )


def resend(folder: Folder, uri: str | None) -> None:
    """Send the operations of a run's outbox.

    The folder may come from another person: only the user names a server, and only the run's own files are sent.

    Raises:
        UserError: no server is named, or it does not take them.
    """
    try:
        destination, operations = read_outbox(folder)
    except OutboxError as error:
        raise UserError(f"{error}; delete that file, and the run's command logs its numbers again") from error
    if destination is None:
        print(f"nothing to send from {folder.uri}: MLflow has everything")
        return
    if uri is None and destination.uri != database(storage_of(folder).uri):
        named = "a server" if address.holds_secret(destination.uri) else repr(destination.uri)
        raise UserError(
            f"{folder.uri}/{FILE} holds operations for {named}: name the server to send them to with --tracking.uri"
        )
    if uri is not None:
        address.check(uri)
    uri, artifacts = absolute_address(uri or destination.uri)
    destination = replace(destination, uri=uri, artifacts=artifacts)
    with exclusive_lock(folder, "this run"):
        outbox = Outbox.open(folder, destination, print)
        if problem := BufferedTracker(MlflowTracker.start(destination, print), outbox, print).send():
            raise UserError(f"MLflow at {destination.uri} does not accept the operations: {problem}")
    print(f"{len(operations)} operations sent to {destination.uri}")
