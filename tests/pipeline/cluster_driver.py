"""Attacks on two nodes, of which one is removed while its worker is at work: VICTIM OUTPUT EXAMPLES.

The head has one CPU and what passes for a GPU, of which one worker asks for half; the node has a CPU, for another.
"""

import sys
import threading
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import ray
from ray.cluster_utils import Cluster

from flat_dist.config.schema import AttackConfig
from flat_dist.data.shards import read_manifest
from flat_dist.runtime.progress import Display
from flat_dist.storage.folder import Folder
from tests.pipeline.attack_driver import SlowWorker, plan, run

SEES_DEATH_SOON = {
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 3,
}


def remove_when(written: Path, cluster: Cluster, node: Any) -> None:
    """Remove a node without farewell, once there are two shards."""
    while len(list(written.glob("*.arrow"))) < 2:
        time.sleep(0.05)
    cluster.remove_node(node, allow_graceful=False)


if __name__ == "__main__":
    victim, output, examples = sys.argv[1:]
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "num_gpus": 1, "_system_config": SEES_DEATH_SOON}
    )
    node = cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False)
    attacked = plan(victim, output, pq.read_table(examples))
    threading.Thread(target=remove_when, args=(Path(output), cluster, node), daemon=True).start()
    mixed = AttackConfig(device="cpu", gpus_per_worker=0.5, workers=1, cpu_workers=1)
    with Display() as display:
        run(attacked, mixed, display, SlowWorker)
    manifest = read_manifest(Folder(output))
    assert manifest is not None and manifest["timings"]["restarts"], "the node's worker was at work"
    ray.shutdown()
    cluster.shutdown()
