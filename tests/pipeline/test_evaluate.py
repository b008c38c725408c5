"""Evaluation of checkpoints: on pairs of a user, resumed after a kill, and what is refused."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pytest

from flat_dist.config.errors import UserError
from flat_dist.config.schema import Config, EvaluationConfig
from flat_dist.data import pairs as pairs_file_module
from flat_dist.data.datasets import Dataset
from flat_dist.data.pairs import Pairs
from flat_dist.data.preprocessing import clean
from flat_dist.data.shards import read_shards
from flat_dist.evaluation import distributed
from flat_dist.evaluation.attribution_stage import AttributionJob, read_pairs
from flat_dist.evaluation.attribution_worker import AttributionWorker
from flat_dist.evaluation.attributions import explain, methods, summarise
from flat_dist.evaluation.result import AttackedModel
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models.artifact import open_checkpoint
from flat_dist.pipeline import adversarial_sets, evaluation
from flat_dist.runtime.progress import Display
from flat_dist.scheduling.worker_group import ray_group
from flat_dist.storage.folder import Folder
from flat_dist.storage.stage import MARKER, Executor
from tests.pipeline.conftest import WORKERS, Command, Done, printed

pytestmark = pytest.mark.ray

SAMPLES = 400


@pytest.fixture(scope="module")
def pairs_file(sentences: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Test sentences, each with a twin whose first word is another."""
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    rows = sentences.test.slice(0, 100).to_pylist()
    lines = [
        {
            "original": row["text"],
            "adversarial": f"movie {row['text'].partition(' ')[2]}",
            "label": sentences.label_names[row["label"]],
        }
        for row in rows
    ]
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return path


def config(storage: Path) -> Config:
    plain = Config(storage=str(storage), evaluation=EvaluationConfig(ig_steps=10, lime_samples=SAMPLES))
    return replace(plain, training=replace(plain.training, device="cpu"), attack=replace(plain.attack, device="cpu"))


def command(victim: Folder, pairs_file: Path, storage: Path) -> list[str]:
    options = f"--ig-steps 10 --lime-samples {SAMPLES} --json --storage {storage} --run-name mine"
    return ["evaluate", "--checkpoint", victim.uri, "--adversarial", str(pairs_file), *options.split()]


def explained(storage: Path, folder: Path) -> dict[str, pa.Table]:
    """The pairs of each method, by the report of a run."""
    cards = json.loads((folder / "cards" / "victim-pairs.json").read_text())
    stages = {name: storage / "stages" / found["folder"] for name, found in cards["interpretations"].items()}
    return {name: pa.ipc.open_file(path / "pairs.arrow").read_all() for name, path in stages.items()}


@pytest.fixture(scope="module")
def expected(victim: Folder, pairs_file: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, pa.Table]:
    """The pairs explained in this process, all at once."""
    storage = tmp_path_factory.mktemp("plain")
    settings, checkpoint = config(storage), checkpoints.load(victim)
    pairs = pairs_file_module.read_pairs(pairs_file, checkpoint.label_names)
    (attacked,) = attacked_by(settings, victim, pairs)
    rows = read_shards(attacked.shards.folder).to_pylist()
    return {method.name: explain(checkpoint, rows, method) for method in methods(settings.evaluation, settings.seed)}


def attacked_by(settings: Config, victim: Folder, pairs: Pairs) -> list[AttackedModel]:
    model = open_checkpoint(victim, "victim")
    return adversarial_sets.attacked_by(settings, [model], pairs, Executor(Folder(settings.storage)))


def assert_alike(found: dict[str, pa.Table], expected: dict[str, pa.Table]) -> None:
    assert found.keys() == expected.keys()
    for name, table in found.items():
        for row, other in zip(table.to_pylist(), expected[name].to_pylist(), strict=True):
            assert (row["pair_id"], row["original_words"]) == (other["pair_id"], other["original_words"])
            for ours, plain in zip(row["original_attributions"], other["original_attributions"], strict=True):
                assert ours == pytest.approx(plain, abs=1e-5)


