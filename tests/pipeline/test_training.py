import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pyarrow as pa
import pytest
import torch
from ray.train import WorkerGroupError

from flat_dist.config.errors import UserError
from flat_dist.config.schema import Config, DataConfig, ModelConfig
from flat_dist.config.serialization import to_dict
from flat_dist.data import datasets, shards, substitutes
from flat_dist.data.shards import Record, Swap
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models.factory import initial
from flat_dist.pipeline.run_worker import train_in
from flat_dist.runtime.progress import Display
from flat_dist.storage.arrow import read_table, write_table
from flat_dist.storage.folder import Folder
from flat_dist.training import distributed
from flat_dist.training import job as job_module
from flat_dist.training.job import Train, load_data
from flat_dist.training.loop import DivergenceError, Loop
from flat_dist.training.single_task import train_alone
from tests.pipeline import training_driver
from tests.pipeline.conftest import WORKERS

pytestmark = pytest.mark.ray

SUBSTITUTES = {
    "word": ["film", "good", "is", "movie", "the"],
    "candidates": [["films", "bad"], ["fine", "goodness", "bad"], ["good"], ["film", "story"], ["a", "an", "this"]],
}
"""Of one and of two word pieces."""


@pytest.fixture
def stage(sentences: datasets.Dataset, victim: Folder, tmp_path: Path) -> Folder:
    """Clean sentences, twins of some with one word exchanged, substitutes, and a checkpoint to start from."""
    folder = Folder(tmp_path)
    write_table(folder / "data", "train", sentences.train.slice(0, 320))
    write_table(folder / "data", "dev", sentences.dev.slice(0, 100))
    assert victim.local is not None
    shutil.copytree(victim.local, tmp_path / "start")
    write_table(folder / "substitutes", substitutes.NAME, pa.table(SUBSTITUTES, schema=substitutes.SCHEMA))
    records = [exchange_first_word(row) for row in sentences.train.slice(0, 60).to_pylist()]
    scores = [[0.5, 0.5]] * len(records)
    table = shards.to_table(records, scores, scores, 1, {})
    shards.write_manifest(folder / "shards", [shards.write_shard(folder / "shards", 0, table)], {}, {})
    return folder


def exchange_first_word(row: dict) -> Record:
    first, _, rest = row["text"].partition(" ")
    swap = Swap(0, first, "film")
    return Record(row["example_id"], row["label"], row["text"], f"film {rest}", "successful", (swap,))


