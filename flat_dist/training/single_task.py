"""Training in a single Ray task, for models that train faster than Ray Train starts."""

import re
from collections.abc import Callable
from functools import partial

import ray
import torch

from flat_dist.config.schema import Config
from flat_dist.config.serialization import from_dict
from flat_dist.runtime import tasks
from flat_dist.runtime.progress import Bar
from flat_dist.runtime.timeline import Recorder
from flat_dist.storage.file_validation import DamagedFileError
from flat_dist.storage.folder import Folder
from flat_dist.training.job import (
    LEAST_STALL_SECONDS,
    WORKER_LOSSES,
    TrainingJob,
    load_data,
    load_start,
    write_best,
    write_history,
)
from flat_dist.training.loop import Loop, Worker
from flat_dist.training.progress import ProgressFile, shown

LATEST = "latest.json"
"""Name of the file that names the folder of the latest state."""


def train_alone(job: TrainingJob, run_name: str, storage: Folder, output: Folder, bar: Bar) -> None:
    """As `distributed.train` with one worker, but in a single Ray task, which starts faster.

    The task needs the resources of one training worker. Inside a trial of Ray Tune they come from the trial's share.

    Raises:
        UserError: training diverged, a shard is damaged, the disk is full, or its process hangs repeatedly.
        ray.exceptions.RayError: the task raised another error, or crashed too often.
    """
    config = from_dict(Config, job.config, job.name)
    training = config.training
    task = _train_alone.options(num_cpus=training.cpus_per_worker, num_gpus=int(training.device == "cuda"))
    call = partial(task.remote, job, output.uri, (storage / run_name).uri)
    stall_seconds = config.attack.stall_seconds and max(config.attack.stall_seconds, LEAST_STALL_SECONDS)
    with shown(output, bar):
        list(tasks.results(f"train {job.name}", {job.name: call}, stall_seconds))


@ray.remote(max_retries=WORKER_LOSSES)
def _train_alone(job: TrainingJob, output_uri: str, kept_uri: str, name: str) -> None:
    train_here(job, output_uri, kept_uri, tasks.ProgressReporter(name))


def train_here(job: TrainingJob, output_uri: str, kept_uri: str, tick: Callable[..., None]) -> None:
    """Train in this process.

    Args:
        job: what to train, and on what.
        output_uri: folder of the result.
        kept_uri: folder of the latest epoch's state, from which an interrupted training resumes.
        tick: called at each answer of the model.
    """
    output, kept = Folder(output_uri), Folder(kept_uri)
    config = from_dict(Config, job.config, job.name)
    torch.set_num_threads(config.training.cpus_per_worker)
    recorder = Recorder()
    with recorder.phase("data"):
        checkpoint = load_start(job, config)
        checkpoint.model.to(config.training.device)
        checkpoint.model.output.register_forward_hook(lambda *_: tick())
        data, worker = load_data(job, config, checkpoint.encoder), Worker(after_step=ProgressFile(output))
    loop = Loop(checkpoint.model, data, config, job.name, job.learning_rate, worker)
    _resume(loop, kept)

    def report(loop: Loop, metrics: dict[str, float]) -> None:
        write_history(loop, output)
        loop.save(kept / f"epoch-{loop.state.epoch}")
        kept.write_json(LATEST, f"epoch-{loop.state.epoch}")
        kept.remove(f"epoch-{loop.state.epoch - 1}")

    with recorder.phase("train"):
        loop.run(job.epochs, report)
    write_best(loop, checkpoint, output, recorder)


def _resume(loop: Loop, kept: Folder) -> None:
    """Resume after the latest epoch, if its state is complete."""
    try:
        latest = kept.read_json(LATEST, str)
        if re.fullmatch(r"epoch-\d+", latest):
            loop.restore(kept / latest)
    except (FileNotFoundError, DamagedFileError):
        return
