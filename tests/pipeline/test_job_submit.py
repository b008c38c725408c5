"""Jobs submitted from outside to two nodes, as `ray start` makes them: logs, exit codes, and no strangers."""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from flat_dist.data import shards
from flat_dist.storage.folder import Folder

pytestmark = pytest.mark.ray

ROOT = Path(__file__).parents[2]
RAY = str(Path(sys.executable).with_name("ray"))

NOT_YET = ("Failed to connect to Ray at address", "No available agent")
"""What is said before the job server, and then its agent, have started."""


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@dataclass
class Running:
    """A cluster of two nodes, each of one CPU, of which the second may still be on its way."""

    address: str
    """Of its job server."""
    gcs: str
    """Of the cluster itself."""
    environment: dict[str, str]

    def submit(self, *job: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [RAY, "job", "submit", "--address", self.address, "--working-dir", str(ROOT), "--", *job]
        known = self.environment | environment
        while True:
            done = subprocess.run(command, env=known, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            if not any(line in done.stdout for line in NOT_YET):
                return done
            time.sleep(1)


def start_node(where: str, environment: dict[str, str], port: int) -> subprocess.Popen[bytes]:
    """A node, once the head's port answers."""
    command = [RAY, "start", *where.split(), "--num-cpus", "1", "--block"]
    command += ["--dashboard-agent-listen-port", str(free_port())]
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, env=environment, stdout=quiet, stderr=quiet, start_new_session=True)
    while True:
        assert process.poll() is None
        with socket.socket() as head:
            if head.connect_ex(("127.0.0.1", port)) == 0:
                return process
        time.sleep(0.2)


def end(process: subprocess.Popen[bytes]) -> None:
    node = psutil.Process(process.pid)
    for one in (node, *node.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    process.wait()


@pytest.fixture(scope="module")
def running(private_token: None) -> Iterator[Running]:
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    environment |= {"RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0"}
    environment["PATH"] = f"{Path(RAY).parent}:/usr/bin:/bin"
    port, dashboard = free_port(), free_port()
    folder = Path(tempfile.mkdtemp(prefix="ray"))  # sockets want a short path
    head = f"--head --port {port} --dashboard-host 127.0.0.1 --dashboard-port {dashboard}"
    nodes = []
    try:
        for name, where in (
            ("a", head),
            ("b", f"--address 127.0.0.1:{port}"),
        ):  # each its own folder, as of two machines
            nodes.append(start_node(f"{where} --temp-dir {folder / name}", environment, port))
        yield Running(f"http://127.0.0.1:{dashboard}", f"127.0.0.1:{port}", environment)
    finally:
        for node in reversed(nodes):
            end(node)
        shutil.rmtree(folder, ignore_errors=True)


def test_a_job_from_outside_runs_on_both_nodes_and_its_logs_come_back(
    running: Running, victim: Folder, tmp_path: Path
) -> None:
    options = f"--checkpoint {victim.uri} --attack.name pwws --examples 12 --attack.unit-size 3 --storage {tmp_path}"
    options += " --data.name rotten_tomatoes_sample"
    done = running.submit("python", "jobs/attack.py", *options.split(), "--attack.workers", "2", "--json")
    assert done.returncode == 0, done.stdout
    assert "after_attack_accuracy" in done.stdout
    assert re.search(r'"stage": "pwws on [^"]+, test texts", "done": 12', done.stdout)
    (output,) = tmp_path.glob("stages/attack-pwws-*")
    assert shards.read_shards(Folder(output)).num_rows == 12


@pytest.mark.slow
def test_a_sweep_from_outside_has_its_trials_on_the_cluster(running: Running, tmp_path: Path, assets: object) -> None:
    options = "--preset rotten_tomatoes --samples 2 --searcher random --training.rounds 1 --training.epochs 1"
    options += " --training.epochs-per-round 1"
    options += " --model.kernels 8 --attack.sample 12 --evaluation.sample 10 --evaluation.ig-pairs 3"
    done = running.submit(
        "python", "tuning/sweep.py", *options.split(), "--storage", str(tmp_path), "--tracking.no-enabled", "--json"
    )
    assert done.returncode == 0, done.stdout
    (results,) = tmp_path.glob("sweep-*/sweep.json")
    assert [one["status"] for one in json.loads(results.read_text())["trials"]] == ["finished", "finished"]
    assert (results.parent / "best.yaml").is_file()


def test_a_job_that_fails_says_why_and_its_exit_code_is_not_0(running: Running, tmp_path: Path) -> None:
    done = running.submit("python", "jobs/attack.py", "--checkpoint", str(tmp_path / "nothing"))
    assert done.returncode != 0
    assert "error: " in done.stdout
    assert "holds no checkpoint" in done.stdout


def test_who_has_no_token_is_turned_away(running: Running) -> None:
    done = running.submit("python", "-c", "print('in')", RAY_AUTH_TOKEN="0" * 64)
    assert done.returncode != 0
    assert "token" in done.stdout
    assert "in\n" not in done.stdout.splitlines(keepends=True)


JOIN = """
from flat_dist import cli
from flat_dist.runtime import capacity, cluster
def job(arguments):
    with cluster.connected():
        print(capacity.joined())
cli.main(job)
"""


@pytest.mark.parametrize(
    ("token", "code", "said"), [({}, 0, "True\n"), ({"RAY_AUTH_TOKEN": "0" * 64}, 2, "requires another token")]
)
def test_a_driver_on_a_node_joins_with_the_token_and_is_told_that_it_wants_one(
    running: Running, token: dict[str, str], code: int, said: str
) -> None:
    environment = running.environment | {"RAY_ADDRESS": running.gcs} | token
    command = [sys.executable, "-c", JOIN]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == code, done.stderr
    assert said in (done.stderr if code else done.stdout)
