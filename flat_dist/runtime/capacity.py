"""Room on a Ray cluster: whether it can grow, and waiting for nodes that a piece of work needs."""

import time
from collections.abc import Callable, Mapping

import ray
from ray.autoscaler.sdk import request_resources

from flat_dist.config.errors import UserError

PATIENCE_SECONDS = 900.0
"""How long a cluster may take to grow: a cloud's machine takes minutes to come and to install what it runs."""
SAY_SECONDS = 30.0
LOOK_SECONDS = 1.0

_joined = False


def join(joined: bool) -> None:
    """Note whether this process joined a cluster, or started a Ray of its own, which no node can join."""
    global _joined
    _joined = joined


def joined() -> bool:
    """Whether nodes may join the Ray that this process works on."""
    return _joined


def describe(resources: Mapping[str, float]) -> str:
    """CPUs and GPUs in words."""
    found = [f"{resources[name]:g} {name}" for name in ("CPU", "GPU") if resources.get(name)]
    return " and ".join(found) or "none"


def lacking(wanted: Mapping[str, float]) -> bool:
    """Whether the cluster's nodes together have too little of something."""
    total = ray.cluster_resources()
    return any(total.get(name, 0.0) < amount for name, amount in wanted.items())


def wait_for_resources(
    wanted: Mapping[str, float], purpose: str, log_line: Callable[[str], None], patience: float = PATIENCE_SECONDS
) -> None:
    """Wait until the cluster has the resources; a cluster that grows is asked for them meanwhile.

    Args:
        wanted: amounts by name, such as CPU and GPU.
        purpose: what they are for, in a few words.
        say: says a line.
        patience: seconds to wait.

    Raises:
        UserError: they did not come, or cannot, because this process started its own Ray.
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
