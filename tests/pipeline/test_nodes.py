"""Attacks on clusters of several nodes, and on a machine that runs out of memory; each in a process of its own."""

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flat_dist.attack import pool
from flat_dist.config import AttackConfig
from flat_dist.data import shards
from flat_dist.data.storage import Folder
from flat_dist.progress import Display
from tests.pipeline import attack_driver

pytestmark = pytest.mark.ray


def drive(driver: str, victim: Folder, output: Path, examples: pa.Table) -> tuple[dict[str, str], str]:
    """Hashes of the shards that a driver wrote, and what it said."""
    file = output.with_suffix(".parquet")
    pq.write_table(examples, file)
    command = [sys.executable, "-m", f"tests.pipeline.{driver}", victim.uri, str(output), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    manifest = shards.read_manifest(Folder(output))
    assert manifest is not None
    return {shard["name"]: shard["sha256"] for shard in manifest["shards"]}, done.stderr


def undisturbed(victim: Folder, output: Path, examples: pa.Table) -> dict[str, str]:
    with Display(quiet=True) as display:
        pool.generate([attack_driver.stage(victim.uri, str(output), examples)], AttackConfig(device="cpu"), display)
    manifest = shards.read_manifest(Folder(output))
    assert manifest is not None
    return {shard["name"]: shard["sha256"] for shard in manifest["shards"]}


def test_a_node_that_is_removed_costs_nothing(
    local_ray: None, victim: Folder, examples: pa.Table, tmp_path: Path
) -> None:
    found, _ = drive("cluster_driver", victim, tmp_path / "removed", examples)
    assert found == undisturbed(victim, tmp_path / "plain", examples)


def test_an_example_that_takes_all_memory_is_set_aside(
    private_token: None, victim: Folder, examples: pa.Table, tmp_path: Path
) -> None:
    few = examples.slice(0, 4)
    few = few.set_column(0, "example_id", pa.array([f"test-{number}" for number in range(4)]))
    _, said = drive("hungry_driver", victim, tmp_path / "hungry", few)
    rows = {row["example_id"]: row for row in shards.read_shards(Folder(tmp_path / "hungry")).to_pylist()}
    assert [rows[f"test-{number}"]["status"] == "error" for number in range(4)] == [False, False, True, False]
    assert rows["test-2"]["error"] == "OutOfMemoryError: took more memory than its machine has, 2 times alone"
    assert "attack: 1 of 4 examples could not be attacked" in said
