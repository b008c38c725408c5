import http.server
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from flat_dist.commands import report
from flat_dist.config.errors import UserError
from flat_dist.config.schema import Config, TrackingConfig
from flat_dist.config.serialization import to_dict
from flat_dist.evaluation.consistency import Consistency
from flat_dist.evaluation.model_consistency import AllTexts, ModelConsistency
from flat_dist.evaluation.result import Result
from flat_dist.report.summary_table import markdown
from flat_dist.storage.folder import Folder
from flat_dist.tracking.mlflow import check, check_server, database, destination, tracked
from flat_dist.tracking.mlflow_tracker import MlflowTracker
from flat_dist.tracking.outbox import FILE, read_outbox
from flat_dist.tracking.tracker import Tracker

IG = Consistency(0.53, dict(zip(range(1, 11), [0.5, 0.55, 0.6, 0.62, 0.654, 0.7, 0.8, 0.9, 1, 1], strict=True)), 100, 3)
OWN = Consistency(0.61, dict.fromkeys(range(1, 11), 0.7), 250, 4)
INTERPRETATION = ModelConsistency(
    common=IG,
    own=OWN,
    common_interval=(0.5, 0.56),
    common_by_outcome={"failed": IG},
    own_by_outcome={"failed": OWN},
    common_pairs=100,
    own_pairs=250,
    texts=400,
    unchanged={"skipped": 150},
    all_texts=AllTexts(0.75625, dict.fromkeys(range(1, 11), 0.8125), 0.375),
)
RESULT = Result("flat", 2, "pwws", False, 0.75, 0.125, 0.8, 99.6, None, 400, {"ig": INTERPRETATION})


@pytest.fixture
def storage(tmp_path: Path, mlflow_database: Path) -> str:
    """A folder with a database: to make one takes seconds."""
    shutil.copyfile(mlflow_database, tmp_path / "mlflow.db")
    return str(tmp_path)


def test_runs_are_nested_and_hold_config_metrics_and_artifacts(tmp_path: Path) -> None:
    config = Config(storage=str(tmp_path / "runs"))
    folder = Folder(tmp_path / "stage")
    folder.write("manifest.json", b"{}")
    for call in range(2):  # the second call goes on with the same runs
        tracker = MlflowTracker.start(destination(config, "mine", to_dict(config)), print)
        tracker.metrics("flat", {"test/accuracy": 0.5 + call, "absent": None}, step=call)
        tracker.metrics(None, {"seconds": 1.0})
        tracker.artifacts("flat", folder, "shards/round-1")
        tracker.finish("FINISHED")
    client = MlflowClient(database(config.storage))
    experiment = client.get_experiment_by_name("flat_dist")
    assert experiment is not None
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert sorted(runs) == ["flat-mine", "mine"]
    parent, child = runs["mine"], runs["flat-mine"]
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert parent.data.params["objective.beta"] == "0.1"
    assert parent.data.params["training.kinds"] == "['base', 'adv', 'flat']"
    history = client.get_metric_history(child.info.run_id, "test/accuracy")
    assert [(metric.step, metric.value) for metric in history] == [(0, 0.5), (1, 1.5)]
    assert "absent" not in child.data.metrics
    assert [run.info.status for run in runs.values()] == ["FINISHED", "FINISHED"]
    assert [file.path for file in client.list_artifacts(child.info.run_id, "shards/round-1")] == [
        "shards/round-1/manifest.json"
    ]


def test_an_unavailable_server_gives_a_one_line_error(tmp_path: Path) -> None:
    config = Config(storage=str(tmp_path), tracking=TrackingConfig(uri="http://127.0.0.1:9"))
    with pytest.raises(UserError, match=r"MLflow cannot be reached at http://127.0.0.1:9 .*--tracking.uri") as error:
        MlflowTracker.start(destination(config, "mine", to_dict(config)), print)
    assert "\n" not in str(error.value)


