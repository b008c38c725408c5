"""A Ray that a job starts for itself: who can reach it, and that it says at once what it does not have."""

import ipaddress
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import ray
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from flat_dist.config.errors import UserError
from flat_dist.runtime import capacity, cluster

pytestmark = pytest.mark.ray


ASK = "import sys; from ray._raylet import GcsClient; print(len(GcsClient(address=sys.argv[1]).get_all_node_info()))"


@ray.remote(num_cpus=1)
def work() -> bool:
    return True


def is_loopback(text: str) -> bool:
    address = ipaddress.ip_address(text)
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def test_it_listens_on_loopback_alone(local_ray: None) -> None:
    ray.get(work.remote())  # a worker listens, too
    own = psutil.Process()
    family = {own.pid, *(child.pid for child in own.children(recursive=True))}
    listening = [
        connection.laddr.ip
        for connection in psutil.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.pid in family
    ]
    assert len(listening) > 3
    assert all(is_loopback(address) for address in listening), listening


def test_nobody_else_can_enter_its_folder(local_ray: None) -> None:
    session = Path(ray._private.worker._global_node.get_session_dir_path()).resolve()
    private = next(path for path in session.parents if path.stat().st_mode & 0o077 == 0)  # 0700
    assert private.stat().st_uid == os.geteuid()
    assert session.is_relative_to(private)
    assert (session / "sockets" / "raylet").is_socket()
    elsewhere = [connection for connection in psutil.net_connections("unix") if "/sockets/" in connection.laddr]
    own = {os.getpid(), *(child.pid for child in psutil.Process().children(recursive=True))}
    assert all(connection.laddr.startswith(f"{private}/") for connection in elsewhere if connection.pid in own)


@pytest.mark.parametrize("mine", [True, False])
def test_it_wants_its_token(local_ray: None, mine: bool) -> None:
    environment = os.environ | {"RAY_AUTH_MODE": "token"} | ({} if mine else {"RAY_AUTH_TOKEN": "0" * 64})
    command = [sys.executable, "-c", ASK, ray.get_runtime_context().gcs_address]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.stdout == "1\n") == mine, done.stderr
    assert ("token" in done.stderr) != mine


def test_another_job_on_the_machine_has_a_ray_of_its_own(local_ray: None) -> None:
    code = "from flat_dist.runtime import capacity, cluster\nwith cluster.connected(1):\n    print(capacity.joined())"
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr


def test_missing_tokens_and_open_dashboards_are_named(local_ray: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not list(cluster._security_warnings())
    monkeypatch.setattr(cluster, "is_token_auth_enabled", lambda: False)
    monkeypatch.setattr(cluster, "get_dashboard_url", lambda: "192.0.2.7:8265")
    without_token, dashboard = cluster._security_warnings()
    assert "RAY_AUTH_MODE=token" in without_token
    assert "192.0.2.7" in dashboard


def test_it_cannot_grow_and_nothing_waits_for_that(local_ray: None) -> None:
    said: list[str] = []
    with pytest.raises(UserError, match=r"an attack worker needs 1 CPU and 1 GPU, but this Ray cluster has 2 CPU"):
        capacity.wait_for_resources({"CPU": 1.0, "GPU": 1.0}, "an attack worker", said.append)
    assert not said


def test_a_cluster_that_may_grow_is_waited_for_with_a_line(local_ray: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "_joined", True)
    said: list[str] = []
    with pytest.raises(UserError, match=r"--hardware a100 needs 1 GPU.*add nodes"):
        capacity.wait_for_resources({"GPU": 1.0}, "--hardware a100", said.append, patience=1.5)
    assert said == ["--hardware a100 needs 1 GPU, but this Ray cluster has 2 CPU; waiting for nodes to join"]
    assert ray.get(work.remote())  # what was asked for keeps nobody from working


def test_a_task_in_a_placement_group_may_use_only_its_resources(local_ray: None) -> None:
    group = ray.util.placement_group([{"CPU": 1.0}])
    strategy = PlacementGroupSchedulingStrategy(group, placement_group_capture_child_tasks=True)
    task = ray.remote(num_cpus=0)(capacity.total)
    assert ray.get(task.options(scheduling_strategy=strategy).remote()) == {"CPU": 1.0}
    ray.util.remove_placement_group(group)
    assert capacity.total()["CPU"] == ray.get(task.remote())["CPU"] == 2.0
