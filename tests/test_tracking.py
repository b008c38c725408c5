import json
from pathlib import Path

import pytest
from mlflow import MlflowClient

from flat_dist.config import Config, TrackingConfig, UserError, to_dict
from flat_dist.data.storage import Folder
from flat_dist.evaluation.consistency import Consistency
from flat_dist.tracking.mlflow import MlflowTracker, database
from flat_dist.tracking.table import Result, markdown

IG = Consistency(0.53, dict(zip(range(1, 11), [0.5, 0.55, 0.6, 0.62, 0.654, 0.7, 0.8, 0.9, 1, 1], strict=True)), 100, 3)
RESULT = Result("flat", 2, "pwws", False, 0.75, 0.125, 0.8, 99.6, None, 400, {"ig": IG})


def test_runs_are_nested_and_hold_config_metrics_and_artifacts(tmp_path: Path) -> None:
    config = Config(storage=str(tmp_path / "runs"))
    folder = Folder(tmp_path / "stage")
    folder.write("manifest.json", b"{}")
    for call in range(2):  # the second call goes on with the same runs
        tracker = MlflowTracker(config, "mine", to_dict(config))
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


def test_a_server_that_is_away_is_one_sentence(tmp_path: Path) -> None:
    config = Config(storage=str(tmp_path), tracking=TrackingConfig(uri="http://127.0.0.1:9"))
    with pytest.raises(UserError, match=r"MLflow cannot be reached at http://127.0.0.1:9 .*--tracking.uri") as error:
        MlflowTracker(config, "mine", to_dict(config))
    assert "\n" not in str(error.value)


def test_the_table_in_markdown() -> None:
    head, rule, row = markdown([RESULT]).splitlines()
    assert head.startswith("| attack | training | accuracy % | after attack % |")
    assert rule.count("|") == head.count("|") == row.count("|")
    assert row == "| pwws (unseen) | flat | 75.0 | 12.5 | 80.0 | 100 |  | 400 | 0.53 | 0.65 |  |  |"


def test_metrics_of_a_result_are_named_by_attack_and_method() -> None:
    metrics = RESULT.metrics()
    assert metrics["test/accuracy"] == 0.75
    assert metrics["test/pwws/after_attack_accuracy"] == 0.125
    assert metrics["test/pwws/ig/kendall_tau"] == 0.53
    assert metrics["test/pwws/ig/top_5"] == 0.654
    assert metrics["test/pwws/ig/undefined"] == 3
    assert metrics["test/pwws/words_changed"] is None


def test_a_table_is_logged_once(tmp_path: Path) -> None:
    config = Config(storage=str(tmp_path))
    rows = [{"pair": "a", "tau": 0.5}, {"pair": "b", "tau": None}]
    for _ in range(2):
        tracker = MlflowTracker(config, "mine", to_dict(config))
        tracker.table("flat", rows, "pairs/textfooler-ig.json")
        tracker.finish("FINISHED")
    client = MlflowClient(database(config.storage))
    (run,) = (run for run in client.search_runs(["1"]) if run.info.run_name == "flat-mine")
    table = Path(client.download_artifacts(run.info.run_id, "pairs/textfooler-ig.json"))
    assert json.loads(table.read_text()) == {"columns": ["pair", "tau"], "data": [["a", 0.5], ["b", None]]}
    assert "pairs/textfooler-ig.json" in run.data.tags["mlflow.loggedArtifacts"]  # by which the UI knows tables
