"""The capacity of a Ray cluster: what it has, whether it can grow, and waiting for nodes that some work needs."""

import time
from collections import Counter
from collections.abc import Callable, Mapping

import ray
from ray.autoscaler.sdk import request_resources

from flat_dist.config.errors import UserError

PATIENCE_SECONDS = 900.0
"""How long a cluster may take to grow: a cloud machine takes minutes to start and to install its software."""
SAY_SECONDS = 30.0
"""How often a process that waits says so."""
LOOK_SECONDS = 1.0
"""How often it looks."""

_joined = False


def join(joined: bool) -> None:
    """Record whether this process joined a cluster, or started its own Ray, which no node can join."""
    global _joined
    _joined = joined


def joined() -> bool:
    """Whether nodes may join the Ray that this process uses."""
    return _joined


def total() -> dict[str, float]:
    """Resources that this process may use: those of its placement group, or else of the whole cluster."""
    group = ray.util.get_current_placement_group()
    if group is None:
        return dict(ray.cluster_resources())
    found = Counter[str]()
    for bundle in group.bundle_specs:
        found.update(bundle)
    return dict(found)


def describe(resources: Mapping[str, float]) -> str:
    """CPUs and GPUs as text."""
    found = [f"{resources[name]:g} {name}" for name in ("CPU", "GPU") if resources.get(name)]
    return " and ".join(found) or "none"


def lacking(wanted: Mapping[str, float]) -> bool:
    """Whether all nodes together have less than wanted of any resource."""
    available = ray.cluster_resources()
    return any(available.get(name, 0.0) < amount for name, amount in wanted.items())


def wait_for_resources(
    wanted: Mapping[str, float], purpose: str, log_line: Callable[[str], None], patience: float = PATIENCE_SECONDS
) -> None:
    """Wait until the cluster has the resources. An autoscaling cluster is asked to add them.

    Args:
        wanted: amounts by name, such as CPU and GPU.
        purpose: what needs them, in a few words.
        log_line: logs a line.
        patience: seconds to wait.

    Raises:
        UserError: the resources did not arrive in time, or cannot, because this process started its own Ray.
    """
    said, until = float("-inf"), time.monotonic() + (patience if joined() else 0.0)
    if not lacking(wanted):
        return
    try:
        while lacking(wanted):
            now = time.monotonic()
            missing = (
                f"{purpose} needs {describe(wanted)}, but this Ray cluster has {describe(ray.cluster_resources())}"
            )
            if now >= until:
                raise UserError(f"{missing}: add nodes, start Ray with more (ray start --num-cpus), or ask for less")
            if now - said >= SAY_SECONDS:
                said = now
                log_line(f"{missing}; waiting for nodes to join")
                _request(wanted)
            time.sleep(LOOK_SECONDS)
    finally:
        if joined():
            request_resources(num_cpus=0)


def _request(wanted: Mapping[str, float]) -> None:
    request_resources(bundles=[{name: 1 if amount < 1 else int(amount) for name, amount in wanted.items()}])
