"""Sweeps on Ray Tune: as a user starts one, killed in the middle; on one CPU; and each way to search."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from flat_dist import cli
from flat_dist.config.errors import UserError
from flat_dist.data.datasets import Dataset
from flat_dist.runtime.progress import Display
from flat_dist.storage.folder import Folder
from flat_dist.sweep import search
from flat_dist.sweep.search import Settings, Sweep
from flat_dist.sweep.trial import TrialJob
from flat_dist.sweep.trials import DIVERGED, FAILED, FINISHED, OBJECTIVES, PRUNED, RoundMetrics, Trial
from flat_dist.tracking.mlflow import database
from flat_dist.tracking.tracker import NoTracker
from tests.pipeline.conftest import Command
from tests.pipeline.conftest import printed as printed_json

pytestmark = pytest.mark.ray

ROOT = Path(__file__).parents[2]
SMALL = "--model.kernels 8 --training.epochs 1 --training.epochs-per-round 1 --attack.sample 12 --attack.unit-size 4"
SMALL += " --preset rotten_tomatoes --evaluation.sample 10 --evaluation.ig-pairs 3 --evaluation.ig-steps 8"
SWEEP = (
    f"{SMALL} --searcher grid --scheduler none --space.clip 1 --space.beta 0.1 --space.gamma 0.001 --training.rounds 1"
)
SWEEP += " --space.learning-rate 0.001 0.01 1e30 --run-name small --json"


def records(storage: Path) -> dict[str, dict]:
    return {path.stem: json.loads(path.read_text()) for path in (storage / "small" / "trials").glob("*.json")}


def kill(job: subprocess.Popen[str]) -> None:
    """End the driver and all that it started, as a machine does that loses its power."""
    os.killpg(job.pid, signal.SIGKILL)
    job.wait()


@pytest.fixture(scope="module")
def killed_and_continued(
    flat_dist: Command, assets: object, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict, dict]:
    """A sweep that lost its power once a trial had finished, and the record of that trial at the time."""
    storage = tmp_path_factory.mktemp("sweep")
    options = ["--storage", str(storage), *SWEEP.split()]
    job = subprocess.Popen([sys.executable, str(ROOT / "tuning/sweep.py"), *options], start_new_session=True)
    deadline = time.monotonic() + 600
    while not (done := {name: one for name, one in records(storage).items() if one["status"] == FINISHED}):
        assert job.poll() is None and time.monotonic() < deadline
        time.sleep(0.2)
    kill(job)
    return storage, printed_json(flat_dist("tune", *options)), done


def test_a_finished_trial_is_not_repeated(killed_and_continued: tuple[Path, dict, dict]) -> None:
    storage, printed, done = killed_and_continued
    kept = records(storage)
    assert all(kept[name] == one for name, one in done.items())  # with the times at which its rounds were measured
    assert len(kept) == len(printed["trials"]) == 3


def test_the_sweep_continues_after_a_trial_diverges(killed_and_continued: tuple[Path, dict, dict]) -> None:
    _, printed, _ = killed_and_continued
    found = {one["point"]["training.round_learning_rate"]: one for one in printed["trials"]}
    assert [found[rate]["status"] for rate in (0.001, 0.01, 1e30)] == [FINISHED, FINISHED, DIVERGED]
    assert "diverged in epoch 1" in found[1e30]["reason"]
    assert [len(found[rate]["rounds"]) for rate in (0.001, 0.01, 1e30)] == [1, 1, 0]
    assert printed["best"]["name"] in {found[rate]["name"] for rate in (0.001, 0.01)}
    assert printed["best"]["name"] in printed["front"]


def test_mlflow_has_a_run_for_each_trial(killed_and_continued: tuple[Path, dict, dict]) -> None:
    storage, printed, _ = killed_and_continued
    client = MlflowClient(database(str(storage)))
    experiment = client.get_experiment_by_name("flat_dist")
    assert experiment is not None
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    parent = runs.pop("small")
    assert parent.info.status == "FINISHED"
    assert len(runs) == 3
    assert {file.path for file in client.list_artifacts(parent.info.run_id, "run")} == {
        "run/best.yaml",
        "run/report",
        "run/sweep.json",
    }
    for one in printed["trials"]:
        run = runs[f"{one['name']}-small"]
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert (run.info.status, run.data.tags["trial"]) == (
            ("FINISHED", FINISHED) if one["rounds"] else ("FAILED", DIVERGED)
        )
        assert run.data.params["training.round_learning_rate"] == str(one["point"]["training.round_learning_rate"])
        history = client.get_metric_history(run.info.run_id, "dev/textfooler/after_attack_accuracy")
        assert [(metric.step, metric.value) for metric in history] == [
            (measured["round"], measured["after_attack_accuracy"]) for measured in one["rounds"]
        ]


def test_the_report_shows_the_trials(flat_dist: Command, killed_and_continued: tuple[Path, dict, dict]) -> None:
    storage, printed, _ = killed_and_continued
    report = flat_dist("report", "--run", str(storage / "small"), "--json")
    assert printed_json(report) == printed
    assert all(one["name"] in report.stdout for one in printed["trials"])


def test_the_best_preset_reproduces_the_trials_numbers(
    flat_dist: Command, killed_and_continued: tuple[Path, dict, dict], tmp_path: Path
) -> None:
    storage, printed, _ = killed_and_continued
    options = ["--storage", str(tmp_path), "--preset", str(storage / "small" / "best.yaml"), "--tracking.no-enabled"]
    (row,) = printed_json(flat_dist("train", *options, "--json"))["results"]
    last = printed["best"]["rounds"][-1]
    assert (row["training"], row["round"]) == ("flat", 1)
    assert (row["accuracy"], row["after_attack_accuracy"]) == (last["accuracy"], last["after_attack_accuracy"])
    assert row["interpretations"]["ig"]["common"]["kendall_tau"] == last["kendall_tau"]
    weights = [
        sorted(path.read_bytes() for path in folder.glob("stages/train-flat-1-*/model.safetensors"))
        for folder in (tmp_path, storage)
    ]
    assert len(weights[0]) == 1 and weights[0][0] in weights[1]


def test_one_cpu_runs_trials_one_after_another(sentences: Dataset, tmp_path: Path, private_token: None) -> None:
    """In a process of its own, for this one may have a Ray with two."""
    script = tmp_path / "one_cpu.py"
    script.write_text(
        "import sys\n"
        "from pathlib import Path\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "from flat_dist.runtime import cluster\n"
        "connected = cluster.connected\n"
        "cluster.connected = lambda: connected(cpus=1)\n"
        "from flat_dist.commands import tune\n"
        "tune.job(sys.argv[1:])\n"
    )
    space = "--searcher grid --scheduler none --space.clip 1 --space.learning-rate 0.001 --space.beta 0.1 0"
    options = f"--storage {tmp_path} {SMALL} {space} --space.gamma 0.001 --training.rounds 1 --json".split()
    options.append("--tracking.no-enabled")
    done = subprocess.run([sys.executable, str(script), *options], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout.splitlines()[-1])
    assert {one["point"]["objective.beta"] for one in printed["trials"]} == {0.1, 0}
    assert all(one["status"] == FINISHED for one in printed["trials"])


# ---- each way to search, with trials that cost nothing


def cheap_trial(indices: dict[str, int], job: TrialJob) -> None:
    """A surface whose best point is (3, 2); where beta is 4, training diverges, and at (0, 0), it breaks."""
    beta, gamma = job.point(indices).values()
    for number in (1, 2):
        if beta == gamma == 0:
            raise RuntimeError("no such beta")
        value = math.exp(-((beta - 3) ** 2) - (gamma - 2) ** 2) * number / 2
        measured = RoundMetrics(number, 0.7 + value / 10, value, value, {"dev/accuracy": 0.7}, number)
        job.report(measured, "loss is nan" if beta == 4 else "")
        if beta == 4:
            return


@pytest.mark.parametrize(
    ("searcher", "scheduler"), [("random", "none"), ("tpe", "none"), ("pareto", "asha"), ("grid", "asha")]
)
def test_searchers_and_schedulers(
    searcher: str,
    scheduler: str,
    sentences: Dataset,
    local_ray: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(search, "run_trial", cheap_trial)
    config = replace(cli.load_preset("rotten_tomatoes"), storage=str(tmp_path))
    betas = (0.0, 1.0, 2.0, 3.0, 4.0) if searcher == "grid" else (1.0, 2.0, 3.0, 4.0)
    axes = {"objective.beta": betas, "objective.gamma": (0.0, 1.0, 2.0, 3.0)}
    job = TrialJob({}, "", {}, str(tmp_path / "trials"), axes, OBJECTIVES[0], 0.7)
    settings = Settings(samples=12, searcher=searcher, scheduler=scheduler)
    display = Display(quiet=True)
    callback = search.TrialCallback(job, 2, NoTracker(), display.bar("sweep", 12), display)
    search._tune(job, settings, Folder(tmp_path / "tune"), [{}, {"CPU": 1.0}], callback, config)
    by_status: dict[str, list[Trial]] = {}
    for one in callback.trials.values():
        by_status.setdefault(one.status, []).append(one)
    assert set(by_status) <= {FINISHED, PRUNED, DIVERGED, FAILED}
    assert all(len(one.rounds) == 2 for one in by_status[FINISHED])
    assert all(len(one.rounds) == 1 for one in by_status.get(PRUNED, ()))
    assert all(one.point["objective.beta"] == 4 and one.reason for one in by_status.get(DIVERGED, ()))
    assert all(
        list(one.point.values()) == [0, 0] and one.reason == "RuntimeError: no such beta"
        for one in by_status.get(FAILED, ())
    )
    if searcher == "grid":
        assert (len(callback.trials), len(by_status[DIVERGED]), len(by_status[FAILED])) == (20, 4, 1)
        assert len(by_status[PRUNED]) > 0
    else:
        assert len(callback.trials) <= 12


def test_a_trial_that_needs_too_many_resources_is_rejected(sentences: Dataset, local_ray: None, tmp_path: Path) -> None:
    config = replace(cli.load_preset("rotten_tomatoes"), storage=str(tmp_path))
    config = replace(config, training=replace(config.training, kinds=("flat",), cpus_per_worker=64, device="cpu"))
    with pytest.raises(UserError, match=r"a trial needs 64 CPU, but this Ray cluster has 2 CPU"):
        search.search(Sweep(config, {}, Settings(), Folder(tmp_path)), sentences, NoTracker(), Display(quiet=True))
