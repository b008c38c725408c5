"""Attacks on two nodes, and removes one node while its worker is busy: VICTIM OUTPUT EXAMPLES.

The head has one CPU and a simulated GPU, of which one worker needs half. The node has one CPU, for another worker.
"""

import sys
import threading
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import ray
from ray.cluster_utils import Cluster

from flat_dist.attack.pool.run import worker_groups
from flat_dist.config.schema import AttackConfig
from flat_dist.data.shards import read_manifest
from flat_dist.runtime.progress import Display
from flat_dist.storage.folder import Folder
from tests.pipeline.attack_driver import SlowWorker, plan, run

FAST_HEALTH_CHECKS = {
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 3,
}


def remove_when(written: Path, cluster: Cluster, node: Any) -> None:
    """Remove a node without a graceful shutdown, as soon as two shards are written."""
    while len(list(written.glob("*.arrow"))) < 2:
        time.sleep(0.05)
    cluster.remove_node(node, allow_graceful=False)


if __name__ == "__main__":
    victim, output, examples = sys.argv[1:]
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "num_gpus": 1, "_system_config": FAST_HEALTH_CHECKS}
    )
    node = cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False)
    attacked = plan(victim, output, pq.read_table(examples))
    threading.Thread(target=remove_when, args=(Path(output), cluster, node), daemon=True).start()
    mixed = AttackConfig(device="cpu", gpus_per_worker=0.5, workers=1, cpu_workers=1)
    with Display() as display:
        run(attacked, mixed, display, worker_groups(mixed, SlowWorker))
    manifest = read_manifest(Folder(output))
    assert manifest is not None and manifest["timings"]["restarts"], "the node's worker was at work"
    ray.shutdown()
    cluster.shutdown()
