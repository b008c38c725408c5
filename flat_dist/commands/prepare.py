"""Download and build the offline resources, so that no later command waits for them. A second call does nothing.

The same as `flat-dist resources prepare`. They are kept in ~/.cache/flat_dist, or in the folder of the environment
variable FLAT_DIST_CACHE.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flat_dist.config import options


@dataclass(frozen=True)
class Command:
    """What to prepare."""

    mlflow_database: str | None = None
    """Only create or upgrade this MLflow database (an SQLite file), and print its address for `mlflow ui`."""


def job(arguments: Sequence[str]) -> None:
    """Parse, prepare."""
    command = options.read(Command, arguments, __doc__)
    if command.mlflow_database is not None:
        from flat_dist.tracking import address, database

        path = Path(command.mlflow_database).absolute()
        database.prepare(path, lambda line: print(line, file=sys.stderr))
        print(address.uri_of(path))
        return
    from flat_dist.commands.resources import job as resources

    resources(["prepare"])