def test_results_as_a_markdown_table() -> None:
    head, rule, row, _, about = markdown([RESULT]).splitlines()
    assert head.startswith("| attack | training | accuracy % | after attack % |")
    assert rule.count("|") == head.count("|") == row.count("|")
    assert row == "| pwws (unseen) | flat | 75.0 | 12.5 | 80.0 | 100 | 400 | 0.53 | 0.65 |"  # neither changed nor LIME
    assert about == "tau, top-5: over the texts that the attack changed for every model in the table."


def test_metrics_of_a_result_are_named_by_attack_and_method() -> None:
    metrics = RESULT.metrics("test")
    assert metrics["test/accuracy"] == 0.75
    assert metrics["test/pwws/after_attack_accuracy"] == 0.125
    assert metrics["test/pwws/ig/kendall_tau"] == 0.53
    assert metrics["test/pwws/ig/top_5"] == 0.654
    assert metrics["test/pwws/ig/undefined"] == 3
    assert (metrics["test/pwws/ig/kendall_tau_low"], metrics["test/pwws/ig/kendall_tau_high"]) == (0.5, 0.56)
    assert (metrics["test/pwws/ig/own/kendall_tau"], metrics["test/pwws/ig/own/pairs"]) == (0.61, 250)
    assert (metrics["test/pwws/ig/failed/kendall_tau"], metrics["test/pwws/ig/own/failed/top_5"]) == (0.53, 0.7)
    assert metrics["test/pwws/ig/unchanged/skipped"] == 150
    assert (metrics["test/pwws/ig/all_texts/kendall_tau"], metrics["test/pwws/ig/all_texts/top_5"]) == (0.75625, 0.8125)
    assert metrics["test/pwws/words_changed"] is None


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    bare = replace(RESULT, interpretations={"ig": replace(INTERPRETATION, common_interval=None, all_texts=None)})
    Folder(tmp_path).write_json("results.json", [asdict(RESULT), asdict(bare)])
    assert Folder(tmp_path).read_json("results.json", list[Result]) == [RESULT, bare]


def test_a_child_run_that_has_ended_keeps_its_status(storage: str) -> None:
    config = Config(storage=storage)
    for _ in range(2):  # again, as after a crash between the sending and the forgetting
        tracker = MlflowTracker.start(destination(config, "mine", {}), print)
        tracker.parameters("trial-1", {"objective.beta": 0.1})
        tracker.metrics("trial-1", {"score": 0.5}, step=1, timestamp=1000)
        tracker.end("trial-1", "FAILED", {"reason": "loss is nan"})
        tracker.parameters("trial-2", {"objective.beta": 1.0})
        tracker.finish("FINISHED")
    client = MlflowClient(database(config.storage))
    runs = {run.info.run_name: run for run in client.search_runs(["1"])}
    assert {name: run.info.status for name, run in runs.items()} == {
        "mine": "FINISHED",
        "trial-1-mine": "FAILED",
        "trial-2-mine": "FINISHED",
    }
    failed = runs["trial-1-mine"]
    assert (failed.data.params["objective.beta"], failed.data.tags["reason"]) == ("0.1", "loss is nan")
    assert len(client.get_metric_history(failed.info.run_id, "score")) == 1


def test_a_number_is_logged_once_at_a_step(storage: str) -> None:
    config = Config(storage=storage)
    for number in range(3):  # as a run that is continued twice
        tracker = MlflowTracker.start(destination(config, "mine", {}), print)
        for timestamp, value in enumerate([0.5, 0.5, 0.25], start=1 + 10 * number):
            tracker.metrics("flat", {"accuracy": value}, step=int(value < 0.5), timestamp=timestamp)
        tracker.metrics("flat", {"loss": 1.0 + (number == 2)}, step=1, timestamp=100 + number)
        tracker.finish("FINISHED")
    client = MlflowClient(database(config.storage))
    (run,) = (run for run in client.search_runs(["1"]) if run.info.run_name == "flat-mine")

    def logged(name: str) -> list[tuple[int, float, int]]:
        history = client.get_metric_history(run.info.run_id, name)
        return [(metric.step, metric.value, metric.timestamp) for metric in history]

    assert sorted(logged("accuracy")) == [(0, 0.5, 1), (1, 0.25, 3)]
    assert sorted(logged("loss")) == [(1, 1.0, 100), (1, 2.0, 102)]  # a new value is logged


