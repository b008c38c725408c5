"""Workers that stay for a whole run: where there are any, and which session takes which job."""

from dataclasses import replace
from typing import Any

import pytest

from flat_dist.config.schema import AttackConfig, Config, TrainingConfig
from flat_dist.evaluation.attribution_session import AttributionSession
from flat_dist.evaluation.attribution_stage import AttributionJob
from flat_dist.pipeline import run_worker
from flat_dist.pipeline.run_worker import EARLY, RunWorker, run_workers
from flat_dist.runtime import capacity
from flat_dist.scheduling.worker_group import WarmWorkers

CPU = Config(training=TrainingConfig(device="cpu"), attack=AttackConfig(device="cpu"))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many workers were asked to start, on a machine of four CPUs."""
    counts: list[int] = []
    monkeypatch.setattr(WarmWorkers, "start_early", lambda self, count: counts.append(count))
    monkeypatch.setattr(capacity, "total", lambda: {"CPU": 4.0})
    monkeypatch.setattr(capacity, "joined", lambda: False)
    return counts


def test_a_worker_for_each_cpu_starts_early_or_as_many_as_the_user_wants_but_not_a_crowd(asked: list[int]) -> None:
    assert run_workers(CPU) is not None
    assert run_workers(replace(CPU, attack=replace(CPU.attack, workers=3))) is not None
    assert run_workers(replace(CPU, attack=replace(CPU.attack, workers=64))) is not None
    assert asked == [4, 3, EARLY]


@pytest.mark.parametrize(
    ("training", "attack", "joined"), [("cuda", "cpu", False), ("cpu", "cuda", False), ("cpu", "cpu", True)]
)
def test_on_a_gpu_or_a_cluster_each_phase_has_its_own(
    training: Any, attack: Any, joined: bool, asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capacity, "joined", lambda: joined)
    config = Config(training=TrainingConfig(device=training), attack=AttackConfig(device=attack))
    assert run_workers(config) is None and asked == []


def test_a_worker_explains_with_one_session_and_attacks_with_another(monkeypatch: pytest.MonkeyPatch) -> None:
    attacking = AttributionSession()
    monkeypatch.setattr(RunWorker, "make_session", lambda self: setattr(self, "_explaining", None) or attacking)
    worker = RunWorker()
    job = AttributionJob.__new__(AttributionJob)
    explaining = worker.session_for(job)
    assert isinstance(explaining, AttributionSession) and explaining is not attacking
    assert worker.session_for(job) is explaining
    assert worker.session_for("an attack") is attacking


def test_training_uses_the_threads_that_attacks_must_not_have(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[bool, float]] = []
    worker = RunWorker.__new__(RunWorker)

    def train_here(job: Any, output: str, kept: str, tick: Any) -> None:
        before = worker.current.loading
        tick()
        seen.append((before and not worker.current.loading, worker.current.watchdog.seconds))
        raise ValueError("diverged")

    threads: list[int] = []
    monkeypatch.setattr("flat_dist.training.single_task.train_here", train_here)
    monkeypatch.setattr(run_worker.torch, "set_num_threads", threads.append)
    with pytest.raises(ValueError, match="diverged"):
        worker.train("job", "output", "kept", 90.0)  # type: ignore[arg-type]
    assert (seen, threads) == ([(True, 90.0)], [1])
