"""MLflow models: signature, input example, and `mlflow models serve` asked by two clients at the same time."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import requests

import flat_dist as fd
from flat_dist.config.schema import Config, TrackingConfig
from flat_dist.models.artifact import open_checkpoint
from flat_dist.pipeline import results
from flat_dist.storage.folder import Folder
from flat_dist.tracking import mlflow as tracking
from flat_dist.tracking.mlflow_tracker import MlflowTracker
from tests.test_export import own_classifier, word_model

TEXTS = ["a good film", "bad , it is bad", "", "naïve 🎬 " * 40, "the plot is not good"]

SECONDS = 1800
"""Only a server that will never answer takes longer."""


def kinds(folder: Path) -> dict[str, Folder]:
    """One model of each kind, with masks."""
    return {
        "cnn": word_model("cnn", True, folder / "cnn"),
        "lstm": word_model("lstm", True, folder / "lstm"),
        "classifier": own_classifier(True, folder),
    }


def expected(model: Folder, texts: list[str]) -> tuple[list[str], np.ndarray]:
    table = fd.predict(model.uri, texts)
    rows = [list(row.values()) for row in table["probabilities"].to_pylist()]
    return table["label"].to_pylist(), np.array(rows)


def test_an_mlflow_model_of_each_kind_predicts_what_the_model_does(tmp_path: Path) -> None:
    import mlflow.pyfunc
    import pandas as pd

    for name, model in kinds(tmp_path).items():
        written = fd.export(model.uri, tmp_path / f"{name}-exported", "mlflow")
        loaded = mlflow.pyfunc.load_model(written.folder)
        classes = written.label_names
        outputs = ["label", *(f"probability_{one}" for one in classes)]
        inputs = ["text", "text_pair"] if name == "classifier" else ["text"]  # a BERT reads pairs, too
        assert loaded.metadata.get_input_schema().input_names() == inputs
        assert loaded.metadata.get_output_schema().input_names() == outputs
        found = loaded.predict(pd.DataFrame({"text": TEXTS}))
        labels, rows = expected(model, TEXTS)
        assert list(found.columns) == outputs and found["label"].tolist() == labels
        assert found[outputs[1:]].to_numpy() == pytest.approx(rows, abs=1e-6)
        example = loaded.predict(loaded.input_example)
        assert len(example) == 2
        assert not list(Path(written.folder).rglob("*.pkl"))  # nothing that can run code


def test_a_run_logs_its_models_so_that_mlflow_loads_them(tmp_path: Path, mlflow_database: Path) -> None:
    import mlflow.pyfunc
    import pandas as pd

    shutil.copy(mlflow_database, tmp_path / "mlflow.db")
    model = open_checkpoint(word_model("cnn", True, tmp_path / "cnn"), "flat")
    config = Config(storage=str(tmp_path), tracking=TrackingConfig(log_models=True))
    tracker = MlflowTracker.start(tracking.destination(config, "run", {}), print)
    attacked = [SimpleNamespace(model_name="flat", model=model)] * 2  # under two attacks
    for _ in range(2):  # a run that is started again
        results._log_models(Folder(tmp_path / "run"), SimpleNamespace(attacked=attacked), tracker)  # type: ignore[arg-type]
    tracker.finish("FINISHED")
    mlflow.set_tracking_uri(tracking.database(str(tmp_path)))
    loaded = mlflow.pyfunc.load_model(f"runs:/{tracker.children['flat']}/model")
    found = loaded.predict(pd.DataFrame({"text": TEXTS}))
    labels, rows = expected(model.folder, TEXTS)
    assert found["label"].tolist() == labels
    assert found[["probability_no", "probability_yes"]].to_numpy() == pytest.approx(rows, abs=1e-6)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, Folder]]:
    """The address of a served model, and the model."""
    model = word_model("lstm", True, tmp_path / "lstm")
    written = fd.export(model.uri, tmp_path / "exported", "mlflow")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["mlflow", "models", "serve", "--model-uri", written.folder, "--env-manager", "local"]
    env = os.environ | {
        "MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT": str(SECONDS),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *command, "--port", str(port)],
            env=env,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        wait_for(f"http://127.0.0.1:{port}/ping", process, tmp_path / "log")
        yield f"http://127.0.0.1:{port}/invocations", model
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()
        try:
            if requests.get(address, timeout=5).status_code == 200:
                return
        except requests.RequestException:
            time.sleep(0.2)
    raise AssertionError(log.read_text())


def test_two_clients_at_the_same_time_get_the_models_own_predictions(served: tuple[str, Folder]) -> None:
    address, model = served
    asked = {client: [f"{text} {client * 'good '}".strip() for text in TEXTS] for client in (1, 2)}
    answers: dict[int, list[requests.Response]] = {1: [], 2: []}
    together = threading.Barrier(2)

    def client(number: int) -> None:
        together.wait()
        for _ in range(3):
            rows = {"columns": ["text"], "data": [[text] for text in asked[number]]}
            answers[number].append(requests.post(address, json={"dataframe_split": rows}, timeout=SECONDS))

    with ThreadPoolExecutor(2) as clients:
        list(clients.map(client, answers))
    for number, texts in asked.items():
        labels, rows = expected(model, texts)
        assert len(answers[number]) == 3
        for answer in answers[number]:
            assert answer.status_code == 200, answer.text
            found = answer.json()["predictions"]
            assert [row["label"] for row in found] == labels
            scores = [[row["probability_no"], row["probability_yes"]] for row in found]
            assert np.array(scores) == pytest.approx(rows, abs=1e-6)
    for wrong in ({"dataframe_records": [{"other": "a film"}]}, {"dataframe_records": [{"text": 3}]}):
        refused = requests.post(address, json=wrong, timeout=SECONDS)
        assert refused.status_code == 400 and "text" in refused.text