def test_a_table_is_logged_once(storage: str) -> None:
    config = Config(storage=storage)
    rows = [{"pair": "a", "tau": 0.5}, {"pair": "b", "tau": None}]
    for _ in range(2):
        tracker = MlflowTracker.start(destination(config, "mine", to_dict(config)), print)
        tracker.table("flat", rows, "pairs/textfooler-ig.json")
        tracker.finish("FINISHED")
    client = MlflowClient(database(config.storage))
    (run,) = (run for run in client.search_runs(["1"]) if run.info.run_name == "flat-mine")
    table = Path(client.download_artifacts(run.info.run_id, "pairs/textfooler-ig.json"))
    assert json.loads(table.read_text()) == {"columns": ["pair", "tau"], "data": [["a", 0.5], ["b", None]]}
    assert "pairs/textfooler-ig.json" in run.data.tags["mlflow.loggedArtifacts"]  # by which the UI knows tables


def test_default_database_of_local_storage_and_object_store(tmp_path: Path) -> None:
    assert database(str(tmp_path)) == database(f"file://{tmp_path}") == f"sqlite:///{tmp_path}/mlflow.db"
    assert database("s3://bucket/x?region=us-east-1") == f"sqlite:///{Path.cwd()}/runs/mlflow.db"


NAMES = [
    "bob's run", 'a "b"', "'\"", "`", "a\\b", "\\'", "100%", "a_b", "a\nb", "a;b --", "x' OR 'a'='a", "é😀", " a ",
    "[b]", "[/x]", "<b>", "{x}", "%s", "(a,b)", "AND", "0", "a" * 240,
]  # fmt: skip
"""Run names that a filter string cannot hold as they are, or that look like part of one."""


def test_runs_with_special_characters_in_their_names_are_found_again(storage: str) -> None:
    """Names of which each matches the pattern of another one, in two calls."""
    started = [{name: _tracker(storage, name) for name in NAMES} for _ in range(2)]
    parents = [{name: tracker.parent for name, tracker in trackers.items()} for trackers in started]
    assert parents[0] == parents[1]
    assert len(set(parents[0].values())) == len(NAMES)
    runs = MlflowClient(database(storage)).search_runs(["1"])
    assert {run.info.run_id: run.info.run_name for run in runs} == {run: name for name, run in parents[0].items()}


def _tracker(storage: str, name: str, **parameters: Any) -> MlflowTracker:
    return MlflowTracker.start(destination(Config(storage=storage), name, parameters), print)


def test_a_child_run_and_a_parent_run_can_have_the_same_name(storage: str) -> None:
    child = _tracker(storage, "it's mine")
    child.metrics("flat", {"loss": 0.5})
    run = _tracker(storage, "flat-it's mine")
    assert run.parent not in (child.parent, child.children["flat"])
    again = _tracker(storage, "it's mine")
    again.metrics("flat", {"loss": 0.25}, step=1)
    assert again.children == child.children


def test_other_parameters_for_an_existing_run_give_a_one_line_error(storage: str) -> None:
    _tracker(storage, "mine", objective={"beta": 0.1, "gamma": 1.0}, path="x" * 7000)
    _tracker(storage, "mine", objective={"beta": 0.1}, path="x" * 7000, more=1)
    with pytest.raises(UserError, match=r"objective.beta was '0.1', now '0.2'\).*another --run-name") as error:
        _tracker(storage, "mine", objective={"beta": 0.2, "gamma": 1.0})
    assert "gamma" not in str(error.value)
    _tracker(storage, "other", objective={"beta": 0.2})


def test_parameter_names_with_special_characters_are_logged(storage: str) -> None:
    names = ["bob's", 'bob"s', "[b]", "a;b", "é", "a b"]
    for _ in range(2):
        tracker = _tracker(storage, "mine", checkpoints={name: name for name in names})
    logged = MlflowClient(database(storage)).get_run(tracker.parent).data.params
    assert sorted(logged.values()) == sorted(names)
    assert (logged["checkpoints.é"], logged["checkpoints.a b"]) == ("é", "a b")


