"""Connects to Ray: a running cluster, or a local one that this job starts."""

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

from flat_dist.config.errors import UserError, first_line
from flat_dist.runtime import capacity, cluster_address, interrupts, ray_folder
from flat_dist.runtime.hardware import PROFILES, Machine, detect

ENVIRONMENT = {
    # No usage statistics.
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray Train polls its workers every 2 s by default, and each `report` waits for a poll.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    # Ray ends idle worker processes after 1 s by default; the next task then waits for imports.
    "RAY_idle_worker_killing_time_threshold_ms": "600000",
}
TOKENS = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
"""Environment variables for a user's own token."""


@contextmanager
def connected(cpus: int | None = None) -> Iterator[None]:
    """Join the cluster of RAY_ADDRESS or of a running `ray start`, or start a local Ray that ends with the block.

    A local Ray listens on loopback only; only this user can enter the folder of its sockets and has its token. SIGTERM,
    which `ray job stop` sends, interrupts the block like Ctrl-C.

    Raises:
        UserError: the cluster of RAY_ADDRESS cannot be reached, or Ray cannot be started here.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    logging.getLogger("ray.train").setLevel(logging.WARNING)
    logging.getLogger("ray._private.authentication").setLevel(logging.ERROR)  # it logs that tokens are on
    address = cluster_address.find()
    capacity.join(address is not None)
    with nullcontext() if address else _private_session():
        try:
            _join(address) if address else _start(cpus)
            for warning in _security_warnings():
                print(f"warning: {warning}", file=sys.stderr)
            yield
        finally:
            ray.shutdown()  # ends threads that wait for Ray


def _join(address: cluster_address.Address) -> None:
    target = cluster_address.reachable(address)
    try:
        _init(address=target)
    except Exception as error:
        raise UserError(f"{address} cannot be joined: {first_line(error)}") from error


@contextmanager
def _private_session() -> Iterator[None]:
    """A private folder and a random token for a local Ray."""
    with ray_folder.private_folder(), ExitStack() as undo:
        if not any(os.environ.get(name) for name in TOKENS):
            os.environ[TOKENS[0]] = secrets.token_hex(32)
            AuthenticationTokenLoader.instance().reset_cache()
            undo.callback(AuthenticationTokenLoader.instance().reset_cache)
            undo.callback(os.environ.pop, TOKENS[0], None)
        yield


def _start(cpus: int | None) -> None:
    # As Ray does on macOS and Windows: a cluster of one machine listens on loopback only.
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
            f"Ray cannot be started on this machine: {first_line(error)} (it needs free space in RAY_TMPDIR "
            "and /dev/shm; if the machine was very busy, run the command again)"
        ) from error
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = True


def _security_warnings() -> Iterator[str]:
    if not is_token_auth_enabled():
        yield "this Ray requires no token, so everybody who can reach it can run code on it (set RAY_AUTH_MODE=token)"
    host = (get_dashboard_url() or "").rpartition(":")[0]
    if host and not is_localhost(host):
        yield f"Ray's dashboard listens on {host} and not on loopback (--dashboard-host)"


def _init(**options: Any) -> None:
    try:
        ray.init(log_to_driver=False, logging_level=logging.WARNING, **options)
    except SystemExit as error:  # from Ray's handler of SIGTERM
        raise KeyboardInterrupt from error
    interrupts.raise_interrupt()  # replaces the handler that Ray installs


def machine(hardware: str = "auto", log_line: Callable[[str], None] = lambda line: None) -> Machine:
    """The GPU of this cluster, detected on a node with a GPU, or the reason why there is none.

    Args:
        hardware: a profile of `flat_dist.runtime.hardware`; for a GPU profile, wait until the cluster has a GPU.
        log_line: logs a line while waiting.

    Raises:
        UserError: the cluster got no GPU in time.
    """
    if capacity.joined() and hardware in PROFILES and PROFILES[hardware].device == "cuda":
        capacity.wait_for_resources({"GPU": 1.0}, f"--hardware {hardware}", log_line)
    if not ray.cluster_resources().get("GPU"):
        return replace(detect(), gpu=None)
    address: Machine = ray.get(ray.remote(num_cpus=0, num_gpus=0.01)(detect).remote())
    return address
