import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flat_dist.attack import pool
from flat_dist.attack.session import AttackJob
from flat_dist.config import AttackConfig, UserError
from flat_dist.data import shards
from flat_dist.data.storage import Folder
from flat_dist.progress import Display
from tests.pipeline import attack_driver

pytestmark = pytest.mark.ray


def hashes(folder: Path) -> dict[str, str]:
    manifest = shards.read_manifest(Folder(folder))
    assert manifest is not None
    return {shard["name"]: shard["sha256"] for shard in manifest["shards"]}


def generate(
    victim: Folder, output: Path, examples: pa.Table, workers: int, worker: type = pool.AttackWorker
) -> dict[str, str]:
    stage = attack_driver.stage(victim.uri, str(output), examples)
    with Display(quiet=True) as display:
        pool.generate([stage], AttackConfig(workers=workers), display, worker)
    return hashes(output)


class Mortal(pool.AttackWorker):
    """Looks at each example before it attacks it, and may end its process."""

    def perhaps_die(self, example: shards.Example) -> None:
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        attack = self.session.attack

        def attack_or_die(job: AttackJob, examples: Sequence[shards.Example]) -> list[shards.Record]:
            for example in examples:
                self.perhaps_die(example)
            return attack(job, examples)

        self.session.attack = attack_or_die


@pytest.fixture(scope="module")
def undisturbed(
    victim: Folder, examples: pa.Table, local_ray: None, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, str]]:
    folder = tmp_path_factory.mktemp("undisturbed")
    return folder, generate(victim, folder, examples, workers=2)


def test_every_example_is_attacked_and_judged_by_a_new_prediction(
    undisturbed: tuple[Path, dict[str, str]], victim: Folder, examples: pa.Table
) -> None:
    from flat_dist.models import checkpoint as checkpoints

    rows = shards.read_shards(Folder(undisturbed[0])).to_pylist()
    assert [row["example_id"] for row in rows] == examples["example_id"].to_pylist()
    assert [row["original_text"] for row in rows] == examples["text"].to_pylist()
    assert {row["status"] for row in rows} >= {"successful", "skipped"}
    loaded = checkpoints.load(victim)
    for row in rows:
        before, after = loaded.probabilities([row["original_text"], row["perturbed_text"]])
        assert row["original_scores"] == pytest.approx(before.tolist(), abs=1e-6)
        assert row["perturbed_scores"] == pytest.approx(after.tolist(), abs=1e-6)
        right = [scores.argmax().item() == row["label"] for scores in (before, after)]
        expected = {(True, False): "successful", (True, True): "failed", (False, False): "skipped"}
        assert row["status"] == expected[tuple(right)]
        words = row["original_text"].split()
        for swap in row["swaps"]:
            assert words[swap["index"]] == swap["original"] != swap["substitute"]


def test_one_worker_writes_the_same_shards_as_two(
    undisturbed: tuple[Path, dict[str, str]], victim: Folder, examples: pa.Table, tmp_path: Path
) -> None:
    assert generate(victim, tmp_path, examples, workers=1) == undisturbed[1]


def test_a_finished_stage_is_not_run_again(
    undisturbed: tuple[Path, dict[str, str]], victim: Folder, examples: pa.Table
) -> None:
    folder, before = undisturbed
    times = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert generate(victim, folder, examples, workers=2) == before
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == times


def hear_interrupts() -> None:
    """A test run in the background ignores Ctrl-C, and its children would inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_driver_goes_on_where_it_stopped(
    signal_number: int, undisturbed: tuple[Path, dict[str, str]], victim: Folder, examples: pa.Table, tmp_path: Path
) -> None:
    pq.write_table(examples, tmp_path / "examples.parquet")
    output = tmp_path / "stage"
    command = [sys.executable, "-m", "tests.pipeline.attack_driver", victim.uri, str(output)]
    command += [str(tmp_path / "examples.parquet"), "1"]
    driver = subprocess.Popen(
        command, stderr=(tmp_path / "stderr").open("w"), start_new_session=True, preexec_fn=hear_interrupts
    )
    while len(written := list(output.glob("*.arrow"))) < 2:
        assert driver.poll() is None, (tmp_path / "stderr").read_text()
        time.sleep(0.05)
    os.kill(driver.pid, signal_number)
    driver.wait()
    assert shards.read_manifest(Folder(output)) is None
    kept = {path.name: path.stat().st_mtime_ns for path in written}
    assert generate(victim, output, examples, workers=2) == undisturbed[1]
    assert {name: (output / name).stat().st_mtime_ns for name in kept} == kept


def test_a_worker_killed_in_mid_shard_is_replaced(
    undisturbed: tuple[Path, dict[str, str]], victim: Folder, examples: pa.Table, tmp_path: Path
) -> None:
    flag = tmp_path / "killed"

    class DiesOnce(Mortal):
        def perhaps_die(self, example: shards.Example) -> None:
            if not flag.exists():
                flag.touch()
                os._exit(1)

    assert generate(victim, tmp_path / "stage", examples, 1, worker=DiesOnce) == undisturbed[1]
    manifest = shards.read_manifest(Folder(tmp_path / "stage"))
    assert manifest is not None
    assert manifest["timings"]["restarts"] == 1


def test_an_example_that_kills_every_worker_is_set_aside(
    undisturbed: tuple[Path, dict[str, str]], victim: Folder, examples: pa.Table, tmp_path: Path
) -> None:
    poison = examples["example_id"].to_pylist()[6]

    class DiesOfPoison(Mortal):
        def perhaps_die(self, example: shards.Example) -> None:
            if example.example_id == poison:
                os._exit(1)

    generate(victim, tmp_path, examples, workers=1, worker=DiesOfPoison)
    rows = {row["example_id"]: row for row in shards.read_shards(Folder(tmp_path)).to_pylist()}
    assert rows[poison]["status"] == "error"
    assert "ended its worker process 2 times" in rows[poison]["error"]
    for row in shards.read_shards(Folder(undisturbed[0])).to_pylist():
        if row["example_id"] != poison:
            assert rows[row["example_id"]] == row


class Broken(pool.AttackWorker):
    def __init__(self) -> None:
        raise OSError("no resources")


def test_a_worker_that_cannot_start_is_an_error_and_not_a_wait(
    local_ray: None, victim: Folder, examples: pa.Table, tmp_path: Path
) -> None:
    with pytest.raises(RuntimeError, match=r"could not start[\s\S]*no resources"):
        generate(victim, tmp_path, examples, workers=1, worker=Broken)


def test_a_victim_that_is_not_there_is_an_error_and_not_a_shard(
    local_ray: None, examples: pa.Table, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="holds no checkpoint"):
        generate(Folder(tmp_path / "nothing"), tmp_path / "stage", examples, workers=1)
    assert not list(tmp_path.glob("stage/*.arrow"))


def test_a_gpu_that_the_cluster_does_not_have_is_refused(local_ray: None) -> None:
    with pytest.raises(UserError, match="this Ray cluster has no GPU"):
        pool.placement(AttackConfig(gpus_per_worker=0.5))