def test_a_deleted_experiment_gives_a_one_line_error_before_any_work(storage: str) -> None:
    _tracker(storage, "mine")
    client = MlflowClient(database(storage))
    client.delete_experiment("1")
    sentence = f"the experiment flat_dist is deleted at {database(storage)}: restore it, or .*--tracking.experiment"
    with pytest.raises(UserError, match=sentence):
        check_server(Config(storage=storage))
    with pytest.raises(UserError, match=sentence):
        _tracker(storage, "mine")
    client.restore_experiment("1")
    check_server(Config(storage=storage))


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "\x1b[31m", "x" * 501])
def test_invalid_experiment_names_are_rejected(name: str) -> None:
    with pytest.raises(UserError, match=r"--tracking.experiment .* is not a valid name"):
        check(Config(tracking=TrackingConfig(experiment=name)))


@pytest.mark.parametrize("name", ["bob's", 'a "b" % \\', "é", "7", "a/b", "x" * 500])
def test_unusual_experiment_names_are_not_changed(name: str, storage: str) -> None:
    config = Config(storage=storage, tracking=TrackingConfig(experiment=name))
    first, second = (MlflowTracker.start(destination(config, "mine", {}), print) for _ in range(2))
    assert first.parent == second.parent
    experiment = MlflowClient(database(storage)).get_experiment(first.experiment)
    assert experiment.name == name


