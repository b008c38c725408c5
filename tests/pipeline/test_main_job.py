"""The main job as a user starts it, small; killed in the middle, it ends with what an undisturbed run ends with."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient
from pyarrow import fs

from flat_dist.models import checkpoint as checkpoints
from flat_dist.pipeline import finished, jobs
from flat_dist.storage.folder import Folder
from flat_dist.storage.lock import exclusive_lock
from flat_dist.tracking.mlflow import database
from tests import object_store
from tests.pipeline.conftest import Command, printed

pytestmark = pytest.mark.ray

KINDS = ("base", "continued", "adv", "flat")

SMALL = "--preset rotten_tomatoes --model.kernels 8 --training.rounds 1 --training.epochs 1"
SMALL += " --training.epochs-per-round 1 --attack.sample 24"
SMALL += " --attack.unit-size 4 --evaluation.sample 12 --evaluation.ig-pairs 4 --evaluation.ig-steps 8"
SMALL += " --evaluation.lime-pairs 3 --evaluation.lime-samples 30 --run-name small"


def arguments(storage: Path | str, *options: str) -> list[str]:
    return ["train", "--json", "--storage", str(storage), *SMALL.split(), *options]


def start(storage: Path | str, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "flat_dist", *arguments(storage, *options)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def finish(job: subprocess.Popen[str]) -> dict:
    out, errors = job.communicate()
    assert job.returncode == 0, errors
    return json.loads(out.splitlines()[-1])


def stages(storage: Path) -> dict[str, str]:
    """What each stage came to: hashes of shards, or of the checkpoint."""
    found = {}
    for path in sorted((storage / "stages").iterdir()):
        if path.name.startswith(("attack", "worst-case")):
            manifest = json.loads((path / "manifest.json").read_text())
            found[path.name] = str([shard["sha256"] for shard in manifest["shards"]])
        elif (path / checkpoints.DESCRIPTION).exists():
            found[path.name] = checkpoints.fingerprint(Folder(path))
    return found


@pytest.fixture(scope="module")
def undisturbed(flat_dist: Command, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    storage = tmp_path_factory.mktemp("runs")
    return storage, printed(flat_dist(*arguments(storage, "--training.kinds", *KINDS)))


def test_the_table_has_every_kind_under_every_attack(undisturbed: tuple[Path, dict]) -> None:
    results = undisturbed[1]["results"]
    attacked, worst = results[:8], results[8:]
    assert [(row["training"], row["attack"]) for row in attacked] == [
        (kind, attack) for kind in KINDS for attack in ("textfooler", "pwws")
    ]
    assert [(row["training"], row["attack"]) for row in worst] == [(kind, "worst") for kind in KINDS]
    for row, *own in zip(worst, attacked[::2], attacked[1::2], strict=True):
        assert 0 <= row["after_attack_accuracy"] <= min(one["after_attack_accuracy"] for one in own)
        assert (row["n"], row["trained_on"], row["interpretations"]) == (12, None, {})
    for row in attacked:
        assert row["after_attack_accuracy"] <= row["after_attack_accuracy_probabilities"]
        assert 0 <= row["saturated"] <= 1
        assert row["round"] == (row["training"] != "base")
        assert list(row["comparisons"]) == list(KINDS[: KINDS.index(row["training"])])
        assert row["n"] == 12
        assert 0 <= row["after_attack_accuracy"] <= row["accuracy"] + 0.5
        assert row["trained_on"] == (row["attack"] == "textfooler")
        for method, count in (("ig", 4), ("lime", 3)):
            found = row["interpretations"][method]
            assert 0 < found["common"]["pairs"] <= found["own"]["pairs"] <= count
            assert 0 <= found["common"]["top_k"]["5"] <= 1
            assert found["own_pairs"] + sum(found["unchanged"].values()) == found["texts"] == 12
    for attack in ("textfooler", "pwws"):
        of_attack = [row["interpretations"]["ig"] for row in results if row["attack"] == attack]
        assert len({(found["common"]["pairs"], found["common_pairs"]) for found in of_attack}) == 1
    saved = json.loads((undisturbed[0] / "small" / "results.json").read_text())
    assert saved == results


def test_mlflow_has_a_parent_and_a_child_for_each_kind(undisturbed: tuple[Path, dict]) -> None:
    client = MlflowClient(database(str(undisturbed[0])))
    experiment = client.get_experiment_by_name("flat_dist")
    assert experiment is not None
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert sorted(runs) == ["adv-small", "base-small", "continued-small", "flat-small", "small"]
    base = client.get_metric_history(runs["base-small"].info.run_id, "test/pwws/after_attack_accuracy")
    assert [metric.step for metric in base] == [0]
    flat = runs["flat-small"]
    assert flat.data.tags["mlflow.parentRunId"] == runs["small"].info.run_id
    history = client.get_metric_history(flat.info.run_id, "test/textfooler/after_attack_accuracy")
    assert {metric.step for metric in history} == {0, 1}
    assert client.list_artifacts(flat.info.run_id, "shards/round-1")
    logged = {file.path for file in client.list_artifacts(runs["small"].info.run_id, "run")}
    assert logged >= {"run/results.json", "run/report", "run/cards"}
    by_k = client.get_metric_history(flat.info.run_id, "top_k/textfooler/ig")
    assert [metric.step for metric in by_k] == list(range(1, 11))
    assert {file.path for file in client.list_artifacts(flat.info.run_id, "pairs")} == {
        f"pairs/{attack}-{method}.json" for attack in ("textfooler", "pwws") for method in ("ig", "lime")
    }
    assert all(run.info.status == "FINISHED" for run in runs.values())


def test_each_result_has_a_card_that_says_how_it_was_made(undisturbed: tuple[Path, dict]) -> None:
    folder = undisturbed[0] / "small"
    cards = {path.stem: json.loads(path.read_text()) for path in (folder / "cards").iterdir()}
    assert sorted(cards) == sorted(f"{kind}-{attack}" for kind in KINDS for attack in ("textfooler", "pwws", "worst"))
    card = cards["flat-pwws"]
    (row,) = (row for row in undisturbed[1]["results"] if (row["training"], row["attack"]) == ("flat", "pwws"))
    assert card["after_attack_accuracy"]["value"] == row["after_attack_accuracy"]
    assert card["after_attack_accuracy"]["n"] == 12
    assert card["after_attack_accuracy"]["paper"] == 0.4256  # Table 4
    assert card["after_attack_accuracy"]["attack"]["recipe"] == "pwws"
    assert card["after_attack_accuracy"]["attack"]["seen_in_training"] is False
    assert "sha256" in card["after_attack_accuracy"]["attack"]["resources"]["wordnet"]
    assert card["accuracy"]["n"] == 400
    assert card["interpretations"]["ig"]["steps"] == 8
    assert card["interpretations"]["lime"]["samples"] == 30
    assert (undisturbed[0] / "stages" / card["model"]["folder"] / checkpoints.DESCRIPTION).exists()
    assert (folder / "report" / "index.html").read_text().count("<svg") >= 6


def kill_when(job: subprocess.Popen[str], ready: Callable[[], bool]) -> None:
    while not ready():
        assert job.poll() is None, job.communicate()[1]
        time.sleep(0.05)
    os.kill(job.pid, signal.SIGKILL)
    job.communicate()


def _of_the_model(result: dict) -> dict:
    """What does not depend on the other models of the run."""
    others = ("interpretations", "accuracy_comparisons", "comparisons")
    return {name: value for name, value in result.items() if name not in others}


def check_flat(found: dict, storage: Path, undisturbed: tuple[Path, dict], attacks: set[str]) -> None:
    """Shards, checkpoints and results of FLAT alone are those of the run that nobody disturbed."""
    expected = [row for row in undisturbed[1]["results"] if row["training"] == "flat" and row["attack"] in attacks]
    assert list(map(_of_the_model, found["results"])) == list(map(_of_the_model, expected))
    made = stages(storage)
    # Base and FLAT on test texts, base on training texts; margins where a text is still right.
    assert len([name for name in made if name.startswith("attack")]) >= 2 + len(attacks - {"worst"})
    assert len([name for name in made if name.startswith("worst-case-worst")]) == ("worst" in attacks)
    assert made.items() <= stages(undisturbed[0]).items()


@pytest.mark.slow
def test_killed_in_training_and_in_evaluation_it_ends_with_the_same(
    undisturbed: tuple[Path, dict], tmp_path: Path
) -> None:
    flat = ("--training.kinds", "flat")
    storage, copy = tmp_path / "runs", tmp_path / "copy"
    kill_when(start(storage, *flat), lambda: bool(list(storage.glob("ray_train/train-flat-1-*/*"))))
    kill_when(start(storage, *flat), lambda: bool(list(storage.glob("stages/explain-*/*"))))
    found = finish(start(storage, *flat))
    check_flat(found, storage, undisturbed, {"textfooler", "pwws", "worst"})
    shutil.copytree(undisturbed[0], copy)  # only the explanations of FLAT alone are missing
    assert found["results"] == finish(start(copy, *flat))["results"]


def test_killed_in_an_attack_on_an_object_store_it_ends_with_the_same(
    undisturbed: tuple[Path, dict], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where the tracking database goes
    with object_store.bucket() as uri:
        everything = fs.FileSelector("storage/here/stages", recursive=True, allow_not_found=True)
        files, _ = Folder(uri).remote or pytest.fail("no object store")

        def a_shard_is_there() -> bool:
            found = [info.path for info in files.get_file_info(everything)]
            return any("/attack-" in path and path.endswith(".arrow") for path in found)

        options = ["--training.kinds", "flat", "--evaluation.attacks", "textfooler", "--attack.workers", "1"]
        options.append("--evaluation.explain")
        kill_when(start(uri, *options), a_shard_is_there)
        found = finish(start(uri, *options))
        with Folder(uri).as_directory() as directory:
            check_flat(found, directory, undisturbed, {"textfooler"})
            assert (directory / "small" / "report" / "index.html").stat().st_size > 100_000
    assert found["run"] == (Folder(uri) / "small").uri
    assert (tmp_path / "runs" / "mlflow.db").exists()


def test_damaged_stages_are_made_again_and_the_results_are_the_same(
    flat_dist: Command, undisturbed: tuple[Path, dict], tmp_path: Path
) -> None:
    storage = tmp_path / "runs"
    shutil.copytree(undisturbed[0], storage)
    before = stages(storage)

    def one(pattern: str) -> Path:
        return sorted(storage.glob(f"stages/{pattern}"))[0]

    weights = one("train-flat-1-*/model.safetensors").read_bytes()
    damages = {
        one("data-*/train.arrow"): b"",
        one("data-*/stage.json"): b"[]",
        one("init-*/checkpoint.json"): b"{}",
        one("train-flat-1-*/model.safetensors"): weights[:-1] + bytes([weights[-1] ^ 1]),
        one("train-base-0-*/history.json"): b"",
        one("attack-pwws-*/manifest.json"): b'{"shards": [{"name": "../../small/results.json"}]}',
        one("attack-textfooler-*/*.arrow"): b"",
        one("worst-case-worst-*/*.arrow"): b"",
        one("explain-ig-*/pairs.arrow"): b"no table",
        one("explain-lime-*/stage.json"): b"",
    }
    for path, content in damages.items():
        path.write_bytes(content)
    done = flat_dist(*arguments(storage, "--tracking.no-enabled", "--training.kinds", *KINDS))
    assert printed(done)["results"] == undisturbed[1]["results"]
    assert stages(storage) == before
    for path in damages:
        assert f"{path.parent} is damaged" in done.stderr


def test_a_second_driver_on_the_same_folder_is_refused(flat_dist: Command, undisturbed: tuple[Path, dict]) -> None:
    storage = undisturbed[0]
    record = storage / "small" / finished.FILE
    content = record.read_bytes()
    record.unlink()  # a run that has ended is only shown
    with exclusive_lock(Folder(storage / "small"), "the test"):
        done = flat_dist(*arguments(storage, "--training.kinds", *KINDS))
    assert done.returncode == 2
    assert f"error: this run: {storage}/small is in use by process {os.getpid()} on " in done.stderr
    record.write_bytes(content)


def test_the_same_command_again_repeats_nothing(
    flat_dist: Command, undisturbed: tuple[Path, dict], monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, first = undisturbed
    times = {path: path.stat().st_mtime_ns for path in storage.glob("**/*")}
    with monkeypatch.context() as patch:
        patch.setattr(jobs, "train", None)  # not even its stages are looked at
        assert printed(flat_dist(*arguments(storage, "--training.kinds", *KINDS))) == first
    assert {path: path.stat().st_mtime_ns for path in storage.glob("**/*")} == times


@pytest.mark.parametrize("missing", ["stages/attack-*/manifest.json", "small/report/index.html"])
def test_a_run_of_which_something_is_missing_goes_through_its_stages_again(
    flat_dist: Command, undisturbed: tuple[Path, dict], missing: str
) -> None:
    storage, first = undisturbed
    file = sorted(storage.glob(missing))[0]
    content = file.read_bytes()
    file.unlink()
    assert printed(flat_dist(*arguments(storage, "--training.kinds", *KINDS))) == first
    assert file.exists()
    assert missing.startswith("stages") or file.read_bytes() == content


def test_a_profile_is_printed_and_shown_in_the_report(flat_dist: Command, undisturbed: tuple[Path, dict]) -> None:
    storage, first = undisturbed
    stage = sorted(storage.glob("stages/train-adv-1-*/stage.json"))[0]
    stage.unlink()  # so that a worker trains
    done = flat_dist(*arguments(storage, "--training.kinds", *KINDS, "--profile"))
    assert printed(done) == first
    assert "no worker computed in" in done.stdout and "train" in done.stdout
    timeline = json.loads((storage / "small" / "timeline.json").read_text())
    spans = {name: {phase for phase, _, _ in spans} for name, spans in timeline.items()}
    assert spans.pop("driver") >= {"data", "train", "attack", "evaluate", "explain"}
    assert any("train" in phases for phases in spans.values())
    assert "Where the time went" in (storage / "small" / "report" / "index.html").read_text()


@pytest.mark.slow
def test_a_transformer_goes_all_the_way_and_its_checkpoint_predicts(
    private_token: None, encoder_folder: Path, tmp_path: Path
) -> None:
    options = f"--model.name encoder --model.encoder {encoder_folder} --model.no-sample-masks --training.kinds flat "
    options += "--evaluation.attacks textfooler --training.optimizer adamw --data.max-length 24"
    flat = finish(start(tmp_path, *options.split()))["results"][0]
    assert (flat["training"], flat["n"]) == ("flat", 12)
    for found in flat["interpretations"].values():
        assert found["common"] == found["own"]  # there is one model
        assert found["own"]["pairs"] == 0 or -1 <= found["own"]["kendall_tau"] <= 1
    (folder,) = tmp_path.glob("stages/train-flat-1-*")
    command = [sys.executable, "-m", "flat_dist", "predict", "--checkpoint", str(folder)]
    done = subprocess.run(command, input="A good film!\n\nBad.\n", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["text"] for line in lines] == ["a good film !", "", "bad ."]
    checkpoint = checkpoints.load(Folder(folder))
    expected = checkpoint.probabilities(["a good film !", "", "bad ."]).tolist()
    assert [list(line["probabilities"].values()) for line in lines] == [pytest.approx(row) for row in expected]
    assert [word for word, _ in lines[0]["importance"]] == ["a", "good", "film", "!"]
    assert all(0 < importance < 1 for _, importance in lines[0]["importance"])
    assert "importance" not in lines[1]
