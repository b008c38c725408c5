"""Connecting to Ray: the cluster that a job runs on, or one of this machine's own."""

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType

import ray

from flat_dist.config import UserError
from flat_dist.hardware import Machine, detect

ENVIRONMENT = {
    # No news to Ray's authors, and no look-ups of their hosts.
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray Train looks for news of its workers every 2 s by default, which each `report` waits for.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
}


@contextmanager
def connected(cpus: int | None = None) -> Iterator[None]:
    """Join the cluster of RAY_ADDRESS or of a running `ray start`, or start a local Ray that ends with the block.

    A SIGTERM, which `ray job stop` sends, interrupts the block as Ctrl-C does.

    Raises:
        UserError: RAY_ADDRESS names a cluster that cannot be reached.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    logging.getLogger("ray.train").setLevel(logging.WARNING)
    try:
        ray.init(num_cpus=cpus, include_dashboard=False, log_to_driver=False, logging_level=logging.WARNING)
    except ConnectionError as error:
        raise UserError(
            f"the Ray cluster at {os.environ.get('RAY_ADDRESS', 'this machine')} cannot be reached, or wants another "
            "token (~/.ray/auth_token, RAY_AUTH_TOKEN): start it with `ray start --head`, or end it and unset "
            "RAY_ADDRESS to use this machine alone"
        ) from error
    signal.signal(signal.SIGTERM, _interrupt)  # Ray installs a handler of its own, so ours comes after it
    try:
        yield
    finally:
        ray.shutdown()  # threads that wait for Ray then end, and the process with them


def machine() -> Machine:
    """The GPU of this cluster, looked for where Ray has one, or why there is none."""
    if not ray.cluster_resources().get("GPU"):
        return replace(detect(), gpu=None)
    found: Machine = ray.get(ray.remote(num_cpus=0, num_gpus=0.01)(detect).remote())
    return found


def _interrupt(signal_number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
