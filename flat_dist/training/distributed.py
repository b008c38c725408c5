"""The training loop under Ray Train: one run name for each stage, resumed from its last epoch."""

import errno
import math
import os
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
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
from flat_dist.storage.file_validation import DamagedFileError
from flat_dist.storage.folder import Folder
from flat_dist.training.job import (
    LEAST_STALL_SECONDS,
    WORKER_LOSSES,
    TrainingJob,
    load_data,
    start,
    write_best,
    write_history,
)
from flat_dist.training.loop import Loop, Worker
from flat_dist.training.progress import ProgressFile, watch
from flat_dist.training.state import read_saved

SNAPSHOT = "checkpoint_manager_snapshot.json"
"""Ray Train's: which folders hold states. It writes it in place, so that a kill or a power cut may leave half of it."""


def places(config: TrainingConfig, log_line: Callable[[str], None]) -> int:
    """How many stages the cluster can train at once; one that grows is waited for until that is one.

    Raises:
        UserError: not even one.
    """
    wanted = {"CPU": float(config.workers * config.cpus_per_worker)}
    if config.device == "cuda":
        wanted["GPU"] = float(config.workers)
    purpose = f"training (--training.workers {config.workers}, --training.cpus_per_worker {config.cpus_per_worker})"
    capacity.wait_for_resources(wanted, purpose, log_line)
    total = ray.cluster_resources()
    return min(int(total[name] // amount) for name, amount in wanted.items())


def train(job: TrainingJob, run_name: str, storage: Folder, output: Folder, bar: Bar) -> None:
    """Train on Ray, and write the best epoch's checkpoint and `history.json`, each epoch's metrics, to `output`.

    Args:
        job: what to train, and on what.
        run_name: a run of this name that was interrupted goes on after its last epoch.
        storage: where Ray Train keeps its state meanwhile.
        output: where the result goes.
        bar: follows the epochs.

    Raises:
        UserError: a shard is damaged, or the disk is full.
        ray.train.TrainingFailedError: a worker raised something else, or was lost too often.
    """
    config = from_dict(Config, job.config, job.name)
    _drop_damaged_state(storage, run_name, bar)
    _notice_stopped_workers(config.attack.stall_seconds)
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
    finished = threading.Event()
    watcher = threading.Thread(target=watch, args=(output, bar, finished), daemon=True)
    watcher.start()
    # Not in the main thread: there Ray Train takes Ctrl-C over for good, and ends the process in a way of its own.
    executor = ThreadPoolExecutor(1)
    try:
        executor.submit(trainer.fit).result()
    except TrainingFailedError as error:
        raise _explained(error, storage) from error
    finally:
        executor.shutdown(wait=False)
        finished.set()
        watcher.join()


@dataclass(frozen=True)
class _Reported:
    checkpoint_dir_name: str
    metrics: dict[str, Any]


@dataclass(frozen=True)
class _Snapshot:
    """What Ray Train's must hold, and its types."""

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
    """Remove what Ray Train kept of an interrupted run if it could not go on from it."""
    kept = storage / run_name
    try:
        snapshot: _Snapshot = kept.read_json(SNAPSHOT, _Snapshot)
        for reported in snapshot.checkpoint_results:
            kept.place(reported.checkpoint_dir_name)  # no path to somewhere else
            read_saved(kept / reported.checkpoint_dir_name)
    except FileNotFoundError:
        return
    except DamagedFileError as error:
        bar.display.log_line(f"{bar.title} starts again from the beginning: {error}")
        storage.remove(run_name)


def _notice_stopped_workers(stall_seconds: float) -> None:
    """Have Ray Train end workers whose processes give no sign for so long, and go on after the last epoch."""
    seconds = max(stall_seconds, LEAST_STALL_SECONDS) if stall_seconds else math.inf
    os.environ.setdefault("RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S", str(seconds))


def _explained(error: TrainingFailedError, storage: Folder) -> Exception:
    """What the user can mend about a failure, if it is in there."""
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
    """What each Ray Train worker runs."""
    job: TrainingJob = settings["job"]
    output = Folder(settings["output"])
    config = from_dict(Config, job.config, job.name)
    torch.set_num_threads(config.training.cpus_per_worker)
    checkpoint = start(job, config)
    checkpoint.model.to(ray.train.torch.get_device())
    context = ray.train.get_context()
    rank, world_size = context.get_world_rank(), context.get_world_size()
    after_step = (lambda epochs: None) if rank else ProgressFile(output)
    worker = Worker(rank, world_size, ray.train.torch.prepare_model, after_step)
    data = load_data(job, config, checkpoint.encoder)
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

    loop.run(job.epochs, report)
    if not rank:
        write_best(loop, checkpoint, output)
