"""Connecting to Ray: the cluster that a job runs on, or one of this machine's own."""

import logging
import os
import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import replace
from typing import Any

import psutil
import ray
from ray._common.network_utils import is_localhost
from ray._private import ray_constants
from ray._private.authentication.authentication_token_setup import AuthenticationTokenLoader
from ray._private.authentication.authentication_utils import is_token_auth_enabled
from ray._private.worker import get_dashboard_url

from flat_dist.config.errors import UserError
from flat_dist.runtime import capacity, cluster_address, interrupts, ray_folder
from flat_dist.runtime.hardware import PROFILES, Machine, detect

ENVIRONMENT = {
    # No news to Ray's authors, and no look-ups of their hosts.
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray Train looks for news of its workers every 2 s by default, which each `report` waits for.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    # Ray ends a process that no task has used for 1 s, where there are others; the next task then waits for imports.
    "RAY_idle_worker_killing_time_threshold_ms": "600000",
}
TOKENS = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
"""Where a user may give a token of his own."""


@contextmanager
def connected(cpus: int | None = None) -> Iterator[None]:
    """Join the cluster of RAY_ADDRESS or of a running `ray start`, or start a local Ray that ends with the block.

    A local Ray listens on loopback only, and nobody but this user can enter the folder of its sockets or has its token.
    A SIGTERM, which `ray job stop` sends, interrupts the block as Ctrl-C does.

    Raises:
        UserError: RAY_ADDRESS names a cluster that cannot be reached, or Ray cannot be started here.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    logging.getLogger("ray.train").setLevel(logging.WARNING)
    logging.getLogger("ray._private.authentication").setLevel(logging.ERROR)  # that tokens are on is no news
    found = cluster_address.find()
    capacity.join(found is not None)
    with nullcontext() if found else _own_place():
        try:
            _join(found) if found else _start(cpus)
            for door in _open_doors():
                print(f"warning: {door}", file=sys.stderr)
            yield
        finally:
            ray.shutdown()  # threads that wait for Ray then end, and the process with them


def _join(found: cluster_address.Address) -> None:
    target = cluster_address.reachable(found)
    try:
        _init(address=target)
    except Exception as error:
        raise UserError(f"{found} cannot be joined: {_first_line(error)}") from error


@contextmanager
def _own_place() -> Iterator[None]:
    """What a Ray needs that this job starts for itself: a folder, and a token that no other job has."""
    with ray_folder.private(), ExitStack() as undo:
        if not any(os.environ.get(name) for name in TOKENS):
            os.environ[TOKENS[0]] = secrets.token_hex(32)
            AuthenticationTokenLoader.instance().reset_cache()
            undo.callback(AuthenticationTokenLoader.instance().reset_cache)
            undo.callback(os.environ.pop, TOKENS[0], None)
        yield


def _start(cpus: int | None) -> None:
    # As Ray does by itself on macOS and Windows: a cluster of one machine has only that machine to listen to.
    ray_constants.ENABLE_RAY_CLUSTER = False
    others = set(psutil.Process().children(recursive=True))
    try:
        _init(address="local", num_cpus=cpus, include_dashboard=False)
    except BaseException as error:
        for process in set(psutil.Process().children(recursive=True)) - others:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        if not isinstance(error, Exception):
            raise
        raise UserError(
            f"Ray cannot be started on this machine: {_first_line(error)} (RAY_TMPDIR and /dev/shm are where it needs "
            "room)"
        ) from error
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = True


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _open_doors() -> Iterator[str]:
    if not is_token_auth_enabled():
        yield "this Ray asks for no token (RAY_AUTH_MODE=token), so whoever reaches it can run code on it"
    host = (get_dashboard_url() or "").rpartition(":")[0]
    if host and not is_localhost(host):
        yield f"Ray's dashboard listens on {host} and not on loopback (--dashboard-host)"


def _init(**options: Any) -> None:
    try:
        ray.init(log_to_driver=False, logging_level=logging.WARNING, **options)
    except SystemExit as error:  # its own handler's answer to a SIGTERM
        raise KeyboardInterrupt from error
    interrupts.raise_interrupt()  # Ray installs a handler of its own, so ours comes after it


def machine(hardware: str = "auto", log_line: Callable[[str], None] = lambda line: None) -> Machine:
    """The GPU of this cluster, looked for where Ray has one, or why there is none.

    Args:
        hardware: a profile of `flat_dist.runtime.hardware`; if it is one of a GPU, the cluster may have to grow for it.
        log_line: logs a line while it does.

    Raises:
        UserError: it did not grow.
    """
    if capacity.joined() and hardware in PROFILES and PROFILES[hardware].device == "cuda":
        capacity.wait_for_resources({"GPU": 1.0}, f"--hardware {hardware}", log_line)
    if not ray.cluster_resources().get("GPU"):
        return replace(detect(), gpu=None)
    found: Machine = ray.get(ray.remote(num_cpus=0, num_gpus=0.01)(detect).remote())
    return found
