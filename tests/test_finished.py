"""Runs that have ended are found again, as long as nothing of them is missing."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from flat_dist.config.schema import Config, TrackingConfig
from flat_dist.pipeline import finished, run_folder
from flat_dist.runtime import cluster_address, hardware
from flat_dist.storage.folder import Folder
from flat_dist.storage.stage import Executor, Output, Stage
from flat_dist.tracking import outbox

FINGERPRINT = "0" * 16
HINTS = ["hint: look here"]


@pytest.fixture
def ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """The config of a run that has ended, with one stage and two files."""
    monkeypatch.setenv("RAY_ADDRESS", "local")
    config = Config(storage=str(tmp_path))
    resolved, _ = hardware.resolve(config, hardware.detect())
    executor = Executor(Folder(tmp_path))
    executor.run(Stage(name="train", title="train", inputs={"seed": 1}, fill=write_weights))
    folder = run_of(config)
    folder.write("results.json", b"[]")
    (folder / "report").write("index.html", b"<p>")
    (tmp_path / "mlflow.db").touch()
    finished.record(folder, resolved, executor.used, HINTS)
    return config


def write_weights(folder: Folder) -> Output:
    folder.write("weights", b"1")
    return Output(["weights"])


def run_of(config: Config) -> Folder:
    resolved, _ = hardware.resolve(config, hardware.detect())
    settings = run_folder.identity(resolved, FINGERPRINT)
    return Folder(config.storage) / run_folder.run_name(resolved, settings)


def test_a_run_that_has_ended_is_found(ended: Config) -> None:
    found = finished.find(ended, FINGERPRINT)
    assert found is not None
    config, folder, run = found
    assert (folder, run.hints, config.training.device) == (
        run_of(ended),
        HINTS,
        hardware.resolve(ended, hardware.detect())[0].training.device,
    )
    assert set(run.files[""]) == {"results.json"} and set(run.files["report"]) == {"index.html"}


@pytest.mark.parametrize(
    "change",
    [
        lambda config: replace(config, seed=2),
        lambda config: replace(config, profile=True),
        lambda config: replace(config, tracking=TrackingConfig(experiment="another")),
        lambda config: replace(config, tracking=TrackingConfig(enabled=False)),
    ],
    ids=["seed", "profile", "experiment", "no tracking"],
)
def test_another_command_has_work_to_do(ended: Config, change: Callable[[Config], Config]) -> None:
    assert finished.find(change(ended), FINGERPRINT) is None


def test_other_data_are_another_run(ended: Config) -> None:
    assert finished.find(ended, "1" * 16) is None


def delete_database(config: Config) -> None:
    (Path(config.storage) / "mlflow.db").unlink()


def delete_report(config: Config) -> None:
    (run_of(config) / "report").delete("index.html")


def damage_results(config: Config) -> None:
    run_of(config).write("results.json", b"[1]")


def damage_stage(config: Config) -> None:
    (weights,) = Path(config.storage).glob("stages/*/weights")
    weights.write_bytes(b"2")


def delete_stage(config: Config) -> None:
    (marker,) = Path(config.storage).glob("stages/*/stage.json")
    marker.unlink()


def make_older(config: Config) -> None:
    known = run_of(config).read_json(finished.FILE)
    run_of(config).write_json(finished.FILE, known | {"version": "0.0.1"})


def damage_record(config: Config) -> None:
    run_of(config).write(finished.FILE, b'{"version": 1}')


def leave_something_to_send(config: Config) -> None:
    run_of(config).write(outbox.FILE, b"{}")


@pytest.mark.parametrize(
    "harm",
    [
        delete_database,
        delete_report,
        damage_results,
        damage_stage,
        delete_stage,
        make_older,
        damage_record,
        leave_something_to_send,
    ],
)
def test_a_run_of_which_something_is_missing_is_not_found(ended: Config, harm: Callable[[Config], None]) -> None:
    harm(ended)
    assert finished.find(ended, FINGERPRINT) is None


def test_a_run_that_mlflow_has_yet_to_take_is_not_recorded(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    leave = folder.write(outbox.FILE, b"{}")
    finished.record(folder, Config(), {}, [])
    assert leave and not folder.exists(finished.FILE)


def test_a_cluster_may_have_other_hardware(ended: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_address, "find", lambda: cluster_address.Address("head:6379", "RAY_ADDRESS"))
    assert finished.find(ended, FINGERPRINT) is None
