"""Operations kept for a server: damaged files, files from other people, and the end of a run."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from flat_dist.commands.report import resend
from flat_dist.config.errors import UserError
from flat_dist.config.schema import Config, TrackingConfig
from flat_dist.storage.folder import Folder
from flat_dist.tracking.address import uri_of
from flat_dist.tracking.mlflow import database, tracked
from flat_dist.tracking.outbox import (
    DAMAGED_FILE,
    FILE,
    BufferedTracker,
    Outbox,
    OutboxError,
    UnreadableError,
    read_outbox,
)
from flat_dist.tracking.outbox_file import check_places, storage_of
from flat_dist.tracking.tracker import Destination, Operation, Tracker

METRICS = {"kind": "metrics", "child": "flat", "arguments": {"values": {"loss": 0.5}, "step": 1, "timestamp": 1000}}


def content(storage: Path, *operations: Any, **destination: Any) -> dict[str, Any]:
    where = {"uri": database(str(storage)), "experiment": "flat_dist", "artifacts": None, "run_name": "mine"}
    return {
        "destination": {**where, "parameters": {}, "hardware": "cpu", **destination},
        "operations": list(operations),
    }


def artifact(folder: Path | str, name: str = "results.json", path: str = "run") -> dict[str, Any]:
    return {"kind": "artifact", "child": None, "arguments": {"folder": str(folder), "name": name, "path": path}}


def artifacts(folder: Path | str, path: str = "run") -> dict[str, Any]:
    return {"kind": "artifacts", "child": None, "arguments": {"folder": str(folder), "path": path}}


def changed(**arguments: Any) -> dict[str, Any]:
    return {**METRICS, "arguments": {**METRICS["arguments"], **arguments}}  # type: ignore[dict-item]


class Away(Tracker):
    """A server that takes nothing."""

    def log(self, operation: Operation) -> None:
        raise ConnectionError("it is away")


class Taking(Tracker):
    """A server that takes everything."""

    def __init__(self) -> None:
        self.taken: list[Operation] = []

    def log(self, operation: Operation) -> None:
        self.taken.append(operation)


WHERE = Destination("http://host:5000", "flat_dist", None, "mine", {}, "cpu")

NOT_JSON = ["", '{"destination": {', "\x00" * 40, "[" * 100_000]
WRONG = [
    None,
    [],
    {"operations": []},
    {"destination": 5, "operations": []},
    {"destination": {"uri": "x"}, "operations": []},
    {"destination": content(Path("/x"))["destination"], "operations": {}},
    content(Path("/x"), uri=5),
    content(Path("/x"), parameters=[]),
    content(Path("/x"), "metrics"),
    content(Path("/x"), {**METRICS, "kind": "__init__"}),
    content(Path("/x"), {**METRICS, "kind": "_parameters"}),
    content(Path("/x"), {**METRICS, "child": 5}),
    content(Path("/x"), {**METRICS, "more": 5}),
    content(Path("/x"), changed(values=[1])),
    content(Path("/x"), changed(values={"loss": "0.5"})),
    content(Path("/x"), changed(step="1")),
    content(Path("/x"), changed(step=True)),
    content(Path("/x"), changed(run="abc")),
    content(Path("/x"), {"kind": "finish", "child": None, "arguments": {"status": "DONE"}}),
    content(Path("/x"), {"kind": "table", "child": None, "arguments": {"rows": [5], "path": "x"}}),
    content(Path("/x"), {"kind": "table", "child": None, "arguments": {"rows": [{"a": 1}, {"b": 1}], "path": "x"}}),
]


@pytest.mark.parametrize("text", [*NOT_JSON, *map(json.dumps, WRONG)])
def test_a_damaged_outbox_is_renamed_and_the_run_continues(text: str, tmp_path: Path) -> None:
    folder, said, server = Folder(tmp_path / "run"), list[str](), Taking()
    folder.write(FILE, text.encode())
    with pytest.raises(OutboxError, match=f"{FILE} is damaged") as error:
        read_outbox(folder)
    assert "\n" not in str(error.value)
    tracker = BufferedTracker(server, Outbox.open(folder, WHERE, said.append), said.append)
    assert folder.read(DAMAGED_FILE).decode() == text and not folder.exists(FILE)
    assert len(said) == 1 and DAMAGED_FILE in said[0]
    tracker.metrics("flat", {"loss": 1.0})
    assert [operation.kind for operation in server.taken] == ["metrics"]


def test_only_files_of_the_run_and_of_the_stages_are_sent(tmp_path: Path) -> None:
    storage, outside = tmp_path / "runs", tmp_path / "home"
    run, stage = storage / "mine", storage / "stages" / "attack-1"
    for folder in (run / "report", run / "linked", stage, outside, storage / "other"):
        folder.mkdir(parents=True)
        (folder / "results.json").write_text("{}")
    (run / "linked" / "key").symlink_to(outside / "results.json")
    (run / "key.json").symlink_to(outside / "results.json")
    (run / "elsewhere").symlink_to(outside)
    good = [artifact(run), artifacts(run / "report"), artifact(stage), artifact(f"file://{stage}")]
    bad = [
        artifact(outside),
        artifacts(outside),
        artifacts("/"),
        artifacts(storage),
        artifact(storage / "other"),
        artifacts(run / ".." / "other"),
        artifacts(run / "elsewhere"),
        artifact(run / "elsewhere"),
        artifacts(run / "linked"),
        artifacts(run),
        artifact(run, "key.json"),
        artifact(run, "../other/results.json"),
        artifact(run, str(outside / "results.json")),
        artifact(run, ".."),
        artifact(run, ""),
        artifact(run, path="../../elsewhere"),
        artifact(run, path="/etc"),
        artifacts("s3://bucket/x?region=us-east-1"),
        artifacts("foo://bucket"),
        {"kind": "table", "child": None, "arguments": {"rows": [], "path": "../x.json"}},
    ]
    folder = Folder(run)
    folder.write_json(FILE, content(storage, *good))
    assert len(read_outbox(folder)[1]) == len(good)
    for operation in bad:
        folder.write_json(FILE, content(storage, *good, operation))
        with pytest.raises(OutboxError, match=r"cannot be sent: ") as error:
            read_outbox(folder)
        assert "\n" not in str(error.value)


def test_a_run_in_an_object_store_sends_only_its_own_objects() -> None:
    uri = "s3://bucket/runs/{}?region=us-east-1"
    run = Folder(uri.format("mine"))
    assert storage_of(run).uri == Folder("s3://bucket/runs?region=us-east-1").uri
    check_places([artifact(uri.format("mine/cards")), artifacts(uri.format("stages/attack-1"))], run)
    for other in (uri.format("other"), uri.format("mine2"), "/etc"):
        with pytest.raises(UserError, match="outside the run's folder"):
            check_places([artifacts(other)], run)


def test_an_outbox_is_sent_to_a_server_only_if_the_user_names_it(tmp_path: Path, mlflow_database: Path) -> None:
    storage = tmp_path / "runs"
    folder = Folder(storage / "mine")
    shutil.copyfile(mlflow_database, tmp_path / "named.db")
    for uri in ("http://127.0.0.1:9", "http://me:hush@127.0.0.1:9", uri_of(tmp_path / "other.db"), "./mlruns"):
        folder.write_json(FILE, content(storage, METRICS, uri=uri, artifacts=f"file://{tmp_path}/home"))
        with pytest.raises(UserError, match=r"name the server to send them to with --tracking.uri") as error:
            resend(folder, None)
        assert "hush" not in str(error.value)
    assert not (tmp_path / "other.db").exists()
    resend(folder, uri_of(tmp_path / "named.db"))
    assert not folder.exists(FILE)
    client = MlflowClient(uri_of(tmp_path / "named.db"))
    experiment = client.get_experiment_by_name("flat_dist")
    assert experiment is not None and experiment.artifact_location == f"file://{tmp_path}/mlartifacts"
    assert [run.data.metrics for run in client.search_runs(["1"])] == [{"loss": 0.5}, {}]


def test_an_outbox_for_the_file_beside_the_run_needs_no_address(tmp_path: Path, mlflow_database: Path) -> None:
    shutil.copyfile(mlflow_database, tmp_path / "mlflow.db")
    folder = Folder(tmp_path / "mine")
    folder.write_json(FILE, content(tmp_path, METRICS))
    resend(folder, None)
    assert len(MlflowClient(database(str(tmp_path))).search_runs(["1"])) == 2
    folder.write_json(FILE, content(tmp_path, {**METRICS, "kind": "__init__"}))
    with pytest.raises(UserError, match="unknown kind '__init__'"):
        resend(folder, None)


def test_a_failing_server_and_disk_do_not_hide_an_error_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flat_dist.tracking.mlflow.MlflowTracker.start", lambda where, log_line: Away())
    folder, said = Folder(tmp_path / "run"), list[str]()
    config = Config(storage=str(tmp_path), tracking=TrackingConfig(uri="http://127.0.0.1:9"))
    with pytest.raises(ZeroDivisionError), tracked(config, "mine", {}, folder, said.append) as tracker:
        (tmp_path / "run").touch()  # no file can be written into it any more
        tracker.metrics("flat", {"loss": 0.5})
        raise ZeroDivisionError
    (tmp_path / "run").unlink()
    with tracked(config, "mine", {}, folder, said.append) as tracker:
        (tmp_path / "run").touch()
        tracker.metrics("flat", {"loss": 0.5})
    assert len(said) == 4
    assert said[0] == said[2] and "ConnectionError: it is away" in said[0] and "in memory" in said[0]
    assert "run the same command again" in said[1]


def test_a_missing_file_does_not_block_later_operations(tmp_path: Path) -> None:
    class Missing(Taking):
        def log(self, operation: Operation) -> None:
            if operation.kind == "artifact":
                raise UnreadableError("stages/attack-1/manifest.json is not a text file any more")
            super().log(operation)

    folder, said, server = Folder(tmp_path / "run"), list[str](), Missing()
    folder.write_json(FILE, content(tmp_path, artifact(tmp_path / "stages" / "attack-1"), METRICS))
    BufferedTracker(server, Outbox.open(folder, WHERE, said.append), said.append).finish("FINISHED")
    assert [operation.kind for operation in server.taken] == ["metrics", "finish"]
    assert "manifest.json is not a text file any more; it is not logged" in said[0]
    assert not folder.exists(FILE)
