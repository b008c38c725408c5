"""Connecting to Ray: the cluster that a job runs on, or one of this machine's own."""

import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import ray
from ray._common.network_utils import is_localhost
from ray._private import ray_constants, services
from ray._private.authentication.authentication_utils import is_token_auth_enabled
from ray._private.worker import get_dashboard_url

from flat_dist import room
from flat_dist.config import UserError

if TYPE_CHECKING:
    from flat_dist.hardware import Machine

ENVIRONMENT = {
    # No news to Ray's authors, and no look-ups of their hosts.
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray Train looks for news of its workers every 2 s by default, which each `report` waits for.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    # Ray ends a process that no task has used for 1 s, where there are others; the next task then waits for imports.
    "RAY_idle_worker_killing_time_threshold_ms": "600000",
}


@contextmanager
def connected(cpus: int | None = None) -> Iterator[None]:
    """Join the cluster of RAY_ADDRESS or of a running `ray start`, or start a local Ray that ends with the block.

    A local Ray listens on loopback only. A SIGTERM, which `ray job stop` sends, interrupts the block as Ctrl-C does.

    Raises:
        UserError: RAY_ADDRESS names a cluster that cannot be reached.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    logging.getLogger("ray.train").setLevel(logging.WARNING)
    logging.getLogger("ray._private.authentication").setLevel(logging.ERROR)  # that tokens are on is no news
    room.join(_join())
    if not room.joined():
        _start(cpus)
    for door in _open_doors():
        print(f"warning: {door}", file=sys.stderr)
    signal.signal(signal.SIGTERM, _interrupt)  # Ray installs a handler of its own, so ours comes after it
    try:
        yield
    finally:
        ray.shutdown()  # threads that wait for Ray then end, and the process with them


def _join() -> bool:
    """Join the cluster of RAY_ADDRESS or of a `ray start` on this machine; false if there is neither.

    `ray.init(address="auto")` would also join the Ray that another job started for itself, and that ends with it.
    """
    address = services.canonicalize_bootstrap_address(None)
    if address is None:
        return False
    try:
        _init(address=address)
    except ConnectionError as error:
        raise UserError(
            f"the Ray cluster at {address} cannot be reached, or wants another token (~/.ray/auth_token, "
            "RAY_AUTH_TOKEN): start it with `ray start --head`, or end it and unset RAY_ADDRESS to use this machine "
            "alone"
        ) from error
    return True


def _start(cpus: int | None) -> None:
    # As Ray does by itself on macOS and Windows: a cluster of one machine has only that machine to listen to.
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        _init(address="local", num_cpus=cpus, include_dashboard=False)
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = True
        with suppress(OSError):  # Ray writes its token, where there is none, for all users of the machine to read
            Path("~/.ray/auth_token").expanduser().chmod(0o600)


def _open_doors() -> Iterator[str]:
    if not is_token_auth_enabled():
        yield "this Ray asks for no token (RAY_AUTH_MODE=token), so whoever reaches it can run code on it"
    host = (get_dashboard_url() or "").rpartition(":")[0]
    if host and not is_localhost(host):
        yield f"Ray's dashboard listens on {host} and not on loopback (--dashboard-host)"


def _init(**options: Any) -> None:
    ray.init(log_to_driver=False, logging_level=logging.WARNING, **options)


def machine(hardware: str = "auto", say: Callable[[str], None] = lambda line: None) -> "Machine":
    """The GPU of this cluster, looked for where Ray has one, or why there is none.

    Args:
        hardware: a profile of `flat_dist.hardware`; if it is one of a GPU, the cluster may have to grow for it.
        say: says a line while it does.

    Raises:
        UserError: it did not grow.
    """
    from flat_dist.hardware import PROFILES, detect  # which imports what models are made of

    if room.joined() and hardware in PROFILES and PROFILES[hardware].device == "cuda":
        room.await_room({"GPU": 1.0}, f"--hardware {hardware}", say)
    if not ray.cluster_resources().get("GPU"):
        return replace(detect(), gpu=None)
    found: Machine = ray.get(ray.remote(num_cpus=0, num_gpus=0.01)(detect).remote())
    return found


def _interrupt(signal_number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
