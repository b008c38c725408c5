"""Fetch and build the offline resources, so that no later command waits for them; a second call does nothing.

They are kept in ~/.cache/flat_dist, or where FLAT_DIST_CACHE says.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import flat_dist.start  # noqa: F401, before the imports that take long
from flat_dist import assets, cli, options
from flat_dist.attack import synonyms


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
