"""A Ray whose token is not the user's."""

import os
import secrets
from collections.abc import Iterator

import pytest

from flat_dist.runtime import cluster


@pytest.fixture(scope="session", autouse=True)
def private_token() -> None:
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    os.environ["RAY_ADDRESS"] = "local"  # never the cluster of somebody's `ray start`


@pytest.fixture(scope="session")
def local_ray(private_token: None) -> Iterator[None]:
    with cluster.connected(cpus=2):
        yield
