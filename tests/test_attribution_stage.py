"""Explaining pairs in units: their order, and pairs that crash their workers. No Ray is started."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from ray.exceptions import ActorDiedError

from flat_dist.config.errors import UserError
from flat_dist.data import shards
from flat_dist.data.shards import Record
from flat_dist.evaluation import attribution_stage as stages
from flat_dist.evaluation.attribution_stage import (
    AttributionJob,
    AttributionStage,
    attribution_stage,
    count_errors,
    read_pairs,
    without_errors,
)
from flat_dist.evaluation.attribution_worker import AttributionWorker
from flat_dist.evaluation.attributions import SCHEMA, AttributionMethod, explain, summarise
from flat_dist.models import checkpoint as checkpoints
from flat_dist.runtime.progress import Display
from flat_dist.scheduling.scheduler import run_stages
from flat_dist.storage import arrow
from flat_dist.storage.file_validation import DamagedFileError
from flat_dist.storage.folder import Folder
from flat_dist.storage.stage import Output
from tests import fake_ray
from tests.fake_ray import fake_ray as fake  # noqa: F401, a fixture

IG = AttributionMethod("ig", steps=4)
FATAL = "pair-5"


@pytest.fixture(scope="module")
def attacked() -> pa.Table:
    """Nine pairs of different lengths, the shortest first."""
    texts = [" ".join(["film"] * length) for length in range(1, 10)]
    records = [
        Record(f"pair-{number}", 1, text, text.replace("film", "movie", 1), "successful")
        for number, text in enumerate(texts)
    ]
    scores = [[0.5, 0.5]] * len(records)
    return shards.to_table(records, scores, scores, 0, {})


def stage(victim: Folder, folder: Path, attacked: pa.Table, committed: list[str] | None = None) -> AttributionStage:
    job = AttributionJob(victim.uri, IG, str(folder), "cpu")

    def commit(output: Output) -> None:
        output.after_commit()
        if committed is not None:
            committed.extend(output.files)

    return attribution_stage("explain", job, attacked, False, commit)


class CrashingWorker(AttributionWorker):
    """Crashes on one pair."""

    def run(self, job: Any, number: int, examples: pa.Table) -> Any:
        self.crash(examples)
        return super().run(job, number, examples)

    def process(self, job: Any, examples: pa.Table) -> Any:
        self.crash(examples)
        return super().process(job, examples)

    def crash(self, examples: pa.Table) -> None:
        if FATAL in examples["example_id"].to_pylist():
            raise ActorDiedError


def run(worker: type[AttributionWorker], todo: AttributionStage, max_failures: float = 0.0) -> None:
    group = fake_ray.group(worker, 2)
    run_stages([todo], [group], "explanation worker", max_failures, Display(quiet=True))


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("unit", [4, 32])
def test_pairs_are_written_in_their_original_order(
    unit: int, victim: Folder, attacked: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "UNIT", unit)
    committed: list[str] = []
    run(AttributionWorker, stage(victim, tmp_path / "stage", attacked, committed))
    found = read_pairs(Folder(tmp_path / "stage"))
    assert committed == ["pairs.arrow"] and Folder(tmp_path / "stage").names() == ["pairs.arrow"]
    expected = explain(checkpoints.load(victim), attacked.to_pylist(), IG)
    assert found.schema == SCHEMA
    assert found["pair_id"].to_pylist() == expected["pair_id"].to_pylist()
    for row, other in zip(found.to_pylist(), expected.to_pylist(), strict=True):
        for classes, others in zip(row["original_attributions"], other["original_attributions"], strict=True):
            assert classes == pytest.approx(others, abs=1e-6)
    assert count_errors(found) == 0


@pytest.mark.usefixtures("fake")
def test_a_pair_that_crashes_its_workers_is_isolated_and_recorded(
    victim: Folder, attacked: pa.Table, tmp_path: Path
) -> None:
    run(AttributionWorker, stage(victim, tmp_path / "plain", attacked))
    crashing = stage(victim, tmp_path / "crashing", attacked)
    run(CrashingWorker, crashing, max_failures=0.12)
    expected, found = (read_pairs(Folder(tmp_path / name)) for name in ("plain", "crashing"))
    assert found["pair_id"].to_pylist() == expected["pair_id"].to_pylist()
    failed = found.to_pylist()[5]
    assert failed["error"] == "ActorDiedError: ended its worker process, 2 times alone"
    filled = {name for name, value in failed.items() if value is not None}
    assert filled == {"pair_id", "label", "status", "error"}
    others = [number for number in range(9) if number != 5]
    explained = without_errors(found)
    assert explained["pair_id"].to_pylist() == expected.take(others)["pair_id"].to_pylist()
    assert summarise(found) == summarise(explained)
    assert summarise(found).pairs == 8
    assert summarise(found).kendall_tau == pytest.approx(summarise(expected.take(others)).kendall_tau, abs=1e-6)


@pytest.mark.usefixtures("fake")
def test_more_failures_than_allowed_end_the_run(victim: Folder, attacked: pa.Table, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"1 of 9 pairs could not be explained.*--attack.max-failures 0.1 allows"):
        run(CrashingWorker, stage(victim, tmp_path, attacked), max_failures=0.1)
    assert "pairs.arrow" not in Folder(tmp_path).names()


@pytest.mark.usefixtures("fake")
def test_jobs_for_one_checkpoint_load_it_once(
    victim: Folder, attacked: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load, loads = checkpoints.load, []

    def counted(folder: Folder, device: str) -> Any:
        loads.append(folder.uri)
        return load(folder, device)

    monkeypatch.setattr(checkpoints, "load", counted)
    monkeypatch.setattr(stages, "UNIT", 2)
    both = [stage(victim, tmp_path / "first", attacked), stage(victim, tmp_path / "second", attacked)]
    run_stages(both, [fake_ray.group(AttributionWorker, 1)], "explanation worker", 0.0, Display(quiet=True))
    assert loads == [victim.uri]
    first, second = (read_pairs(Folder(tmp_path / name)) for name in ("first", "second"))
    assert first.equals(second)


def test_a_table_without_the_column_error_is_readable(victim: Folder, attacked: pa.Table, tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    table = explain(checkpoints.load(victim), attacked.to_pylist(), IG)
    arrow.write_table(folder, "pairs", table.drop_columns(["error"]))
    assert read_pairs(folder).equals(table)
    arrow.write_table(folder, "pairs", table.drop_columns(["label"]))
    with pytest.raises(DamagedFileError, match="another schema"):
        read_pairs(folder)
