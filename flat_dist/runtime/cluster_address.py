"""The Ray cluster that a job joins: where its address comes from, and whether something there answers as one.

`ray.init` tries an address again and again where nobody answers, and ends in a traceback where its form is wrong.
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

PATIENCE_SECONDS = 2.0
"""How long a cluster is asked that may just be starting."""
ANSWER_SECONDS = 4.0
"""How long it may take to answer."""
ASK_AGAIN_SECONDS = 0.5

ROOT = 0
ALONE = "RAY_ADDRESS=local uses this machine alone"


@dataclass(frozen=True)
class Address:
    """Where a cluster should be."""

    text: str
    """As it was given; only the other form of it may be shown."""
    source: str
    """Who says so: RAY_ADDRESS, or the file that `ray start` leaves."""

    def __str__(self) -> str:
        without_password = re.sub(r"(?<=//)[^/@]*@", "", self.text)
        return f"{without_password}, which {self.source} names,"


def find() -> Address | None:
    """The cluster of RAY_ADDRESS, or of this user's `ray start` on this machine; None if there is neither.

    `ray.init(address="auto")` would also join the Ray that another job started for itself, and that ends with it; and
    the cluster of any user who writes to the folder for temporary files, whom it would let run code here.

    Raises:
        UserError: RAY_ADDRESS is `auto`, and there is no such cluster.
    """
    given = os.environ.get("RAY_ADDRESS", "").strip()
    if given == "local":
        return None
    found = Address(given, "RAY_ADDRESS") if given not in ("", "auto") else _started()
    if found is None and given:
        raise UserError(f"RAY_ADDRESS is auto, but you have no `ray start` running here; {ALONE}")
    return found


def _started() -> Address | None:
    """What `ray start` left on this machine."""
    file = Path(get_ray_address_file(None))
    try:
        text, owner = file.read_text(encoding="utf-8", errors="replace").strip(), file.stat().st_uid
    except OSError:  # most often there is none
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
    """Host and port of a cluster that answers, and has a node here.

    Raises:
        UserError: the address has another form, nobody answers, or who answers is no cluster that lets this user in.
    """
    _check_form(address)
    until = time.monotonic() + PATIENCE_SECONDS
    try:
        target = services.canonicalize_bootstrap_address(address.text)
    except (OSError, ValueError) as error:
        raise UserError(f"{address} cannot be looked up: {error}") from error
    while (why := _refuses(target)) and time.monotonic() + ASK_AGAIN_SECONDS < until:
        time.sleep(ASK_AGAIN_SECONDS)
    if why:
        mend = "correct the address" if address.source == "RAY_ADDRESS" else f"delete {address.source}"
        raise UserError(f"{address} {why}: start it (`ray start`), or {mend}; {ALONE}")
    return str(target)


def _check_form(address: Address) -> None:
    scheme = address.text.partition("://")[0].lower() if "://" in address.text else ""
    if scheme == "ray":
        raise UserError(
            f"{address} is an address of Ray Client, which cannot run these jobs: submit them with `ray job submit`, "
            f"or give host:port of the cluster itself (6379 is its usual port); {ALONE}"
        )
    if scheme in ("http", "https"):
        raise UserError(
            f"{address} is of a job server: `ray job submit --address ... -- python ...` gives it a job; {ALONE}"
        )
    host, port = parse_address(address.text) or ("", "")
    if scheme or not host or not port.isdecimal() or not 0 < int(port) < 2**16 or any(map(str.isspace, host)):
        raise UserError(f"{address} is no address of the form host:port, such as 10.0.0.1:6379; {ALONE}")


def _refuses(target: str) -> str:
    """Why no job can join the cluster there, in words that follow its name; empty if one can."""
    channel = init_grpc_channel(target)
    try:
        NodeInfoGcsServiceStub(channel).CheckAlive(CheckAliveRequest(), timeout=ANSWER_SECONDS)
    except grpc.RpcError as error:
        if error.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
            return "wants another token (RAY_AUTH_MODE=token, with ~/.ray/auth_token or RAY_AUTH_TOKEN)"
        return "is no Ray cluster that answers"
    except AuthenticationError:
        return (
            "is not asked without a token, which RAY_AUTH_MODE wants: there is no ~/.ray/auth_token or RAY_AUTH_TOKEN"
        )
    finally:
        channel.close()
    if not services.find_node_ids():
        return "has no node on this machine (`ray start --address=...`), and `ray job submit` was not used"
    return ""