def train_plainly(folder: Folder, epochs: int) -> Loop:
    """The same stage without Ray: what every run under Ray must come to."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    config: Config = training_driver.CONFIG
    job = training_driver.job(folder, epochs)
    checkpoint = job_module.load_start(job, config)
    data = load_data(job, config, checkpoint.encoder)
    loop = Loop(checkpoint.model, data, config, job.name, job.learning_rate)
    loop.run(epochs, lambda *_: None)
    torch.set_num_threads(threads)
    return loop


def check_result(folder: Folder, expected: Loop) -> None:
    history = (folder / "result").read_json("history.json")
    assert history == json.loads(json.dumps(expected.state.history))
    weights = checkpoints.load(folder / "result").model.state_dict()
    assert weights.keys() == expected.state.best_weights.keys()
    for name, value in expected.state.best_weights.items():
        assert torch.equal(weights[name], value)


def test_training_under_ray_is_the_plain_loop_to_the_bit(stage: Folder, local_ray: None) -> None:
    training_driver.train(stage, epochs=3)
    check_result(stage, train_plainly(stage, 3))


def kill_a_training_worker_after(history: Path, epochs: int, title: str = "ray::RayTrainWorker") -> None:
    while not (history.exists() and len(json.loads(history.read_text())) >= epochs):
        time.sleep(0.02)
    (worker,) = (
        process
        for process in psutil.Process().children(recursive=True)
        if process.cmdline()[:1] and process.cmdline()[0].startswith(title)
    )
    worker.kill()


CPU = replace(training_driver.CONFIG, training=replace(training_driver.CONFIG.training, device="cpu"))


@pytest.mark.parametrize("train", [train_alone, train_in(WORKERS.group(1))], ids=["task", "worker"])
def test_training_alone_is_the_plain_loop_to_the_bit_and_goes_on_after_its_last_epoch(
    train: Train, stage: Folder, local_ray: None
) -> None:
    with Display(quiet=True) as display:
        for epochs in (2, 3):  # the second call finds what the first one kept
            job = replace(training_driver.job(stage, epochs), config=to_dict(CPU))
            bar = display.bar("train", epochs)
            train(job, "stage", stage / "kept", stage / "result", bar)
            assert bar.done == epochs
            check_result(stage, train_plainly(stage, epochs))
    assert [path.name for path in (Path(stage.uri) / "kept" / "stage").iterdir() if path.is_dir()] == ["epoch-3"]


def test_after_a_crash_of_a_worker_another_one_trains_on(stage: Folder, local_ray: None) -> None:
    epochs, folder = 40, stage.local
    assert folder is not None
    history = folder / "result" / "history.json"
    arguments = history, 2, "ray::RunWorker.train"
    killer = threading.Thread(target=kill_a_training_worker_after, args=arguments, daemon=True)
    killer.start()
    job = replace(training_driver.job(stage, epochs), config=to_dict(CPU))
    train_in(WORKERS.group(1))(job, "stage", stage / "kept", stage / "result", Display(quiet=True).bar("", epochs))
    killer.join(0)
    assert not killer.is_alive()
    check_result(stage, train_plainly(stage, epochs))


@pytest.mark.parametrize("train", [train_alone, train_in(WORKERS.group(1))], ids=["task", "worker"])
def test_a_user_is_told_in_one_sentence_that_training_alone_diverged(
    train: Train, stage: Folder, local_ray: None
) -> None:
    job = replace(training_driver.job(stage, 2), config=to_dict(CPU), learning_rate=1e30)
    with pytest.raises(DivergenceError, match="training of flat-1 diverged in epoch 1"):
        train(job, "stage", stage / "kept", stage / "result", Display(quiet=True).bar("train", 2))


def test_what_a_user_can_mend_is_found_in_a_failure_of_training(tmp_path: Path) -> None:
    mine, other = UserError("mend this"), OSError(28, "No space left on device")
    failure = RuntimeError("a task failed")
    failure.__cause__ = mine
    found = distributed._translate_error(WorkerGroupError("worse", {0: ValueError("no"), 1: failure}), Folder(tmp_path))
    assert found is mine
    full = distributed._translate_error(WorkerGroupError(str(other), {0: other}), Folder(tmp_path))
    assert isinstance(full, UserError)
    assert "is full: make room" in str(full)
    strange = WorkerGroupError("worse", {0: ValueError("no")})
    assert distributed._translate_error(strange, Folder(tmp_path)) is strange


def test_a_killed_run_goes_on_after_its_last_epoch(stage: Folder, local_ray: None, tmp_path: Path) -> None:
    assert stage.local is not None
    driver = subprocess.Popen(
        [sys.executable, "-m", "tests.pipeline.training_driver", str(stage.local)],
        stderr=(tmp_path / "stderr").open("w"),
        start_new_session=True,
    )
    history = stage.local / "result" / "history.json"
    while not (history.exists() and len(json.loads(history.read_text())) >= 3):
        assert driver.poll() is None, (tmp_path / "stderr").read_text()
        time.sleep(0.05)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    assert not (stage / "result").exists(checkpoints.WEIGHTS)
    time.sleep(3)  # orphaned workers write on for about two seconds
    saved = list((stage.local / "ray" / "stage").glob("checkpoint_*"))
    assert saved, "an epoch's checkpoint outlives the driver"
    history.unlink()
    killer = threading.Thread(target=kill_a_training_worker_after, args=(history, 12), daemon=True)
    killer.start()
    with first_length(history) as seen:
        training_driver.train(stage)
    assert not killer.is_alive()
    assert seen[0] > 1  # the first epoch after the restart was not the first of all
    check_result(stage, train_plainly(stage, training_driver.EPOCHS))


@pytest.mark.parametrize(("architecture", "adversaries"), [("cnn", "both"), ("encoder", "gradient")])
def test_two_workers_that_share_each_batch_come_to_the_losses_of_one(
    architecture: str, adversaries: str, stage: Folder, encoder_folder: Path, local_ray: None
) -> None:
    """FLAT without dropout and sampled masks, which are drawn by each worker. Each makes substitutes for its own texts.

    320 texts in batches of 29 leave one for the last, and micro-batches of 4 add gradients up before they are shared.
    """
    options = {"encoder": str(encoder_folder), "encoder_dropout": 0.0} if architecture == "encoder" else {}
    model = ModelConfig(name=architecture, kernels=16, dropout=0.0, sample_masks=False, **options)
    one = replace(training_driver.CONFIG, model=model, data=DataConfig(max_length=24))
    one = replace(one, training=replace(one.training, batch_size=29, optimizer="adamw", schedule="linear", warmup=0.1))
    one = replace(one, training=replace(one.training, adversaries=adversaries))
    two = replace(one, training=replace(one.training, workers=2, micro_batch=4))
    splits = (read_table(stage / "data", split) for split in ("train", "dev", "dev"))
    data = datasets.Dataset(*splits, ("negative", "positive"), "the test")
    checkpoints.save(initial(one, data, masked=False)[0], stage / "start")
    job = replace(training_driver.job(stage, 2), config=to_dict(two))
    if adversaries == "gradient":
        job = replace(job, shards=())
    with Display(quiet=True) as display, display.stage("train", 2) as bar:
        distributed.train(job, f"stage-{architecture}", stage / "ray", stage / "result", bar)
    start = job_module.load_start(job, one)
    loop = Loop(start.model, load_data(job, one, start.encoder), one, job.name, job.learning_rate)
    loop.run(2, lambda *_: None)
    for ours, plain in zip((stage / "result").read_json("history.json"), loop.state.history, strict=True):
        assert ours["importance_difference"] > 0
        assert ours == pytest.approx(plain, abs=1e-5)


@contextmanager
def first_length(path: Path) -> Iterator[list[int]]:
    """Epochs in the history when it appears."""
    seen: list[int] = []

    def look() -> None:
        while not seen:
            if path.exists():
                seen.append(len(json.loads(path.read_text())))
            time.sleep(0.02)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    yield seen
    thread.join()
