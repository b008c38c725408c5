"""The address of the Ray cluster that a job joins, and a check that the cluster answers.

`ray.init` itself retries for long if nobody answers, and ends in a traceback if the address is malformed.
"""

import os
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import grpc
from ray._common.network_utils import parse_address
from ray._common.utils import get_ray_address_file
from ray._private import services
from ray._private.grpc_utils import init_grpc_channel
from ray.core.generated.gcs_service_pb2 import CheckAliveRequest
from ray.core.generated.gcs_service_pb2_grpc import NodeInfoGcsServiceStub
from ray.exceptions import AuthenticationError

from flat_dist.config.errors import UserError

START_SECONDS = 2.0
"""How long to retry, because the cluster may be starting."""
ANSWER_SECONDS = 4.0
"""Time limit of one answer."""
RETRY_SECONDS = 0.5

ROOT = 0
LOCAL_HINT = "RAY_ADDRESS=local uses only this machine"


@dataclass(frozen=True)
class Address:
    """Address of a cluster, and its source."""

    text: str
    """As given; may contain a password, so print only `str(address)`."""
    source: str
    """RAY_ADDRESS, or the file that `ray start` writes."""

    def __str__(self) -> str:
        without_password = re.sub(r"(?<=//)[^/@]*@", "", self.text)
        return f"{without_password}, which {self.source} names,"


def find() -> Address | None:
    """The cluster of RAY_ADDRESS, or of this user's `ray start` on this machine; None if there is neither.

    `ray.init(address="auto")` would also join the local Ray of another job, which ends with that job, and a cluster of
    any user who can write to the temporary folder, who could then run code here.

    Raises:
        UserError: RAY_ADDRESS is `auto`, and there is no cluster.
    """
    text = os.environ.get("RAY_ADDRESS", "").strip()
    if text == "local":
        return None
    address = Address(text, "RAY_ADDRESS") if text not in ("", "auto") else _from_ray_start()
    if address is None and text:
        raise UserError(f"RAY_ADDRESS is auto, but you have no `ray start` running here; {LOCAL_HINT}")
    return address


def _from_ray_start() -> Address | None:
    """The address that `ray start` wrote on this machine."""
    file = Path(get_ray_address_file(None))
    try:
        text, owner = file.read_text(encoding="utf-8", errors="replace").strip(), file.stat().st_uid
    except OSError:  # usually it does not exist
        return None
    if owner not in (ROOT, os.geteuid()):
        print(
            f"warning: {file} belongs to another user, so the Ray cluster that it names is not joined: set RAY_ADDRESS "
            "to join it",
            file=sys.stderr,
        )
        return None
    return Address(text, str(file)) if text else None


def reachable(address: Address) -> str:
    """Host and port of a cluster that answers and has a node on this machine.

    Raises:
        UserError: the address is malformed, no cluster answers, or it denies access.
    """
    _check_form(address)
    until = time.monotonic() + START_SECONDS
    try:
        target = services.canonicalize_bootstrap_address(address.text)
    except (OSError, ValueError) as error:
        raise UserError(f"{address} cannot be looked up: {error}") from error
    while (problem := _problem(target)) and time.monotonic() + RETRY_SECONDS < until:
        time.sleep(RETRY_SECONDS)
    if problem:
        advice = "correct the address" if address.source == "RAY_ADDRESS" else f"delete {address.source}"
        raise UserError(f"{address} {problem}: start it (`ray start`), or {advice}; {LOCAL_HINT}")
    return str(target)


def _check_form(address: Address) -> None:
    scheme = address.text.partition("://")[0].lower() if "://" in address.text else ""
    if scheme == "ray":
        raise UserError(
            f"{address} is a Ray Client address, which cannot run these jobs: submit them with `ray job submit`, "
            f"or give host:port of the cluster itself (6379 is its usual port); {LOCAL_HINT}"
        )
    if scheme in ("http", "https"):
        raise UserError(
            f"{address} is the address of a job server: use `ray job submit --address ... -- python ...`; {LOCAL_HINT}"
        )
    host, port = parse_address(address.text) or ("", "")
    if scheme or not host or not port.isdecimal() or not 0 < int(port) < 2**16 or any(map(str.isspace, host)):
        raise UserError(f"{address} does not have the form host:port, such as 10.0.0.1:6379; {LOCAL_HINT}")


def _problem(target: str) -> str:
    """Reason why no job can join the cluster, to follow its name; empty if one can."""
    channel = init_grpc_channel(target)
    try:
        NodeInfoGcsServiceStub(channel).CheckAlive(CheckAliveRequest(), timeout=ANSWER_SECONDS)
    except grpc.RpcError as error:
        if error.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
            return "requires another token (RAY_AUTH_MODE=token, with ~/.ray/auth_token or RAY_AUTH_TOKEN)"
        return "does not answer as a Ray cluster"
    except AuthenticationError:
        return "cannot be asked without a token, which RAY_AUTH_MODE requires: set ~/.ray/auth_token or RAY_AUTH_TOKEN"
    finally:
        channel.close()
    if not services.find_node_ids():
        return "has no node on this machine (`ray start --address=...`), and `ray job submit` was not used"
    return ""