def test_killed_and_started_again_it_explains_what_was_left(
    flat_dist: Command, victim: Folder, pairs_file: Path, expected: dict[str, pa.Table], tmp_path: Path
) -> None:
    named = Folder(tmp_path / "victim")
    assert victim.local is not None
    named.local.symlink_to(victim.local)  # type: ignore[union-attr]
    call = command(named, pairs_file, tmp_path)
    job = subprocess.Popen(
        [sys.executable, "-m", "flat_dist", *call],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while not (first := list(tmp_path.glob("stages/explain-*/0*-*.arrow"))):
        assert job.poll() is None, job.communicate()[1]
        time.sleep(0.01)
    os.kill(job.pid, signal.SIGKILL)
    job.communicate()
    assert not (tmp_path / "mine" / "results.json").exists()
    written = {path: path.stat().st_mtime_ns for path in first if path.exists()}
    (result,) = printed(flat_dist(*call))["results"]
    assert written, "a part outlives the driver"
    found = explained(tmp_path, tmp_path / "mine")
    assert_alike(found, expected)
    assert not list(tmp_path.glob("stages/explain-*/0*-*.arrow"))
    assert (result["training"], result["attack"], result["n"]) == ("victim", "pairs", 100)
    assert result["trained_on"] is None
    assert result["mean_queries"] is None
    checkpoint = checkpoints.load(victim)
    lines = [json.loads(line) for line in pairs_file.read_text().splitlines()]
    labels = [checkpoint.label_names.index(line["label"]) for line in lines]
    before, after = (
        [
            scores.argmax().item() == label
            for scores, label in zip(checkpoint.probabilities([line[side] for line in lines]), labels, strict=True)
        ]
        for side in ("original", "adversarial")
    )
    assert result["accuracy"] == sum(before) / 100
    assert result["after_attack_accuracy"] == sum(map(all, zip(before, after, strict=True))) / 100


def test_a_finished_explanation_is_not_made_again(
    local_ray: None, victim: Folder, pairs_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, ran = config(tmp_path), []  # type: Config, list[int]
    executor = Executor(Folder(tmp_path))
    pairs = pairs_file_module.read_pairs(pairs_file, ("negative", "positive"))
    few = pairs_file_module.Pairs(pairs.file, pairs.originals.slice(0, 40), pairs.adversarials[:40])
    attacked = attacked_by(settings, victim, few)
    with Display(quiet=True) as display:
        first = distributed.explain_pairs(settings, executor, attacked, display, WORKERS.group(1))
        monkeypatch.setattr(distributed, "run_stages", lambda stages, *rest: ran.append(len(stages)))
        again = distributed.explain_pairs(settings, executor, attacked, display)
    assert ran == []  # no stage is left to run
    assert [one.pairs.num_rows for one in first] == [40, 40]
    assert [one.pairs.equals(other.pairs) for one, other in zip(first, again, strict=True)] == [True, True]


def test_a_pair_that_kills_or_hangs_its_workers_is_recorded_and_left_out(
    local_ray: None, victim: Folder, pairs_file: Path, expected: dict[str, pa.Table], tmp_path: Path
) -> None:
    plain = config(tmp_path)
    settings = replace(
        plain,
        attack=replace(plain.attack, max_failures=0.2, stall_seconds=6.0),
        evaluation=replace(plain.evaluation, explain=("ig",)),
    )
    pairs = pairs_file_module.read_pairs(pairs_file, ("negative", "positive"))
    few = pairs_file_module.Pairs(pairs.file, pairs.originals.slice(0, 12), pairs.adversarials[:12])
    attacked = attacked_by(settings, victim, few)
    ids = few.originals["example_id"].to_pylist()
    kills, hangs = ids[7], ids[8]

    class CrashingWorker(AttributionWorker):
        def __init__(self) -> None:
            super().__init__()
            process = self.session.process

            def process_or_crash(job: AttributionJob, examples: Sequence[Mapping[str, Any]]) -> list[Any]:
                found = {row["example_id"] for row in examples}
                self.session.switch_to(job)
                if kills in found:
                    os.kill(os.getpid(), signal.SIGKILL)
                if hangs in found:
                    os.kill(os.getpid(), signal.SIGSTOP)
                return process(job, examples)

            self.session.process = process_or_crash  # type: ignore[method-assign]

    lines: list[str] = []
    with Display(quiet=True) as display:
        display.log_line = lambda line, **facts: lines.append(line)  # type: ignore[method-assign]
        group = ray_group(CrashingWorker, "cpu")
        executor = Executor(Folder(tmp_path), display.log_line)
        (found,) = distributed.explain_pairs(settings, executor, attacked, display, group)
    said = "explain pairs with ig of victim, pairs: 2 of 12 pairs could not be explained (column error)"
    assert said in lines
    rows = {row["pair_id"]: row for row in read_pairs(found.folder).to_pylist()}
    assert list(rows) == ids
    assert "ended its worker process, 2 times alone" in rows[kills]["error"]
    assert "made no progress for 6 s" in rows[hangs]["error"]
    assert rows[kills]["kendall_tau"] is rows[hangs]["original_words"] is None
    left = [name for name in ids if name not in (kills, hangs)]
    assert found.pairs["pair_id"].to_pylist() == left
    assert found.folder.names() == ["pairs.arrow", "stage.json"]
    places = [ids.index(name) for name in left]
    assert_alike({"ig": found.pairs}, {"ig": expected["ig"].take(places)})
    assert summarise(found.pairs).kendall_tau == pytest.approx(
        summarise(expected["ig"].take(places)).kendall_tau, abs=1e-4
    )
    strict = replace(settings, attack=replace(settings.attack, max_failures=0.0))
    with pytest.raises(UserError, match=r"2 of 12 pairs could not be explained.*--attack.max-failures 0 allows"):
        distributed.explain_pairs(strict, Executor(Folder(tmp_path)), attacked, display)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("original,label\na film,positive\n", "no column 'adversarial'"),
        ("original,adversarial,label\na film,a movie,great\n", "pairs.csv:2: label 'great'"),
        ("original,adversarial,label\na film,,positive\n", "pairs.csv:2: the text is empty"),
        ("original,adversarial,label\n", "no rows"),
    ],
)
def test_bad_pairs_are_named(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        pairs_file_module.read_pairs(path, ("negative", "positive"))


def test_checkpoints_need_names_of_their_own(victim: Folder, tmp_path: Path) -> None:
    first, second = evaluation.models([f"one={victim.uri}", f"two={victim.uri}"])
    assert (first.model_name, second.model_name, first.round) == ("one", "two", 0)
    trained = Folder(tmp_path / "train-flat-2-0123456789abcdef")
    checkpoints.save(checkpoints.load(victim), trained)
    for notes in ({"training": "flat", "round": 2}, {}):  # versions before 3 noted nothing
        trained.write_json(MARKER, {"inputs": {}, "files": {}, "notes": notes})
        (model,) = evaluation.models([trained.uri])
        assert (model.model_name, model.round) == ("flat", 2)
    with pytest.raises(UserError, match="two checkpoints are called"):
        evaluation.models([trained.uri, trained.uri])
    with pytest.raises(UserError, match="holds no checkpoint"):
        evaluation.models([str(tmp_path / "nowhere")])
    with pytest.raises(UserError, match="needs at least one folder"):
        evaluation.models([])
    other = checkpoints.load(victim)
    checkpoints.save(replace(other, label_names=("bad", "good")), Folder(tmp_path / "other"))
    with pytest.raises(UserError, match="evaluate them separately"):
        evaluation.models([victim.uri, str(tmp_path / "other")])


def test_a_threshold_decides_the_exit_code(
    flat_dist: Command, victim: Folder, pairs_file: Path, tmp_path: Path
) -> None:
    checkpoint = checkpoints.load(victim)
    rows = [json.loads(line) for line in pairs_file.read_text().splitlines()]
    labels = np.array([checkpoint.label_names.index(row["label"]) for row in rows])
    right = [
        checkpoint.probabilities([clean(row[side]) for row in rows]).argmax(-1).numpy() == labels
        for side in ("original", "adversarial")
    ]
    share = float((right[0] & right[1]).mean())  # a text that was wrong before counts as wrong
    assert 0.3 < share < 1

    def evaluate(least: float) -> Done:
        options = ["--explain", "--storage", str(tmp_path), "--run-name", "mine", "--tracking.no-enabled", "--json"]
        check = ["--fail-under", f"after_attack_accuracy={least!r}", "--junit", str(tmp_path / "out.xml")]
        call = ["evaluate", "--checkpoint", f"mine={victim.uri}", "--adversarial", str(pairs_file), *options, *check]
        return flat_dist(*call)

    reached, under = evaluate(share), evaluate(share + 0.001)
    assert reached.returncode == 0 and "failed: " not in reached.stderr, reached.stderr
    assert under.returncode == 1
    assert json.loads(under.stdout.splitlines()[-1])["results"][0]["after_attack_accuracy"] == pytest.approx(share)
    said = [line for line in under.stderr.splitlines() if line.startswith("failed: ")]
    expected = f"mine: after_attack_accuracy is {share:.4g} under the attack pairs, which is under {share + 0.001:g}"
    assert said == [f"failed: {expected}"]
    (case,) = ElementTree.parse(tmp_path / "out.xml").iter("testcase")
    assert (case.get("classname"), case[0].tag, case[0].get("message")) == ("mine", "failure", expected)
