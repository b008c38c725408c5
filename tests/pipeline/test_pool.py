import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flat_dist.attack.plan import AttackJob
from flat_dist.attack.pool.actor import AttackWorker
from flat_dist.attack.pool.run import worker_groups
from flat_dist.config.errors import UserError
from flat_dist.config.schema import AttackConfig
from flat_dist.data import shards
from flat_dist.runtime.progress import Display
from flat_dist.storage.folder import Folder
from tests.conftest import hear_interrupts
from tests.pipeline import attack_driver
from tests.pipeline.conftest import WORKERS

pytestmark = pytest.mark.ray


def hashes(folder: Path) -> dict[str, str]:
    manifest = shards.read_manifest(Folder(folder))
    assert manifest is not None
    return {shard["name"]: shard["sha256"] for shard in manifest["shards"]}


def run_attack(
    victim: Folder,
    output: Path,
    examples: pa.Table,
    workers: int,
    worker: type[AttackWorker] | None = None,
    stall_seconds: float = 0.0,
    max_failures: float = 0.0,
) -> dict[str, str]:
    """Attack with new workers of a class, or, without one, with those that tests share; the hashes of the shards."""
    plan = attack_driver.plan(victim.uri, str(output), examples, stall_seconds)
    config = AttackConfig(workers=workers, device="cpu", max_failures=max_failures)
    groups = worker_groups(config, worker) if worker else [WORKERS.group(workers)]
    with Display() as display:
        attack_driver.run(plan, config, display, groups)
    return hashes(output)


class CrashingWorker(AttackWorker):
    """Its victim may end the process before it answers, depending on the text."""

    def crash_on(self, text: str) -> None:
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        from flat_dist.attack.victim import Victim

        encode = Victim.encode

        def encode_or_crash(victim: Victim, text: str) -> tuple[int, ...]:
            self.crash_on(text)
            return encode(victim, text)

        Victim.encode = encode_or_crash


@pytest.fixture(scope="module")
def undisturbed(
    victim: Folder, examples: pa.Table, local_ray: None, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, str]]:
    folder = tmp_path_factory.mktemp("undisturbed")
    return folder, run_attack(victim, folder, examples, workers=2)