def test_two_runs_can_create_an_experiment_at_the_same_time(storage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of them does between the other's look and its own attempt."""
    create = MlflowClient.create_experiment

    def after_another(client: MlflowClient, name: str, **more: Any) -> str:
        create(client, name, **more)
        return create(client, name, **more)

    monkeypatch.setattr(MlflowClient, "create_experiment", after_another)
    assert _tracker(storage, "mine").experiment == "1"


def test_checking_the_server_creates_no_files(tmp_path: Path) -> None:
    check_server(Config(storage=str(tmp_path / "runs")))
    check_server(Config(storage="s3://bucket/x?region=us-east-1", tracking=TrackingConfig(enabled=False)))
    assert list(tmp_path.iterdir()) == []


def test_artifacts_are_beside_the_users_database_file(
    tmp_path: Path, storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = Config(storage=str(tmp_path / "runs"), tracking=TrackingConfig(uri="sqlite:///mlflow.db"))
    where = destination(config, "mine", {})
    assert where.uri == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.chdir("/")  # which changes nothing any more
    MlflowTracker.start(where, print).table(None, [{"a": 1}], "x.json")
    assert [path.name for path in (tmp_path / "mlartifacts").rglob("*.json")] == ["x.json"]


def test_operations_of_a_damaged_database_are_kept_without_a_traceback(
    storage: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database is not one any more, as after an accident, and then it is back."""
    config, folder, said = Config(storage=storage), Folder(f"{storage}/mine"), list[str]()
    file = Path(storage) / "mlflow.db"
    with tracked(config, "mine", {}, folder, said.append) as tracker:
        tracker.metrics("flat", {"loss": 0.5}, step=1)
        content = file.read_bytes()
        file.write_bytes(b"no database" * 9999)
        tracker.metrics("flat", {"loss": 0.25}, step=2)
    assert [operation.kind for operation in read_outbox(folder)[1]] == ["metrics", "finish"]
    assert "numbers are kept" in said[0] and all("\n" not in line for line in said)
    file.write_bytes(content)
    with tracked(config, "mine", {}, folder, said.append) as tracker:
        tracker.metrics("flat", {"loss": 0.125}, step=3)
    runs = {run.info.run_name: run for run in MlflowClient(database(storage)).search_runs(["1"])}
    history = MlflowClient(database(storage)).get_metric_history(runs["flat-mine"].info.run_id, "loss")
    assert [(metric.step, metric.value) for metric in history] == [(1, 0.5), (2, 0.25), (3, 0.125)]
    assert not folder.exists(FILE)
    assert "Traceback" not in "".join(capfd.readouterr())


def test_environment_variables_neither_redirect_nor_delay_logging(
    storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
        "MLFLOW_EXPERIMENT_NAME": "another",
        "MLFLOW_RUN_ID": "another",
        "_MLFLOW_SERVER_ARTIFACT_ROOT": f"{storage}/elsewhere",
        "MLFLOW_ENABLE_ASYNC_LOGGING": "true",
    }.items():
        monkeypatch.setenv(name, value)
    tracker = _tracker(storage, "mine", beta=1)
    tracker.table(None, [{"a": 1}], "x.json")
    assert list((Path(storage) / "mlartifacts").rglob("x.json")) and not (Path(storage) / "elsewhere").exists()
    with pytest.raises(MlflowException, match="Invalid value"):  # what is put off raises nothing, and can get lost
        tracker.metrics(None, {"a|b": 1.0})
    with pytest.raises(MlflowException, match="Invalid value"):
        tracker.parameters("flat", {"a|b": 1})


JSON, HTML = "application/json", "text/html"
EXPERIMENT = '{"experiment": {"experiment_id": "1", "name": "flat_dist", "lifecycle_stage": "active"}}'
ANSWERS: list[tuple[dict[str, tuple[int, str, str] | None], str]] = [
    ({"": (200, HTML, "<html>welcome</html>")}, "cannot be used .*not in a valid JSON format"),
    ({"": (200, JSON, "[]")}, "cannot be used"),
    ({"": (200, JSON, "null")}, "cannot be used"),
    ({"": (200, JSON, "{}")}, "cannot be used .its answer is not MLflow's"),
    ({"": (200, JSON, '{"experiment": 5}')}, "cannot be used"),
    ({"": (200, JSON, EXPERIMENT), "search": (200, JSON, "{}"), "create": (200, JSON, "{}")}, "cannot be used"),
    ({"": (200, JSON, EXPERIMENT), "search": (200, JSON, "[]")}, "cannot be used"),
    ({"": (200, JSON, EXPERIMENT), "search": (500, HTML, "oops")}, "cannot be reached"),
    ({"": (500, HTML, "oops")}, "cannot be reached"),
    ({"": (404, HTML, "<h1>\nnope</h1>")}, "cannot be used .*404"),
    ({"": (302, HTML, "")}, "cannot be used .*302"),
    ({"": (401, HTML, "You are not authenticated")}, "needs a login.*MLFLOW_TRACKING_USERNAME"),
    ({"": (403, JSON, '{"error_code": "PERMISSION_DENIED", "message": "no"}')}, "denies permission"),
    ({"": None}, "cannot be reached"),  # it hangs
]
"""What a server answers to requests whose path contains a text, the last that fits, and what is said."""


@pytest.mark.parametrize(("answers", "sentence"), ANSWERS)
def test_invalid_answers_of_a_server_give_a_one_line_error(
    answers: dict[str, tuple[int, str, str] | None], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    ended = threading.Event()

    class Nonsense(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answer = [answer for part, answer in answers.items() if part in self.path][-1]
            if answer is None:
                ended.wait()
                return
            self.send_response(answer[0])
            self.send_header("Content-Type", answer[1])
            self.end_headers()
            self.wfile.write(answer[2].encode())

        do_POST = do_GET

        def log_message(self, *arguments: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Nonsense) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        config = Config(
            storage=str(tmp_path), tracking=TrackingConfig(uri=f"http://127.0.0.1:{server.server_address[1]}")
        )
        try:
            with pytest.raises(UserError, match=sentence) as error:
                MlflowTracker.start(destination(config, "mine", {"a": 1}), print)
        finally:
            ended.set()
            server.shutdown()
    assert "\n" not in str(error.value) and len(str(error.value)) < 600


class Server:
    """A tracking server on loopback that can go away and come back."""

    def __init__(self, folder: Path):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.folder, self.uri = folder, f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{self.folder}/server.db"]
        command += ["--artifacts-destination", str(self.folder / "artifacts")]
        quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with (self.folder / "log").open("a") as log:
            self.process = subprocess.Popen(
                command, env=os.environ | quiet, stdout=log, stderr=log, start_new_session=True
            )
        while not self.answers():
            assert self.process.poll() is None, (self.folder / "log").read_text()
            time.sleep(0.1)

    def answers(self) -> bool:
        try:
            return urllib.request.urlopen(f"{self.uri}/health", timeout=1).status == 200
        except (urllib.error.URLError, OSError):
            return False

    def stop(self) -> None:
        if self.process:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


def test_operations_are_kept_while_a_server_is_unavailable_and_sent_later(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run that ends without its server, one that is killed without it, and one that sees it come back."""
    server, folder, said = Server(tmp_path), Folder(tmp_path / "run"), []  # type: Server, Folder, list[str]
    config = Config(storage=str(tmp_path), tracking=TrackingConfig(uri=server.uri))
    folder.write("results.json", b"[]")
    history: dict[tuple[str, str], list[tuple[int, float]]] = {}

    def log(tracker: Tracker, child: str, step: int) -> None:
        tracker.metrics(child, {"loss": step / 4, "absent": None}, step)
        history.setdefault((child, "loss"), []).append((step, step / 4))

    def run(work: Callable[[Tracker], None]) -> None:
        with tracked(config, "mine", to_dict(config), folder, said.append) as tracker:
            work(tracker)

    def ends_without(tracker: Tracker) -> None:
        log(tracker, "base", 0)
        server.stop()
        log(tracker, "base", 1)
        log(tracker, "flat", 1)  # whose run the server never made
        tracker.table("flat", [{"pair": "a"}], "pairs/ig.json")
        tracker.artifact("flat", folder, "results.json", "run")

    def is_killed(tracker: Tracker) -> None:
        log(tracker, "flat", 2)
        server.stop()
        log(tracker, "flat", 3)
        raise KeyboardInterrupt  # the file is then as SIGKILL leaves it, but for the status

    def sees_it_come_back(tracker: Tracker) -> None:
        server.stop()
        log(tracker, "flat", 4)
        server.start()
        tracker.last_attempt = float("-inf")  # type: ignore[attr-defined]  # as if it had been a while
        log(tracker, "flat", 5)
        assert not folder.exists(FILE)

    try:
        server.start()
        run(ends_without)
        assert "numbers" in said[0] or FILE in said[0]
        assert f"flat-dist report --run {folder.uri} --resend" in said[-1]
        assert [operation.kind for operation in read_outbox(folder)[1]] == [
            "metrics", "metrics", "table", "artifact", "finish"
        ]  # fmt: skip
        with pytest.raises(UserError, match="MLflow cannot be reached at"):
            report.resend(folder, server.uri)
        server.start()
        options = ["--run", folder.uri, "--resend", "--tracking.uri", server.uri]
        command = [sys.executable, "-m", "flat_dist", "report", *options]
        sent = subprocess.run(command, capture_output=True, text=True)
        assert f"5 operations sent to {server.uri}" in sent.stdout, sent.stderr
        report.resend(folder, None)
        assert "MLflow has everything" in capsys.readouterr().out
        with pytest.raises(KeyboardInterrupt):
            run(is_killed)
        server.start()
        run(sees_it_come_back)
        client = MlflowClient(server.uri)
        runs = {run.info.run_name: run for run in client.search_runs(["1"])}
        assert sorted(runs) == ["base-mine", "flat-mine", "mine"]
        assert all(run.info.status == "FINISHED" for run in runs.values())
        for (child, name), expected in history.items():
            found = client.get_metric_history(runs[f"{child}-mine"].info.run_id, name)
            assert [(metric.step, metric.value) for metric in found] == expected
        assert client.list_artifacts(runs["flat-mine"].info.run_id, "run")[0].path == "run/results.json"
        assert client.list_artifacts(runs["flat-mine"].info.run_id, "pairs")
    finally:
        server.stop()
