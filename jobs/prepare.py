"""Fetch and build the offline resources, so that no later command waits for them; a second call does nothing."""

from collections.abc import Sequence

import flat_dist.start  # noqa: F401, before the imports that take long
from flat_dist import assets, cli
from flat_dist.attack import synonyms


def job(arguments: Sequence[str]) -> None:
    """Prepare everything."""
    synonyms.build(assets.prepare())
    print(f"offline resources: {assets.cache_folder()}")


if __name__ == "__main__":
    cli.main(job)
