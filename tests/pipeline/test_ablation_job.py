"""The ablation as a user starts it, small: two seeds, interrupted after the first, and continued."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from flat_dist.sweep.variants import DEFAULT_ROWS
from flat_dist.tracking.mlflow import database

pytestmark = [pytest.mark.ray, pytest.mark.slow]

SCRIPT = Path(__file__).parents[2] / "tuning" / "sweep.py"
OPTIONS = "--ablation --seeds 1,2 --training.adversaries gradient --attack.name pwws --model.kernels 4 --run-name small"
OPTIONS += " --training.rounds 1 --training.epochs 6 --training.epochs-per-round 3 --evaluation.sample 8 --json"
OPTIONS += " --evaluation.attacks pwws --evaluation.scores margin --evaluation.explain ig --evaluation.ig-pairs 2"
OPTIONS += " --evaluation.ig-steps 4"


def write_dataset(folder: Path) -> None:
    """Sentences whose class is that of their adjectives."""
    words = (["bad", "awful", "poor", "dull", "weak"], ["good", "fine", "great", "nice", "lovely"])
    for split, count in (("train", 60), ("dev", 20), ("test", 16)):
        rows = [
            f"a {words[n % 2][n % 5]} film with a {words[n % 2][n % 3]} story number {split}{n},{n % 2}"
            for n in range(count)
        ]
        (folder / f"{split}.csv").write_text("\n".join(["text,label", *rows]))


def start(storage: Path) -> subprocess.Popen[str]:
    data = [value for split in ("train", "dev", "test") for value in (f"--data.{split}", str(storage / f"{split}.csv"))]
    command = [sys.executable, str(SCRIPT), "--storage", str(storage), *data, *OPTIONS.split()]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def complete(storage: Path) -> dict[str, int]:
    """The finished stages, and when each was finished."""
    return {path.parent.name: path.stat().st_mtime_ns for path in storage.glob("stages/*/stage.json")}


@pytest.fixture(scope="module")
def continued(
    private_token: None, assets: object, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict, dict[str, int]]:
    """The storage, what the second call printed, and the stages that were finished before it."""
    storage = tmp_path_factory.mktemp("ablation")
    write_dataset(storage)
    job = start(storage)
    while not (storage / "small" / "ablation.json").exists():
        assert job.poll() is None, job.communicate()[1]
        time.sleep(0.1)
    job.send_signal(signal.SIGINT)
    _, errors = job.communicate()
    assert job.returncode == 130
    assert "interrupted; the same command continues" in errors and "Traceback" not in errors
    before = complete(storage)
    out, errors = start(storage).communicate()
    return storage, json.loads(out.splitlines()[-1]), before


def test_every_model_is_compared_with_flat_over_both_seeds(continued: tuple[Path, dict, dict[str, int]]) -> None:
    _, printed, _ = continued
    assert [row["variant"] for row in printed["rows"]] == list(DEFAULT_ROWS)
    for row in printed["rows"]:
        interval = row["interval"]
        assert 0 <= interval["low"] <= row["after_attack_accuracy"] <= interval["high"] <= 1
        if row["variant"] == "flat":
            assert row["flat_minus_this"] is None and row["p_values"] == []
        else:
            own, difference = row["difference_interval"], row["flat_minus_this"]
            assert own["low"] <= difference <= own["high"]
            assert len(row["p_values"]) == 2 and all(0 < value <= 1 for value in row["p_values"])
    accuracies = {row["variant"]: row["after_attack_accuracy"] for row in printed["rows"]}
    for row in printed["rows"][:-1]:
        assert row["flat_minus_this"] == pytest.approx(accuracies["flat"] - row["after_attack_accuracy"])


def test_nothing_that_was_finished_is_done_again(continued: tuple[Path, dict, dict[str, int]]) -> None:
    storage, printed, before = continued
    after = complete(storage)
    assert any(name.startswith("train-") for name in before) and len(after) > len(before)
    assert before.items() <= after.items()
    saved = json.loads((storage / "small" / "ablation.json").read_text())
    assert saved["rows"] == printed["rows"]
    assert [one["seed"] for one in saved["seeds"]] == [1, 2]
    assert all(0 < one["dropped"] < 1 for one in saved["seeds"])
    rounds = {(row["training"], row["round"]) for one in saved["seeds"] for row in one["results"]}
    assert rounds == {(name, int(name != "base")) for name in DEFAULT_ROWS}


def test_mlflow_has_a_run_for_each_model(continued: tuple[Path, dict, dict[str, int]]) -> None:
    storage, printed, _ = continued
    client = MlflowClient(database(str(storage)))
    experiment = client.get_experiment_by_name("flat_dist")
    assert experiment is not None
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert runs.keys() == {"small", *(f"{name}-small" for name in DEFAULT_ROWS)}
    for row in printed["rows"]:
        metrics = runs[f"{row['variant']}-small"].data.metrics
        assert metrics["pwws/after_attack_accuracy"] == row["after_attack_accuracy"]


def test_the_report_job_shows_the_table(continued: tuple[Path, dict, dict[str, int]]) -> None:
    storage, printed, _ = continued
    command = [sys.executable, str(SCRIPT.parents[1] / "jobs" / "report.py"), "--run", str(storage / "small"), "--json"]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert json.loads(out.splitlines()[-1]) == printed
    assert all(name in out for name in DEFAULT_ROWS)
