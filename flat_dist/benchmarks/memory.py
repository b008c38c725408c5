"""Measures the memory of an attack worker, and the GPU memory of training."""

import itertools
import resource
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import psutil
import torch

from flat_dist.attack import limits
from flat_dist.attack.plan import AttackJob
from flat_dist.benchmarks import common
from flat_dist.config.errors import UserError
from flat_dist.config.schema import Config
from flat_dist.data import datasets
from flat_dist.data.batches import Examples
from flat_dist.data.shards import Example
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models.factory import initial
from flat_dist.models.transformer import Transformer
from flat_dist.resources import assets, textattack_setup
from flat_dist.runtime import hardware
from flat_dist.runtime.progress import Bar, Display
from flat_dist.storage.folder import Folder
from flat_dist.training import memory as training_memory
from flat_dist.training.loop import Loop, TrainingData

SETTLED = 2000
"""Examples after which the memory of a worker must not grow."""


def peak(config: Config, length: int, limit_gib: float) -> dict[str, Any]:
    """Peak GPU memory of training steps on texts of one length, against the planner's estimate.

    Args:
        config: model and training.
        length: pieces of each text.
        limit_gib: limit of this process's GPU memory, in GiB.

    Raises:
        UserError: there is no GPU, or training needs more memory than the limit.
    """
    machine = hardware.detect()
    if machine.gpu is None:
        raise UserError(f"there is no GPU to measure: {machine.problem}")
    config = replace(config, data=replace(config.data, max_length=length))
    config, _ = hardware.resolve(config, machine)
    torch.cuda.set_per_process_memory_fraction(min(limit_gib / machine.memory_gib, 1.0))
    with common.with_weights(config) as (config, weights):
        checkpoint, _ = initial(config, datasets.load(config.data), masked=True)
    config, plan = training_memory.fit(checkpoint.model, config)
    size = config.training.batch_size
    ids = (tuple(range(1, length + 1)),) * (2 * size)
    clean = Examples(ids, np.zeros(len(ids), dtype=np.int64))
    adversarial = replace(clean, swaps=((((ids[0][1:2], 1), (ids[0][2:3], 1)),),) * len(ids))
    data = TrainingData(clean, adversarial, clean)
    torch.cuda.reset_peak_memory_stats()
    loop = Loop(checkpoint.model.to("cuda"), data, config, "peak", config.training.learning_rate)
    loop.train_epoch(1)
    return {
        "model": config.model.name,
        "weights": weights,
        "gpu": machine.gpu,
        "length": length,
        "batch_size": size,
        "micro_batch": config.training.micro_batch,
        "checkpointing": config.training.checkpointing,
        "limit_gib": limit_gib,
        "peak_gib": round(training_memory.peak_gib(loop.device) + training_memory.CUDA_GIB, 2),
        "planned": plan,
    }


def worker_memory(config: Config, given: str | None, count: int, display: Display) -> dict[str, Any]:
    """Memory of one worker that attacks many texts, with the victim of folder `given`, or a new one."""
    config, _ = hardware.resolve(config, hardware.detect())
    dataset = datasets.load(config.data)
    with common.with_weights(config) as (config, _):
        checkpoint = common.victim(config, dataset, given, display)
    textattack_setup.activate(assets.prepare())
    bounds = limits.resolve(config.attack, isinstance(checkpoint.model, Transformer))
    size = limits.unit_size(config.attack, bounds)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Folder(scratch)
        checkpoints.save(checkpoint, folder / "victim")
        job = AttackJob(
            attack=config.attack.name,
            checkpoint=(folder / "victim").uri,
            synonyms=config.attack.synonyms,
            output=(folder / "shards").uri,
            round_number=0,
            seed=config.seed,
            device=config.attack.device,
            limits={config.attack.device: bounds},
            unit_size=size,
            identity={},
        )
        del checkpoint
        examples = itertools.islice(common.distinct_examples(dataset), count)
        units = iter(lambda: list(itertools.islice(examples, size)), [])
        with display.stage("attack", count) as bar:
            return _watch(job, units, bar)


def _watch(job: AttackJob, examples: Iterable[Sequence[Example]], bar: Bar) -> dict[str, Any]:
    """Attack units of examples in one worker's session, and measure the resident memory of this process.

    Returns:
        Resident MiB after each thousand examples, their peak, and their growth after the first `SETTLED` examples.
    """
    from flat_dist.attack.pool.session import AttackSession  # imports TextAttack

    session, process = AttackSession(), psutil.Process()
    done, seen = 0, {}
    began = time.perf_counter()
    for number, unit in enumerate(examples):
        session.run(job, number, unit)
        done += len(unit)
        seen[done] = process.memory_info().rss / 2**20
        bar.advance(len(unit), f"{seen[done]:.0f} MiB")
    early = max((mebibytes for count, mebibytes in seen.items() if count <= SETTLED), default=0.0)
    late = max((mebibytes for count, mebibytes in seen.items() if count > SETTLED), default=early)
    return {
        "recipe": job.attack,
        "examples": done,
        "seconds": round(time.perf_counter() - began, 1),
        "resident_mib": {count: round(seen[count]) for count in _thousands(seen)},
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10),
        "growth_mib": round(late - early),
    }


def _thousands(counts: Iterable[int]) -> list[int]:
    """The first count at or above each thousand."""
    first: dict[int, int] = {}
    for count in counts:
        first.setdefault(count // 1000, count)
    return list(first.values())