def test_every_example_is_attacked_and_its_status_follows_from_a_new_prediction(
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
    assert run_attack(victim, tmp_path, examples, workers=1) == undisturbed[1]


def test_a_finished_stage_is_not_run_again(
    undisturbed: tuple[Path, dict[str, str]], victim: Folder, examples: pa.Table
) -> None:
    folder, before = undisturbed
    times = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert run_attack(victim, folder, examples, workers=2) == before
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == times


def test_a_driver_that_is_interrupted_and_killed_continues_where_it_stopped(
    undisturbed: tuple[Path, dict[str, str]], victim: Folder, examples: pa.Table, tmp_path: Path
) -> None:
    pq.write_table(examples, tmp_path / "examples.parquet")
    output = tmp_path / "stage"
    command = [sys.executable, "-m", "tests.pipeline.attack_driver", victim.uri, str(output)]
    command += [str(tmp_path / "examples.parquet"), "1"]
    kept: dict[str, int] = {}
    for number in (signal.SIGINT, signal.SIGKILL):
        before = len(kept)
        driver = subprocess.Popen(
            command, stderr=(tmp_path / "stderr").open("w"), start_new_session=True, preexec_fn=hear_interrupts
        )
        while len(written := list(output.glob("*.arrow"))) <= before:
            assert driver.poll() is None, (tmp_path / "stderr").read_text()
            time.sleep(0.05)
        os.kill(driver.pid, number)
        driver.wait()
        assert shards.read_manifest(Folder(output)) is None
        kept |= {path.name: path.stat().st_mtime_ns for path in written}
    assert run_attack(victim, output, examples, workers=2) == undisturbed[1]
    assert {name: (output / name).stat().st_mtime_ns for name in kept} == kept


def test_a_worker_that_is_killed_is_replaced(
    undisturbed: tuple[Path, dict[str, str]], victim: Folder, examples: pa.Table, tmp_path: Path
) -> None:
    flag = tmp_path / "killed"

    class KilledOnce(CrashingWorker):
        def crash_on(self, text: str) -> None:
            if not flag.exists():
                flag.touch()
                os.kill(os.getpid(), signal.SIGKILL)

    assert run_attack(victim, tmp_path / "stage", examples, 1, worker=KilledOnce) == undisturbed[1]
    manifest = shards.read_manifest(Folder(tmp_path / "stage"))
    assert manifest is not None
    assert manifest["timings"]["restarts"] == 1


def test_a_worker_whose_process_is_stopped_is_replaced(
    undisturbed: tuple[Path, dict[str, str]], victim: Folder, examples: pa.Table, tmp_path: Path
) -> None:
    flag = tmp_path / "stopped"

    class StoppedOnce(CrashingWorker):
        def crash_on(self, text: str) -> None:
            if not flag.exists():
                flag.write_text(str(os.getpid()))
                os.kill(os.getpid(), signal.SIGSTOP)

    assert run_attack(victim, tmp_path / "stage", examples, 1, worker=StoppedOnce, stall_seconds=6.0) == undisturbed[1]
    manifest = shards.read_manifest(Folder(tmp_path / "stage"))
    assert manifest is not None
    assert manifest["timings"]["restarts"] == 1
    stopped = psutil.Process(int(flag.read_text())) if psutil.pid_exists(int(flag.read_text())) else None
    assert stopped is None or stopped.wait(20) is None  # its memory is free again


def test_examples_that_crash_or_hang_every_worker_are_recorded_as_errors(
    undisturbed: tuple[Path, dict[str, str]],
    victim: Folder,
    examples: pa.Table,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ids, texts = (examples[name].to_pylist() for name in ("example_id", "text"))
    ends, hangs = ids[5], ids[6]  # of one unit

    class CrashesOnTwo(CrashingWorker):
        def crash_on(self, text: str) -> None:
            if text == texts[5]:
                os._exit(1)
            if text == texts[6]:
                time.sleep(600)

    run_attack(victim, tmp_path, examples, 2, worker=CrashesOnTwo, stall_seconds=6.0, max_failures=0.1)
    rows = {row["example_id"]: row for row in shards.read_shards(Folder(tmp_path)).to_pylist()}
    for failing, cause in ((ends, "ended its worker process"), (hangs, "made no progress for 6 s")):
        assert rows[failing]["status"] == "error"
        assert cause in rows[failing]["error"] and "2 times alone" in rows[failing]["error"]
        assert rows[failing]["original_scores"] is rows[failing]["perturbed_scores"] is None
    for row in shards.read_shards(Folder(undisturbed[0])).to_pylist():
        if row["example_id"] not in (ends, hangs):
            assert rows[row["example_id"]] == row
    assert "attack: 2 of 22 examples could not be attacked" in capsys.readouterr().err


def test_more_errors_than_allowed_end_the_run_and_finished_shards_are_kept(
    local_ray: None, victim: Folder, examples: pa.Table, tmp_path: Path
) -> None:
    few = examples.slice(0, 8)
    first = few["example_id"][0].as_py()

    class Unable(AttackWorker):
        def __init__(self) -> None:
            super().__init__()
            attack = self.session.process

            def attack_or_fail(job: AttackJob, examples: Sequence[shards.Example]) -> list[shards.Record]:
                return [
                    replace(record, status="error", error="OSError: no") if record.example_id == first else record
                    for record in attack(job, examples)
                ]

            self.session.process = attack_or_fail

    with pytest.raises(UserError, match=r"1 of 8 examples could not be attacked.*--attack.max-failures 0.1 allows"):
        run_attack(victim, tmp_path, few, 1, worker=Unable, max_failures=0.1)
    written = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.arrow")}
    assert written
    found = run_attack(victim, tmp_path, few, 1, max_failures=0.125)
    assert {path.name for path in written} <= found.keys()
    assert {path: path.stat().st_mtime_ns for path in written} == written


def shorten(folder: Path, first: Path, second: Path) -> None:
    first.write_bytes(first.read_bytes()[:-9])
    data = second.read_bytes()
    second.write_bytes(data[:99] + bytes([data[99] ^ 1]) + data[100:])


def lose_manifest(folder: Path, first: Path, second: Path) -> None:
    (folder / shards.MANIFEST).unlink()


def lose_shard(folder: Path, first: Path, second: Path) -> None:
    second.unlink()


@pytest.mark.parametrize("damage", [shorten, lose_manifest, lose_shard])
def test_only_damaged_shards_are_made_again(
    damage: Callable[[Path, Path, Path], None],
    undisturbed: tuple[Path, dict[str, str]],
    victim: Folder,
    examples: pa.Table,
    tmp_path: Path,
) -> None:
    output = tmp_path / "stage"
    shutil.copytree(undisturbed[0], output)
    paths = sorted(output.glob("*.arrow"))
    damage(output, paths[1], paths[3])
    before = {path: path.stat().st_mtime_ns for path in paths if path.exists()}
    assert run_attack(victim, output, examples, workers=1) == undisturbed[1]
    again = {path for path in paths if path.stat().st_mtime_ns != before.get(path)}
    assert again == {shorten: {paths[1], paths[3]}, lose_manifest: set(), lose_shard: {paths[3]}}[damage]
    assert {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths} == undisturbed[1]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no file system may be mounted here: {mounted.stderr.decode()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_reported_in_one_sentence_and_the_attack_can_continue(
    undisturbed: tuple[Path, dict[str, str]], victim: Folder, examples: pa.Table, small_disk: Path
) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"0" * (2**20 - 4 * 4096))  # leaves room for a shard, and not for two
    with pytest.raises(UserError, match=r"cannot be written .*No space left.*the same command then continues"):
        run_attack(victim, small_disk / "stage", examples, workers=1)
    assert not list(small_disk.glob("stage/.0*"))
    ballast.unlink()
    assert run_attack(victim, small_disk / "stage", examples, workers=1) == undisturbed[1]


class Broken(AttackWorker):
    def __init__(self) -> None:
        raise OSError("no resources")


def test_a_worker_that_cannot_start_is_an_error(
    local_ray: None, victim: Folder, examples: pa.Table, tmp_path: Path
) -> None:
    with pytest.raises(RuntimeError, match=r"could not start[\s\S]*no resources"):
        run_attack(victim, tmp_path, examples, workers=1, worker=Broken)


def test_a_missing_victim_is_an_error(local_ray: None, examples: pa.Table, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no checkpoint"):
        run_attack(Folder(tmp_path / "nothing"), tmp_path / "stage", examples, workers=1)
    assert not list(tmp_path.glob("stage/*.arrow"))


def test_a_gpu_that_the_cluster_does_not_have_is_refused(
    local_ray: None, victim: Folder, examples: pa.Table, tmp_path: Path
) -> None:
    plan = attack_driver.plan(victim.uri, str(tmp_path), examples)
    config = AttackConfig(gpus_per_worker=0.5, device="cpu")
    with Display(quiet=True) as display, pytest.raises(UserError, match="GPU"):
        attack_driver.run(plan, config, display, worker_groups(config))


def drive(driver: str, victim: Folder, output: Path, examples: pa.Table) -> str:
    """Standard error of a driver that attacks on a Ray of its own."""
    file = output.with_suffix(".parquet")
    pq.write_table(examples, file)
    command = [sys.executable, "-m", f"tests.pipeline.{driver}", victim.uri, str(output), str(file)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_a_removed_node_does_not_change_the_shards(
    undisturbed: tuple[Path, dict[str, str]], victim: Folder, examples: pa.Table, tmp_path: Path
) -> None:
    drive("cluster_driver", victim, tmp_path / "stage", examples)
    assert hashes(tmp_path / "stage") == undisturbed[1]


def test_an_example_that_takes_all_memory_is_recorded_as_an_error(
    private_token: None, victim: Folder, examples: pa.Table, tmp_path: Path
) -> None:
    said = drive("memory_driver", victim, tmp_path / "stage", examples.slice(0, 2))
    fine, failing = shards.read_shards(Folder(tmp_path / "stage")).to_pylist()
    assert fine["status"] in ("successful", "failed", "skipped")
    assert failing["status"] == "error"
    assert failing["error"] == "OutOfMemoryError: took more memory than its machine has, 2 times alone"
    assert "attack: 1 of 2 examples could not be attacked" in said
