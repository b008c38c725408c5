"""The training loop under Ray Train. An interrupted training resumes after its last complete epoch."""

import errno
import math
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray
import ray.train
import ray.train.torch
import torch
from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchTrainer

from flat_dist.config.errors import UserError
from flat_dist.config.schema import Config, TrainingConfig
from flat_dist.config.serialization import from_dict
from flat_dist.runtime import capacity
from flat_dist.runtime.progress import Bar
from flat_dist.runtime.threads import in_threads
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
from flat_dist.training.state import read_saved

SNAPSHOT = "checkpoint_manager_snapshot.json"
"""Ray Train's file of the saved states. Ray Train writes it in place, so a killed process can leave half of it."""


def parallel_trainings(config: TrainingConfig, log_line: Callable[[str], None]) -> int:
    """Number of trainings that fit on the cluster at the same time. Waits for a growing cluster until one fits.

    Raises:
        UserError: not even one fits.
    """
    required = {"CPU": float(config.workers * config.cpus_per_worker)}
    if config.device == "cuda":
        required["GPU"] = float(config.workers)
    purpose = f"training (--training.workers {config.workers}, --training.cpus-per-worker {config.cpus_per_worker})"
    capacity.wait_for_resources(required, purpose, log_line)
    total = ray.cluster_resources()
    return min(int(total[name] // amount) for name, amount in required.items())


def train(job: TrainingJob, run_name: str, storage: Folder, output: Folder, bar: Bar) -> None:
    """Train on Ray; write the checkpoint of the best epoch and `history.json`, the metrics of each epoch, to `output`.

    Args:
        job: what to train, and on what.
        run_name: an interrupted run of this name resumes after its last epoch.
        storage: where Ray Train keeps its state during the training.
        output: folder of the result.
        bar: shows the epochs.

    Raises:
        UserError: a shard is damaged, or the disk is full.
        ray.train.TrainingFailedError: a worker raised another error, or crashed too often.
    """
    config = from_dict(Config, job.config, job.name)
    _drop_damaged_state(storage, run_name, bar)
    _set_worker_timeout(config.attack.stall_seconds)
    trainer = TorchTrainer(
        train_worker,
        train_loop_config={"job": job, "output": output.uri},
        scaling_config=ScalingConfig(
            num_workers=config.training.workers,
            use_gpu=config.training.device == "cuda",
            resources_per_worker={"CPU": config.training.cpus_per_worker},
        ),
        run_config=_run_config(run_name, storage),
    )
    # Not in the main thread: Ray Train would replace the handler of Ctrl-C there, and never restore it.
    try:
        with shown(output, bar):
            in_threads([trainer.fit], 1)
    except TrainingFailedError as error:
        raise _translate_error(error, storage) from error


@dataclass(frozen=True)
class _Reported:
    checkpoint_dir_name: str
    metrics: dict[str, Any]


@dataclass(frozen=True)
class _Snapshot:
    """The fields of Ray Train's file, and their types."""

    checkpoint_results: list[_Reported]
    checkpoint_report_indices: list[int]
    pending_training_results: list[_Reported]
    pending_validation_specs: list[Any]
    current_report_index: int
    validated_checkpoint_dir_names: list[str]
    timed_out_validation_checkpoint_dir_names: list[str]
    failed_validation_checkpoint_dir_names: list[str]
    latest_checkpoint_result: _Reported | None = None


def _drop_damaged_state(storage: Folder, run_name: str, bar: Bar) -> None:
    """Remove the state of an interrupted run if Ray Train could not resume from it."""
    kept = storage / run_name
    try:
        snapshot: _Snapshot = kept.read_json(SNAPSHOT, _Snapshot)
        for reported in snapshot.checkpoint_results:
            kept.place(reported.checkpoint_dir_name)  # refuses paths that leave the folder
            read_saved(kept / reported.checkpoint_dir_name)
    except FileNotFoundError:
        return
    except DamagedFileError as error:
        bar.display.log_line(f"{bar.title} starts again from the beginning: {error}")
        storage.remove(run_name)


def _set_worker_timeout(stall_seconds: float) -> None:
    """Make Ray Train restart workers whose processes do not answer for so long."""
    seconds = max(stall_seconds, LEAST_STALL_SECONDS) if stall_seconds else math.inf
    os.environ.setdefault("RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S", str(seconds))


def _translate_error(error: TrainingFailedError, storage: Folder) -> Exception:
    """The UserError that caused a failure, if there is one; otherwise the error itself."""
    failures = getattr(error, "worker_failures", {}).values()
    for failure in failures:
        while failure is not None:
            if isinstance(failure, UserError):
                return failure
            failure = getattr(failure, "cause", None) or failure.__cause__
    if os.strerror(errno.ENOSPC) in str(error):
        return UserError(f"{storage.uri} is full: make room there, or in Ray's folder; the same command then continues")
    return error


def _run_config(name: str, storage: Folder) -> RunConfig:
    files, path = storage.remote or (None, str(storage.local))
    return RunConfig(
        name=name,
        storage_path=path,
        storage_filesystem=files,
        checkpoint_config=CheckpointConfig(num_to_keep=1),
        failure_config=FailureConfig(max_failures=WORKER_LOSSES),
    )


def train_worker(settings: dict[str, Any]) -> None:
    """The function that each Ray Train worker runs."""
    job: TrainingJob = settings["job"]
    output = Folder(settings["output"])
    config = from_dict(Config, job.config, job.name)
    torch.set_num_threads(config.training.cpus_per_worker)
    recorder = Recorder()
    with recorder.phase("data"):
        checkpoint = load_start(job, config)
        checkpoint.model.to(ray.train.torch.get_device())
        data = load_data(job, config, checkpoint.encoder)
    context = ray.train.get_context()
    rank, world_size = context.get_world_rank(), context.get_world_size()
    after_step = (lambda epochs: None) if rank else ProgressFile(output)
    worker = Worker(rank, world_size, ray.train.torch.prepare_model, after_step)
    loop = Loop(checkpoint.model, data, config, job.name, job.learning_rate, worker)
    if previous := ray.train.get_checkpoint():
        with previous.as_directory() as folder:
            loop.restore(Folder(folder))

    def report(loop: Loop, metrics: dict[str, float]) -> None:
        if rank:
            ray.train.report(metrics)
            return
        write_history(loop, output)
        with tempfile.TemporaryDirectory() as folder:
            loop.save(Folder(folder))
            ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(folder))

    with recorder.phase("train"):
        loop.run(job.epochs, report)
    if not rank:
        write_best(loop, checkpoint, output, recorder)
