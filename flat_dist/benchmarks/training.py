"""Measures training under Ray Train against a plain PyTorch loop, in turns."""

import statistics
import tempfile
from dataclasses import replace
from typing import Any

from flat_dist.benchmarks import common
from flat_dist.config.schema import Config
from flat_dist.config.serialization import to_dict
from flat_dist.data import datasets
from flat_dist.data.datasets import Dataset
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models.factory import initial
from flat_dist.runtime import cluster, hardware
from flat_dist.runtime.progress import Display
from flat_dist.storage.arrow import write_table
from flat_dist.storage.folder import Folder
from flat_dist.training import distributed
from flat_dist.training.job import TIMINGS, Timings, TrainingJob

TURNS = 2
EPOCHS = 3
"""Epochs of each turn. The first one, which includes the warm-up, is not counted."""


def measure(config: Config, count: int, display: Display) -> dict[str, Any]:
    """Examples per second of both, at steady state.

    Args:
        config: data, model and training.
        count: training texts of an epoch.
        display: shows the progress.
    """
    with cluster.connected(), common.with_weights(config) as (config, weights):
        config, _ = hardware.resolve(config, cluster.machine())
        return _measure(config, datasets.load(config.data), count, display) | {"weights": weights}


def _measure(config: Config, dataset: Dataset, count: int, display: Display) -> dict[str, Any]:
    dataset = replace(dataset, train=dataset.train.slice(0, count), dev=dataset.dev.slice(0, 64))
    plain: list[float] = []
    under_ray: list[float] = []
    peak = 0.0
    with display.stage(f"train {config.model.name}, plain and under Ray", 2 * TURNS) as bar:
        for turn in range(TURNS):
            plain += common.plain_epochs(config, dataset, EPOCHS)[1:]
            bar.advance(1)
            timings = _under_ray(config, dataset, turn, display)
            under_ray += timings.seconds[1:]
            peak = max(peak, timings.peak_gpu_gib)
            bar.advance(1)
    rates = [dataset.train.num_rows / statistics.median(seconds) for seconds in (plain, under_ray)]
    return {
        "model": config.model.name,
        "device": config.training.device,
        "precision": config.training.precision,
        "examples": dataset.train.num_rows,
        "batch_size": config.training.batch_size,
        "workers": config.training.workers,
        "threads": config.training.cpus_per_worker,
        "plain_examples_per_s": round(rates[0], 2),
        "examples_per_s": round(rates[1], 2),
        "ratio": round(rates[1] / rates[0], 3),
        "peak_gpu_gib": round(peak, 2),
    }


def _under_ray(config: Config, dataset: Dataset, turn: int, display: Display) -> Timings:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Folder(scratch)
        for split in ("train", "dev"):
            write_table(folder / "data", split, getattr(dataset, split))
        checkpoints.save(initial(config, dataset, masked=False)[0], folder / "start")
        data, start = (folder / "data").uri, (folder / "start").uri
        rate = config.training.learning_rate
        job = TrainingJob("bench", "base", to_dict(config), data, start, (), EPOCHS, rate)
        with display.stage("under Ray", EPOCHS) as bar:
            distributed.train(job, f"bench-{turn}", folder / "ray", folder / "result", bar)
        timings: Timings = (folder / "result").read_json(TIMINGS, Timings)
        return timings
