"""Fetch and build the offline resources, so that no later command waits for them; a second call does nothing.

They are kept in ~/.cache/flat_dist, or where FLAT_DIST_CACHE says.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import flat_dist.runtime.start  # noqa: F401, before the imports that take long
from flat_dist import cli
from flat_dist.config import options
from flat_dist.resources import assets, synonyms


@dataclass(frozen=True)
class Command:
    """Nothing but --help."""


def job(arguments: Sequence[str]) -> None:
    """Parse, prepare everything."""
    options.read(Command, arguments, __doc__)
    synonyms.build(assets.prepare())
    print(f"offline resources: {assets.cache_folder()}")


if __name__ == "__main__":
    cli.main(job)
