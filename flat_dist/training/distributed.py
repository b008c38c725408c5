"""The training loop under Ray Train: one run name for each stage, resumed from its last epoch."""

import errno
import math
import os
import re
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pyarrow as pa
import ray
import ray.train
import ray.train.torch
import torch
from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchTrainer

from flat_dist.config.errors import UserError
from flat_dist.config.schema import Config, TrainingConfig
from flat_dist.config.serialization import from_dict
from flat_dist.data.batches import Encoder, encode_adversarial, encode_clean
from flat_dist.data.shards import read_shards
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models.checkpoint import Checkpoint
from flat_dist.runtime import capacity, tasks
from flat_dist.runtime.progress import Bar
from flat_dist.runtime.seeds import derive_seed
from flat_dist.storage.arrow import read_table
from flat_dist.storage.file_validation import DamagedFileError
from flat_dist.storage.folder import Folder
from flat_dist.training import memory
from flat_dist.training.loop import History, Loop, TrainingData, read_saved

HISTORY = "history.json"
"""Metrics of each epoch so far."""

MATTERS = (
    "batch_size", "clip", "select", "keep", "workers", "cpus_per_worker", "optimizer", "mask_learning_rate", "schedule",
    "warmup", "weight_decay", "buckets", "precision",
)  # fmt: skip
"""Fields of `TrainingConfig`, beside those that a job names itself, that change a stage's result by more than
rounding."""

TIMINGS = "timings.json"
"""Seconds of each epoch's training in the latest call, and what it took of a GPU; no result depends on it."""

LATEST = "latest.json"
"""Without Ray Train: name of the folder that holds the state after the latest epoch."""

SNAPSHOT = "checkpoint_manager_snapshot.json"
"""Ray Train's: which folders hold states. It writes it in place, so that a kill or a power cut may leave half of it."""

PROGRESS = "progress.json"
"""Epochs done so far, a fraction; for whoever watches."""
PROGRESS_SECONDS = 3.0
"""How often it is written."""

WORKER_LOSSES = 2
"""Times that training goes on after its last epoch when a worker was lost; a node that is taken away does not count."""

LEAST_STALL_SECONDS = 60.0
"""Without a sign of a process, after which it hangs, at least, however soon one that attacks does."""

WATCH_SECONDS, REMOTE_WATCH_SECONDS = 1.0, 5.0
"""How often the driver looks for a new epoch, on this machine and on an object store."""


Train = Callable[["TrainingJob", str, Folder, Folder, Bar], None]
"""What trains a stage: `train`, or `train_alone`."""


@dataclass(frozen=True)
class TrainingJob:
    """A training stage in plain values, which travel to the workers."""

    name: str
    """What is trained, such as adv-2; its random numbers depend on it."""
    kind: str
    """base, adv or flat."""
    config: dict[str, Any]
    """The run's config, as `config.to_dict` makes it."""
    data: str
    """Folder of the clean splits."""
    start: str
    """Folder of the checkpoint to start from."""
    shards: tuple[str, ...]
    """Folders of the attack stages to train on, oldest first."""
    epochs: int
    learning_rate: float


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


def load_data(job: TrainingJob, config: Config, encoder: Encoder) -> TrainingData:
    """Clean examples and those of all the shards, encoded."""
    folder = Folder(job.data)
    adversarial = None
    if job.shards:
        shards = pa.concat_tables([read_shards(Folder(uri)) for uri in job.shards])
        adversarial = encode_adversarial(shards, encoder, config.training.keep)
    clean, dev = (encode_clean(read_table(folder, split), encoder) for split in ("train", "dev"))
    return TrainingData(clean, adversarial, dev)


def start(job: TrainingJob, config: Config) -> Checkpoint:
    """The checkpoint to start from; FLAT adds a word mask where there is none yet."""
    checkpoint = checkpoints.load(Folder(job.start))
    model = checkpoint.model
    if job.kind == "flat" and model.mask is None:
        torch.manual_seed(derive_seed(config.seed, "mask"))
        checkpoints.add_mask(model, checkpoint.config)
    model.embeddings.requires_grad_(job.kind not in config.training.freeze_embeddings)
    return checkpoint


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
    watcher = threading.Thread(target=_watch, args=(output, bar, finished), daemon=True)
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


def train_alone(job: TrainingJob, run_name: str, storage: Folder, output: Folder, bar: Bar) -> None:
    """`train` in a task of Ray's, without Ray Train, whose start takes longer than a small model's training.

    It asks Ray for what one worker of Ray Train would, and nothing beside; inside a trial of Ray Tune it gets that from
    the trial's share. The results are those of `train` with one worker.

    Raises:
        UserError: training diverged, a shard is damaged, the disk is full, or its process hangs again and again.
        ray.exceptions.RayError: it raised something else, or was lost too often.
    """
    config = from_dict(Config, job.config, job.name)
    training = config.training
    task = _train_alone.options(num_cpus=training.cpus_per_worker, num_gpus=int(training.device == "cuda"))
    call = partial(task.remote, job, output.uri, (storage / run_name).uri)
    stall_seconds = config.attack.stall_seconds and max(config.attack.stall_seconds, LEAST_STALL_SECONDS)
    list(tasks.results(f"train {job.name}", {job.name: call}, stall_seconds))
    _show(output, bar)


@ray.remote(max_retries=WORKER_LOSSES)
def _train_alone(job: TrainingJob, output_uri: str, kept_uri: str, name: str) -> None:
    progress = tasks.ProgressReporter(name)
    output, kept = Folder(output_uri), Folder(kept_uri)
    config = from_dict(Config, job.config, job.name)
    torch.set_num_threads(config.training.cpus_per_worker)
    checkpoint = start(job, config)
    checkpoint.model.to(config.training.device)
    progress.follow(checkpoint.model.output)
    loop = Loop(checkpoint.model, load_data(job, config, checkpoint.encoder), config, job.name, job.learning_rate)
    _go_on(loop, kept)

    def report(loop: Loop, metrics: dict[str, float]) -> None:
        _write_history(loop, output)
        loop.save(kept / f"epoch-{loop.state.epoch}")
        kept.write_json(LATEST, f"epoch-{loop.state.epoch}")
        kept.remove(f"epoch-{loop.state.epoch - 1}")

    loop.run(job.epochs, report)
    _write_best(loop, checkpoint, output)


def _go_on(loop: Loop, kept: Folder) -> None:
    """Continue after the latest epoch, if its state is there and whole."""
    try:
        latest = kept.read_json(LATEST, str)
        if re.fullmatch(r"epoch-\d+", latest):
            loop.restore(kept / latest)
    except (FileNotFoundError, DamagedFileError):
        return


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


def _watch(output: Folder, bar: Bar, finished: threading.Event) -> None:
    while not finished.wait(WATCH_SECONDS if output.local else REMOTE_WATCH_SECONDS):
        _show(output, bar)
    _show(output, bar)


def _show(output: Folder, bar: Bar) -> None:
    history, done = _so_far(output, HISTORY, History, []), _so_far(output, PROGRESS, float, 0.0)
    notes = [
        f"loss {one.get('loss', math.nan):.3f}, dev accuracy {100 * one.get('dev_accuracy', math.nan):.1f} %"
        for one in history[-1:]
    ]
    under_way = done - len(history)
    if under_way > 0:
        notes.append(f"{100 * under_way:.0f} % of epoch {len(history) + 1}")
    bar.advance(len(history) - bar.done, ", ".join(notes))


def _so_far(output: Folder, name: str, kind: Any, nothing: Any) -> Any:
    """What the worker wrote down last; nothing yet where an earlier one left a file that is damaged."""
    try:
        return output.read_json(name, kind)
    except (FileNotFoundError, DamagedFileError):
        return nothing


@dataclass
class _Progress:
    """Writes down how far the epochs are, now and then."""

    output: Folder
    written: float = field(default_factory=time.monotonic)

    def __call__(self, epochs: float) -> None:
        if time.monotonic() - self.written > PROGRESS_SECONDS:
            self.written = time.monotonic()
            self.output.write_json(PROGRESS, epochs)


def train_worker(settings: dict[str, Any]) -> None:
    """What each Ray Train worker runs."""
    job: TrainingJob = settings["job"]
    output = Folder(settings["output"])
    config = from_dict(Config, job.config, job.name)
    torch.set_num_threads(config.training.cpus_per_worker)
    checkpoint = start(job, config)
    checkpoint.model.to(ray.train.torch.get_device())
    context = ray.train.get_context()
    loop = Loop(
        checkpoint.model,
        load_data(job, config, checkpoint.encoder),
        config,
        job.name,
        job.learning_rate,
        context.get_world_rank(),
        context.get_world_size(),
        ray.train.torch.prepare_model,
        (lambda epochs: None) if context.get_world_rank() else _Progress(output),
    )
    if previous := ray.train.get_checkpoint():
        with previous.as_directory() as folder:
            loop.restore(Folder(folder))

    def report(loop: Loop, metrics: dict[str, float]) -> None:
        if loop.rank:
            ray.train.report(metrics)
            return
        _write_history(loop, output)
        with tempfile.TemporaryDirectory() as folder:
            loop.save(Folder(folder))
            ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(folder))

    loop.run(job.epochs, report)
    if not loop.rank:
        _write_best(loop, checkpoint, output)


def _write_history(loop: Loop, output: Folder) -> None:
    output.write_json(HISTORY, loop.state.history)
    output.write_json(TIMINGS, {"seconds": loop.seconds, "peak_gpu_gib": memory.peak_gib(loop.device)})


def _write_best(loop: Loop, checkpoint: Checkpoint, output: Folder) -> None:
    loop.model.load_state_dict(loop.state.best_weights)
    checkpoints.save(checkpoints.with_model(checkpoint, loop.model.cpu()), output)
