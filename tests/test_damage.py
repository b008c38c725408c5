"""Every kind of file that is read, damaged in every way: made again where that can be, or else one sentence."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import MISSING, asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from transformers import BertTokenizerFast

from flat_dist.attack.plan import AttackJob
from flat_dist.attack.pool.stage import AttackStage
from flat_dist.commands import report
from flat_dist.config.errors import UserError
from flat_dist.config.schema import Config, EvaluationConfig, ModelConfig, TrainingConfig
from flat_dist.data import datasets, shards
from flat_dist.data.dataset_stage import dataset_stage, read_dataset
from flat_dist.data.datasets import Dataset
from flat_dist.data.encoder import Encoder
from flat_dist.data.preprocessing import Vocabulary
from flat_dist.evaluation import attribution_stage
from flat_dist.evaluation import distributed as distributed_evaluation
from flat_dist.evaluation.attribution_session import AttributionSession
from flat_dist.evaluation.attribution_stage import AttributionStage
from flat_dist.evaluation.plan import plan_attributions
from flat_dist.evaluation.result import AttackedModel, PairAttributions, Result
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models.artifact import ModelArtifact
from flat_dist.models.checkpoint import Checkpoint
from flat_dist.pipeline import results, run_folder
from flat_dist.pipeline.stages import Environment, RunStages
from flat_dist.resources import counterfitted_glove
from flat_dist.resources.assets import Assets
from flat_dist.runtime.progress import Display
from flat_dist.storage import arrow
from flat_dist.storage.file_validation import DamagedFileError, parse_json
from flat_dist.storage.folder import Folder
from flat_dist.storage.stage import MARKER, Artifact, Executor, OpenStage, Output, Stage
from flat_dist.sweep import results as sweep_results
from flat_dist.sweep.trials import Records, RoundMetrics, Trial
from flat_dist.tracking.tracker import NoTracker
from flat_dist.training import distributed, progress, single_task
from flat_dist.training.job import HISTORY, TrainingJob
from flat_dist.training.state import read_saved
from tests import object_store
from tests.test_loop import make_loop
from tests.test_transformer import make_checkpoint, make_model


def flip(data: bytes) -> bytes:
    """One bit in the middle."""
    return data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "cut short": lambda data: data[: len(data) // 2],
    "without its last byte": lambda data: data[:-2],
    "a bit flipped": flip,
    "zeros": lambda data: bytes(len(data)),
    "a list": lambda data: b"[]",
    "an object": lambda data: b"{}",
    "a number": lambda data: b"7",
    "null": lambda data: b"null",
    "no text": lambda data: b"\xff\xfe\x00",
    "very deep": lambda data: b"[" * 100_000,
    "a table": lambda data: arrow.to_bytes(pa.table({"x": [1, 2]})),
}
damaged = pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())


def damage_file(path: Path, damage: Callable[[bytes], bytes]) -> None:
    whole = path.read_bytes()
    path.unlink()
    path.write_bytes(damage(whole))
    assert path.read_bytes() != whole


def one_sentence(error: pytest.ExceptionInfo[UserError], *words: str) -> str:
    said = str(error.value)
    assert "\n" not in said and len(said) < 700
    for word in words:
        assert word in said
    return said


# ---- JSON and tables


def test_json_comes_back_as_it_was_written_bit_for_bit(tmp_path: Path) -> None:
    folder, generator = Folder(tmp_path), np.random.default_rng(0)
    numbers = [float(value) for value in generator.standard_normal(2000) * 10.0 ** generator.integers(-300, 300, 2000)]
    folder.write_json("a", {"é\n": numbers, "n": [2**70, -1, True, None, "\x7f"]})
    assert folder.read_json("a") == {"é\n": numbers, "n": [2**70, -1, True, None, "\x7f"]}
    assert parse_json(b"[1, 2.5]", list[int | float], "x") == [1, 2.5]
    assert [type(value) for value in parse_json(b"[1, 2.5]", list[int | float], "x")] == [int, float]


@pytest.mark.parametrize(
    "data, kind, message",
    [
        (b"", dict, "x is damaged (it is empty): mend it"),
        (b'{"a": [1, "b"]}', dict[str, list[float]], "x is damaged (a.1: Input should be a valid number): mend it"),
        (b'{"status": "finished"}', Trial, "x is damaged (point: Field required): mend it"),
        (b"true", int, "x is damaged (Input should be a valid integer): mend it"),
    ],
)
def test_what_is_wrong_is_said(data: bytes, kind: Any, message: str) -> None:
    with pytest.raises(DamagedFileError) as error:
        parse_json(data, kind, "x", "mend it")
    assert str(error.value) == message


@damaged
def test_a_table_is_whole_and_of_its_schema_or_refused(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    folder, table = Folder(tmp_path), pa.table({"text": ["a good film", "bad"] * 50, "label": [1, 0] * 50})
    arrow.write_table(folder, "a", table)
    assert arrow.read_table(folder, "a", table.schema).equals(table)
    damage_file(tmp_path / "a.arrow", damage)
    if damage is not flip:  # which a table by itself need not show: hashes do
        with pytest.raises(DamagedFileError) as error:
            arrow.read_table(folder, "a", table.schema)
        one_sentence(error, str(tmp_path / "a.arrow"), arrow.DEFAULT_REMEDY)


# ---- stages


@pytest.fixture
def small() -> Dataset:
    split = pa.table([["id-0", "id-1"], ["a good film", "bad"], [1, 0]], schema=datasets.SCHEMA)
    return Dataset(split, split.slice(0, 1), split.slice(1), ("no", "yes"), "two texts")


@damaged
@pytest.mark.parametrize("name", ["stage.json", "train.arrow", "test.arrow"])
def test_a_dataset_is_written_again(
    name: str, damage: Callable[[bytes], bytes], small: Dataset, tmp_path: Path
) -> None:
    said: list[str] = []
    storage = Folder(tmp_path)
    target = Executor(storage, said.append).run(dataset_stage(small)).folder
    assert said == []
    before = {file: target.read(file) for file in target.names()}
    assert target.local is not None
    damage_file(target.local / name, damage)
    Executor(storage, said.append).run(dataset_stage(small))
    assert said == [f"{target.uri} is damaged, or was written by an older version: it is filled again"]
    assert {file: target.read(file) for file in target.names()} == before
    found = read_dataset(target)
    assert (found.train.equals(small.train), found.label_names, found.source) == (True, ("no", "yes"), "two texts")


def test_a_dataset_on_an_object_store_is_written_again(small: Dataset) -> None:
    said: list[str] = []
    with object_store.bucket() as uri:
        target = Executor(Folder(uri), said.append).run(dataset_stage(small)).folder
        before = {file: target.read(file) for file in target.names()}
        for name in before:
            target.write(name, b"")
            Executor(Folder(uri), said.append).run(dataset_stage(small))
            assert {file: target.read(file) for file in target.names()} == before
    assert said == [f"{target.uri} is damaged, or was written by an older version: it is filled again"] * len(before)


@damaged
@pytest.mark.parametrize("name", [MARKER, *checkpoints.FILES, HISTORY])
def test_a_training_stage_is_emptied_and_filled_again(
    name: str, damage: Callable[[bytes], bytes], word_model: Folder, tmp_path: Path
) -> None:
    said: list[str] = []
    found: list[list[str]] = []

    def fill(folder: Folder) -> Output:
        found.append([name for name in folder.names() if name[0] != "."])
        for file in checkpoints.FILES:
            folder.write(file, word_model.read(file))
        folder.write_json(HISTORY, [{"epoch": 1, "loss": 0.5}])
        return Output(checkpoints.FILES, records=[HISTORY])

    stage = Stage(name="train", title="train", inputs={"seed": 1, "shards": ("a", "b")}, fill=fill)
    executor = Executor(Folder(tmp_path), said.append)
    first = executor.run(stage)
    assert executor.run(stage) == first and found == [[]] and said == []
    assert first.folder.local is not None
    damage_file(first.folder.local / name, damage)
    assert executor.run(stage) == first
    assert found == [[], []] and len(said) == 1


@damaged
@pytest.mark.parametrize(
    "label, name",
    [
        ("init", "stage.json"),
        ("init", "model.safetensors"),
        ("init", "checkpoint.json"),
        ("train-base-0", "stage.json"),
        ("train-base-0", "model.safetensors"),
        ("train-base-0", "history.json"),
    ],
)
def test_a_run_goes_on_over_a_damaged_stage_of_its_model(
    label: str,
    name: str,
    damage: Callable[[bytes], bytes],
    small: Dataset,
    tmp_path: Path,
    quick_run: Callable[..., Any],
) -> None:
    said, trained = [], []  # type: list[str], list[str]
    run = quick_run(small, tmp_path, said, trained)
    folder = first_model(run)
    (stage,) = (tmp_path / "stages").glob(f"{label}-*")
    before = {path.name: path.read_bytes() for path in stage.iterdir() if path.name[0] != "."}
    damage_file(stage / name, damage)
    again = quick_run(small, tmp_path, said, trained)
    assert first_model(again) == folder
    assert {path.name: path.read_bytes() for path in stage.iterdir() if path.name[0] != "."} == before
    assert len([line for line in said if f"{stage} is damaged" in line]) == 1
    assert trained == ["base-0"] * (1 if label == "init" else 2)  # what was trained from equal weights stays
    assert first_model(quick_run(small, tmp_path, said, trained)) == folder
    assert len([line for line in said if "is damaged" in line]) == 1


@pytest.mark.parametrize("notes", [{}, {"training": "flat", "round": 7}])
def test_a_run_knows_training_and_round_without_the_notes_of_a_marker(
    notes: dict[str, Any], small: Dataset, tmp_path: Path, quick_run: Callable[..., Any]
) -> None:
    trained: list[str] = []
    folder = first_model(quick_run(small, tmp_path, [], trained))
    folder.write_json(MARKER, folder.read_json(MARKER) | {"notes": notes})
    run = quick_run(small, tmp_path, [], trained)
    model = run.train({"base": run.clean_training("base")})["base"]
    assert (model.folder, model.model_name, model.round) == (folder, "base", 0)
    assert trained == ["base-0"]


def first_model(run: RunStages) -> Folder:
    """The base model of a run."""
    return run.train({"base": run.clean_training("base")})["base"].folder


@pytest.fixture
def quick_run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., RunStages]:
    """Makes runs that train at once, and here."""
    monkeypatch.setattr(distributed, "parallel_trainings", lambda training, log_line: 1)
    model = ModelConfig(embedding_dim=4, kernels=2, vectors=None)

    def make(data: Dataset, storage: Path, said: list[str], trained: list[str]) -> RunStages:
        class Said(Display):
            def log_line(self, line: str, **facts: Any) -> None:
                said.append(line)

        def train(job: TrainingJob, name: str, kept: Folder, output: Folder, bar: Any) -> None:
            trained.append(job.name)
            checkpoints.save(checkpoints.load(Folder(job.start)), output)
            output.write_json(HISTORY, [{"epoch": 1, "loss": 0.5}])

        environment = Environment(Folder(storage), NoTracker(), Said(quiet=True), train)
        return RunStages(Config(model=model), data, environment)

    return make


def test_a_marker_of_an_older_version_and_one_that_names_a_missing_file_do_not_count(tmp_path: Path) -> None:
    filled: list[str] = []

    def fill(folder: Folder) -> Output:
        filled.append(folder.uri)
        folder.write("a", b"1")
        return Output(["a"])

    stage = Stage(name="a", title="a", inputs={"seed": 1}, fill=fill)
    folder = stage.folder(Folder(tmp_path))
    executor = Executor(Folder(tmp_path), lambda line: None)
    folder.write_json(MARKER, {"seed": 1})  # as before markers had hashes
    artifact = executor.run(stage)
    assert len(filled) == 1 and artifact.folder.uri == folder.uri
    folder.write_json(MARKER, {"inputs": {"seed": 1}, "files": {"../a": folder.sha256("a")}})
    executor.run(stage)
    assert len(filled) == 2
    folder.delete("a")
    assert executor.run(stage) == artifact and len(filled) == 3


# ---- attacks


def attack(
    folder: Folder, commit: Callable[[Output], None] = lambda output: None
) -> tuple[AttackStage, list[shards.ShardInfo]]:
    """A finished attack of two units of two examples."""
    identity = {"recipe": "pwws", "seed": 3, "limits": (1, 2)}
    job = AttackJob("pwws", "victim", "counterfit", folder.uri, 1, 3, "cpu", {}, 2, identity, 60.0)
    ids = [f"train-{number}" for number in range(4)]
    examples = pa.table([ids, ["a good film"] * 4, [1] * 4], schema=datasets.SCHEMA)
    infos = []
    for unit in (0, 1):
        records = [
            shards.Record(name, 1, "a good film", "a fine film", "successful", (shards.Swap(1, "good", "fine"),), 12)
            for name in ids[2 * unit : 2 * unit + 2]
        ]
        table = shards.to_table(records, [[0.25, 0.75]] * 2, [[0.75, 0.25]] * 2, 1, identity)
        infos.append(shards.write_shard(folder, unit, table))
    shards.write_manifest(folder, infos, identity, {"restarts": 0})
    return AttackStage("pwws", job, examples, commit), infos


@damaged
@pytest.mark.parametrize("name", [shards.MANIFEST, "a shard"])
def test_what_is_not_whole_of_an_attack_is_attacked_again(
    name: str, damage: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    committed: list[Output] = []
    stage, infos = attack(Folder(tmp_path), committed.append)
    damage_file(tmp_path / (infos[1].name if name == "a shard" else name), damage)
    with pytest.raises(DamagedFileError) as error:
        shards.read_shards(Folder(tmp_path))
    one_sentence(error, str(tmp_path), "run again the command")
    missing = stage.open(0)
    assert [chunk.unit for chunk in missing] == ([1] if name == "a shard" else [])
    assert stage.written == {unit: info for unit, info in enumerate(infos) if unit == 0 or name != "a shard"}
    if not missing:
        assert stage.finish_if_complete()
        assert committed == [Output([info.name for info in infos], records=[shards.MANIFEST])]
        assert shards.read_shards(Folder(tmp_path)).num_rows == 4


MANIFESTS: dict[str, Callable[[dict[str, Any]], None]] = {
    "a shard outside": lambda manifest: manifest["shards"][0].update(name="../../precious.arrow"),
    "a shard that is no part": lambda manifest: manifest["shards"][0].update(name="manifest.json"),
    "a wrong hash": lambda manifest: manifest["shards"][0].update(sha256="0" * 64),
    "other counts": lambda manifest: manifest["counts"].update(successful=5),
    "other counts of a shard": lambda manifest: manifest["shards"][0].update(counts={"successful": 1}),
    "an unknown status": lambda manifest: manifest["shards"][0].update(counts={"great": 2}),
    "other rows": lambda manifest: manifest.update(rows=5),
    "another identity": lambda manifest: manifest["identity"].update(seed=4),
    "no shards": lambda manifest: manifest.pop("shards"),
    "shards of another type": lambda manifest: manifest.update(shards=[1]),
    "another format": lambda manifest: manifest.update(format="flat_dist.shard/2"),
}


@pytest.mark.parametrize("change", MANIFESTS.values(), ids=MANIFESTS.keys())
def test_a_foreign_manifest_is_not_trusted(change: Callable[[dict[str, Any]], None], tmp_path: Path) -> None:
    precious = tmp_path / "precious.arrow"
    precious.write_bytes(b"mine")
    folder = Folder(tmp_path / "stages" / "attack")
    stage, infos = attack(folder)
    manifest = folder.read_json(shards.MANIFEST)
    change(manifest)
    folder.write_json(shards.MANIFEST, manifest)
    assert stage.open(0) == [] and len(stage.written) == len(infos)
    assert precious.read_bytes() == b"mine"


def test_a_shard_of_another_schema_is_attacked_again(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    stage, infos = attack(folder)
    other = arrow.write_part(folder, 1, pa.table({"example_id": ["train-2", "train-3"]}))
    foreign = shards.ShardInfo(other.name, 2, other.sha256, {"successful": 2})
    shards.write_manifest(folder, [infos[0], foreign], stage.job.identity, {})
    folder.delete(infos[1].name)
    with pytest.raises(DamagedFileError, match="another schema"):
        shards.read_shards(folder)
    assert [chunk.unit for chunk in stage.open(0)] == [1]
    assert folder.names() == [infos[0].name, shards.MANIFEST]


# ---- explanations


@pytest.fixture
def attacked(word_model: Folder, tmp_path: Path) -> list[AttackedModel]:
    """The same model under two names, under the same attack."""
    folder = Folder(tmp_path / "stages" / "attack-pwws-1")
    attack(folder)
    return [
        AttackedModel(ModelArtifact(word_model, "hash", model_name=name, round=1), "pwws", Artifact(folder, "rows"))
        for name in ("adv", "flat")
    ]


CONFIG = Config(evaluation=EvaluationConfig(explain=("ig",), ig_steps=2), training=TrainingConfig(device="cpu"))


def explain(storage: Path, attacked: list[AttackedModel], display: Display) -> list[PairAttributions]:
    executor = Executor(Folder(storage), display.log_line)
    return distributed_evaluation.explain_pairs(CONFIG, executor, attacked, display)


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Stages that were explained; in this process, without Ray."""
    found: list[str] = []

    def run_stages(todo: list[AttributionStage], *_: Any) -> None:
        session = AttributionSession()
        for stage in todo:
            for unit in stage.open(0):
                stage.keep_unit(unit.unit, session.run(stage.job, unit.unit, stage.rows(unit).to_pylist()))
            found.append(stage.folder.name)

    monkeypatch.setattr(distributed_evaluation, "run_stages", run_stages)
    monkeypatch.setattr(attribution_stage, "UNIT", 1)
    return found


@damaged
@pytest.mark.parametrize("name", ["pairs.arrow", "stage.json"])
def test_pairs_are_explained_again(
    name: str,
    damage: Callable[[bytes], bytes],
    attacked: list[AttackedModel],
    ran: list[str],
    tmp_path: Path,
) -> None:
    display = Display(quiet=True)
    first = explain(tmp_path, attacked, display)
    assert len(ran) == 1 and len(first) == 2 and first[0].pairs.equals(first[1].pairs)
    assert first[0].pairs.num_rows == 4
    explain(tmp_path, attacked, display)
    assert len(ran) == 1
    damage_file(tmp_path / "stages" / ran[0] / name, damage)
    again = explain(tmp_path, attacked, display)
    assert len(ran) == 2 and again[0].pairs.equals(first[0].pairs)
    assert first[0].folder.names() == ["pairs.arrow", "stage.json"]


@damaged
def test_a_damaged_unit_is_explained_again(
    damage: Callable[[bytes], bytes], attacked: list[AttackedModel], ran: list[str], tmp_path: Path
) -> None:
    (plan,) = plan_attributions(CONFIG, attacked[:1])
    opened = OpenStage(plan, plan.folder(Folder(tmp_path)))
    stage, session = distributed_evaluation._chunked(opened, CONFIG), AttributionSession()
    units = stage.open(0)
    assert [unit.unit for unit in units] == [0, 1, 2, 3]
    names = []
    for unit in units[:2]:
        stage.keep_unit(unit.unit, session.run(stage.job, unit.unit, stage.rows(unit).to_pylist()))
        (name,) = set(stage.folder.names()) - set(names)
        names.append(name)
    first = stage.written[0].table
    stage.folder.write("part-000002.arrow", arrow.to_bytes(first))  # the name that older versions used
    session.write(stage.job, 3, first.to_pylist())  # of another unit
    damage_file(tmp_path / "stages" / stage.folder.name / names[1], damage)
    assert [unit.unit for unit in stage.open(0)] == [1, 2, 3]
    assert list(stage.written) == [0]
    assert stage.folder.names() == [names[0]]


def test_two_drivers_that_share_an_explanation_do_it_once(
    attacked: list[AttackedModel], ran: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_stages, waiting = distributed_evaluation.run_stages, threading.Event()

    def slowly(*arguments: Any) -> None:
        assert waiting.wait(60)  # until the other driver is at the lock
        run_stages(*arguments)

    class Said(Display):
        def log_line(self, line: str, **facts: Any) -> None:
            if "waiting for" in line:
                lines.append(line)
                waiting.set()

    lines: list[str] = []
    monkeypatch.setattr(distributed_evaluation, "run_stages", slowly)
    found: list[Any] = []

    def drive() -> None:
        found.append(explain(tmp_path, attacked, Said(quiet=True)))

    drivers = [threading.Thread(target=drive) for _ in range(2)]
    for driver in drivers:
        driver.start()
    for driver in drivers:
        driver.join()
    assert len(ran) == 1
    assert found[0][0].pairs.equals(found[1][0].pairs)
    assert len(lines) == 1 and lines[0].startswith("explain pairs with ig of adv, pwws: waiting for ")


# ---- the state of an interrupted training


@damaged
@pytest.mark.parametrize("name", ["state.json", "model.safetensors", "optimizer.safetensors", "best.safetensors"])
@pytest.mark.usefixtures("one_thread")
def test_a_training_does_not_go_on_from_a_damaged_state(
    name: str, damage: Callable[[bytes], bytes], trained: Folder, tmp_path: Path
) -> None:
    kept = Folder(tmp_path) / "epoch-1"
    for file in trained.names():
        kept.write(file, trained.read(file))
    (Folder(tmp_path)).write_json(single_task.LATEST, "epoch-1")
    fresh = make_loop("base")
    single_task._resume(fresh, Folder(tmp_path))
    assert fresh.state.epoch == 1 and fresh.state.history == read_saved(kept).history
    damage_file(tmp_path / "epoch-1" / name, damage)
    fresh = make_loop("base")
    before = {key: value.clone() for key, value in fresh.model.state_dict().items()}
    with pytest.raises(DamagedFileError) as error:
        fresh.restore(kept)
    one_sentence(error, "epoch-1", "run again the command")
    single_task._resume(fresh, Folder(tmp_path))
    assert fresh.state.epoch == 0
    assert all(torch.equal(value, before[key]) for key, value in fresh.model.state_dict().items())


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    loop, folder = make_loop("base"), Folder(tmp_path_factory.mktemp("trained"))
    loop.run(1, lambda loop, metrics: loop.save(folder))
    return folder


@pytest.mark.parametrize("content", [b'"../../epoch-1"', b'"/tmp"', b"7", b"", b'"epoch-9"'])
def test_a_latest_state_is_one_of_the_stages_own(content: bytes, trained: Folder, tmp_path: Path) -> None:
    (Folder(tmp_path)).write(single_task.LATEST, content)
    loop = make_loop("base")
    single_task._resume(loop, Folder(tmp_path))
    assert loop.state.epoch == 0


SNAPSHOT = {
    "ray_version": "2",
    "checkpoint_results": [{"version": 0, "checkpoint_dir_name": "checkpoint_1", "metrics": {}}],
    "checkpoint_report_indices": [0],
    "latest_checkpoint_result": {"version": 0, "checkpoint_dir_name": "checkpoint_1", "metrics": {}},
    "pending_training_results": [],
    "pending_validation_specs": [],
    "current_report_index": 1,
    "validated_checkpoint_dir_names": [],
    "timed_out_validation_checkpoint_dir_names": [],
    "failed_validation_checkpoint_dir_names": [],
}


@damaged
@pytest.mark.parametrize("name", [distributed.SNAPSHOT, "checkpoint_1/model.safetensors"])
def test_what_ray_train_could_not_go_on_from_is_dropped(
    name: str, damage: Callable[[bytes], bytes], trained: Folder, tmp_path: Path
) -> None:
    said: list[str] = []

    class Said(Display):
        def log_line(self, line: str, **facts: Any) -> None:
            said.append(line)

    storage, display = Folder(tmp_path), Said(quiet=True)
    (storage / "train-1").write_json(distributed.SNAPSHOT, SNAPSHOT)
    for file in trained.names():
        (storage / "train-1" / "checkpoint_1").write(file, trained.read(file))
    (storage / "train-2").write("a", b"")
    bar = display.bar("train base", 1, 0)
    distributed._drop_damaged_state(storage, "train-1", bar)
    assert said == [] and (storage / "train-1").exists(distributed.SNAPSHOT)
    if damage is flip and name == distributed.SNAPSHOT:  # in a value that matters
        damage_file(tmp_path / "train-1" / name, lambda data: data.replace(b"checkpoint_1", b"checkpoint_0"))
    else:
        damage_file(tmp_path / "train-1" / name, damage)
    distributed._drop_damaged_state(storage, "train-1", bar)
    assert len(said) == 1 and said[0].startswith("train base starts again from the beginning: ")
    assert [path.name for path in tmp_path.iterdir()] == ["train-2"]


@damaged
def test_progress_of_a_damaged_history_is_none(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    folder, bar = Folder(tmp_path), Display(quiet=True).bar("train", 3, 0)
    history = [{"epoch": 1, "loss": 0.5, "dev_accuracy": 0.75}, {"epoch": 2, "loss": 0.25, "dev_accuracy": 1.0}]
    folder.write_json(HISTORY, history)
    folder.write_json(progress.PROGRESS, 2.5)
    with progress.shown(folder, bar):
        pass
    assert (bar.done, bar.note) == (2, "loss 0.250, dev accuracy 100.0 %, 50 % of epoch 3")
    for name in (HISTORY, progress.PROGRESS):
        damage_file(tmp_path / name, damage)
        with progress.shown(folder, bar):
            pass


# ---- the files of a run


@damaged
def test_a_damaged_config_of_a_run_is_one_sentence(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    folder, wanted = Folder(tmp_path / "mine"), {"seed": 1, "model": {"name": "cnn"}}
    run_folder.open_folder(folder, wanted)
    run_folder.open_folder(folder, wanted)
    damage_file(tmp_path / "mine" / run_folder.CONFIG, damage)
    with pytest.raises(UserError) as error:
        run_folder.open_folder(folder, wanted)
    said = one_sentence(error, str(tmp_path / "mine"), "--run-name")
    assert ("was made with another config" in said) != ("delete that file" in said)


RESULT = Result("base", 0, "pwws", False, 0.75, 0.5, 1 / 3, 12.0, 0.25, 4)


@damaged
def test_damaged_results_of_a_run_are_one_sentence(
    damage: Callable[[bytes], bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Only fields that a result must have: of the others, a damaged name is an unknown field, which is ignored.
    needed = [each.name for each in fields(Result) if each.default is MISSING and each.default_factory is MISSING]
    Folder(tmp_path).write_json(results.RESULTS, [{name: getattr(RESULT, name) for name in needed}])
    report.job(["--run", str(tmp_path), "--json"])
    expected = json.loads(json.dumps([asdict(RESULT)]))
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["results"] == expected
    damage_file(tmp_path / results.RESULTS, lambda data: b'[{"n": []}]' if damage(data) == b"[]" else damage(data))
    with pytest.raises(DamagedFileError) as error:
        report.job(["--run", str(tmp_path)])
    one_sentence(error, str(tmp_path / results.RESULTS), "run again the command")


TRIAL = Trial(
    {"objective.beta": 1, "objective.gamma": 0.1}, "finished", rounds=(RoundMetrics(1, 0.5, 0.2, None, {}, 7),)
)


@damaged
def test_damaged_results_of_a_sweep_are_one_sentence(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    folder, found = Folder(tmp_path), sweep_results.SweepOutcome(RESULT, [TRIAL], TRIAL, [TRIAL])
    folder.write_json(sweep_results.RESULTS, sweep_results.to_json(found))
    assert sweep_results.read(folder) == found
    damage_file(tmp_path / sweep_results.RESULTS, damage)
    with pytest.raises(DamagedFileError) as error:
        sweep_results.read(folder)
    one_sentence(error, str(tmp_path / sweep_results.RESULTS), "run again the command")
    folder.write_json(sweep_results.RESULTS, {**sweep_results.to_json(found), "front": ["trial-7"]})
    with pytest.raises(DamagedFileError, match="lacks the trial 'trial-7'"):
        sweep_results.read(folder)


@damaged
def test_a_damaged_trial_is_run_again(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    records, other = Records(Folder(tmp_path)), replace(TRIAL, point={"objective.beta": 0.5})
    for trial in (TRIAL, other):
        records.write(trial)
    assert records.all() == {TRIAL.name: TRIAL, other.name: other}
    if damage is not flip:
        damage_file(tmp_path / f"{TRIAL.name}.json", damage)
    else:  # in the point, which the name belongs to
        damage_file(tmp_path / f"{TRIAL.name}.json", lambda data: data.replace(b"0.1", b"0.3"))
    assert records.read(TRIAL.name) is None
    assert records.all() == {other.name: other}
    assert set(records.names()) == {TRIAL.name, other.name}


# ---- the cache


@damaged
@pytest.mark.parametrize("name", ["synonyms.json", "words.txt", "vectors.npy", "neighbours.npy"])
def test_synonyms_are_built_again(
    name: str, damage: Callable[[bytes], bytes], assets: Assets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[Path] = []

    def contents(assets: Assets, config: object) -> dict[str, bytes]:
        built.append(counterfitted_glove.resource().folder(assets))
        vectors = np.eye(3, dtype=np.float32)
        return counterfitted_glove._files(["a", "b", "c"], vectors, np.array([[0, 1], [1, 0], [2, 1]], np.int32))

    monkeypatch.setattr(counterfitted_glove, "_contents", contents)
    mine = Assets(tmp_path)
    folder = counterfitted_glove.build(mine)
    assert counterfitted_glove.read_neighbours(counterfitted_glove.build(mine)) == {"a": ["b"], "b": ["a"], "c": ["b"]}
    assert built == [folder]
    marker = (folder / "synonyms.json").read_bytes()
    damage_file(folder / name, damage)
    assert counterfitted_glove.build(mine) == folder
    assert len(built) == 2 and (folder / "synonyms.json").read_bytes() == marker
    assert counterfitted_glove.read_neighbours(folder) == {"a": ["b"], "b": ["a"], "c": ["b"]}


def test_a_lock_of_the_synonyms_that_cannot_be_opened_is_one_sentence(assets: Assets, tmp_path: Path) -> None:
    (tmp_path / "synonyms.lock").mkdir()
    with pytest.raises(UserError) as error:
        counterfitted_glove.build(Assets(tmp_path))
    one_sentence(error, str(tmp_path), "FLAT_DIST_CACHE")


# ---- checkpoints that people hand around


@pytest.fixture(scope="module")
def word_model(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    folder = Folder(tmp_path_factory.mktemp("word-model"))
    config = ModelConfig(embedding_dim=6, kernels=3, mask_hidden_size=4, vectors=None)
    vocabulary = Vocabulary.build([["a", "good", "fine", "film", "bad"]])
    torch.manual_seed(0)
    model = checkpoints.build(config, len(vocabulary), 2)
    checkpoints.add_mask(model, config)
    checkpoints.save(Checkpoint(model.eval(), config, Encoder(vocabulary, 9), ("no", "yes")), folder)
    return folder


@pytest.fixture(scope="module")
def transformer(tokenizer: BertTokenizerFast, tmp_path_factory: pytest.TempPathFactory) -> Folder:
    folder = Folder(tmp_path_factory.mktemp("transformer"))
    checkpoints.save(make_checkpoint(make_model("bert"), tokenizer), folder)
    return folder


@pytest.fixture
def no_question(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def ask(*arguments: object) -> str:
        raise AssertionError("asked on standard input")

    monkeypatch.setattr("builtins.input", ask)
    yield


@damaged
@pytest.mark.parametrize("name", checkpoints.FILES)
@pytest.mark.parametrize("kind", ["word_model", "transformer"])
def test_a_damaged_checkpoint_is_one_sentence(
    kind: str, name: str, damage: Callable[[bytes], bytes], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    whole: Folder = request.getfixturevalue(kind)
    folder = Folder(tmp_path)
    for file in checkpoints.FILES:
        folder.write(file, whole.read(file))
    checkpoints.load(folder)
    if damage is flip and name == checkpoints.DESCRIPTION:  # in a value that matters
        damage_file(tmp_path / name, lambda data: data.replace(b'"vocabulary"', b'"vocabulars"'))
    else:
        damage_file(tmp_path / name, damage)
    with pytest.raises(UserError) as error:
        checkpoints.load(folder)
    one_sentence(error, str(tmp_path / name), "copy the complete checkpoint again, or train it again")


Change = Callable[[dict[str, Any], dict[str, torch.Tensor]], object]

CHANGES: dict[str, tuple[str, Change, str]] = {
    "three names for two outputs": (
        "word_model",
        lambda described, tensors: described["label_names"].append("maybe"),
        "checkpoint.json requires 3",
    ),
    "a name twice": (
        "word_model",
        lambda described, tensors: described.update(label_names=["yes", "yes"]),
        "label_names must be two or more different names, not ['yes', 'yes']",
    ),
    "one name": ("word_model", lambda described, tensors: described.update(label_names=["yes"]), "two or more"),
    "an empty name": ("word_model", lambda described, tensors: described.update(label_names=["", "b"]), "different"),
    "names of another type": ("word_model", lambda described, tensors: described.update(label_names=[1, 2]), "label_"),
    "names that are a text": ("word_model", lambda described, tensors: described.update(label_names="no"), "label_na"),
    "a negative length": ("word_model", lambda described, tensors: described.update(max_length=-1), "max_length is -1"),
    "no length": ("word_model", lambda described, tensors: described.update(max_length=0), "max_length is 0"),
    "half a piece": ("word_model", lambda described, tensors: described.update(max_length=9.5), "max_length: "),
    "a length in words": ("word_model", lambda described, tensors: described.update(max_length="9"), "max_length: "),
    "another format": (
        "word_model",
        lambda described, tensors: described.update(format="flat_dist.checkpoint/9"),
        "format 'flat_dist.checkpoint/9'",
    ),
    "no model": ("word_model", lambda described, tensors: described.pop("model"), "model: Field required"),
    "an unknown model": ("word_model", lambda described, tensors: described["model"].update(name="gpt"), "gpt"),
    "an unknown option": ("word_model", lambda described, tensors: described["model"].update(x=1), "model"),
    "an option of another type": ("word_model", lambda described, tensors: described["model"].update(kernels="3"), "3"),
    "negative sizes": ("word_model", lambda described, tensors: described["model"].update(embedding_dim=-6), "-6"),
    "sizes beyond memory": (
        "word_model",
        lambda described, tensors: described["model"].update(embedding_dim=2**31 - 1),
        "x 2147483647",
    ),
    "a mask that is not there": (
        "word_model",
        lambda described, tensors: [tensors.pop(name) for name in list(tensors) if name.startswith("mask.")],
        "it lacks mask.",
    ),
    "a mask too many": (
        "word_model",
        lambda described, tensors: described.update(masked=False),
        "which checkpoint.json does not describe",
    ),
    "masked of another type": ("word_model", lambda described, tensors: described.update(masked="no"), "masked: "),
    "a tensor too many": (
        "word_model",
        lambda described, tensors: tensors.update(more=torch.ones(1)),
        "it holds more, which",
    ),
    "a word too many": (
        "word_model",
        lambda described, tensors: described["vocabulary"].append("dull"),
        "embedding.weight is 7 x 6, but checkpoint.json requires 8 x 6",
    ),
    "a word twice": (
        "word_model",
        lambda described, tensors: described["vocabulary"].__setitem__(-1, "a"),
        "contain every word once",
    ),
    "words of another type": ("word_model", lambda described, tensors: described.update(vocabulary=[1]), "vocabulary"),
    "no words but pieces": ("word_model", lambda described, tensors: described.update(vocabulary={}), "vocabulary"),
    "a weight that is not a number": (
        "word_model",
        lambda described, tensors: tensors["output.weight"].view(-1)[3:4].fill_(float("nan")),
        "output.weight has weights that are not finite",
    ),
    "an infinite weight": (
        "word_model",
        lambda described, tensors: tensors["embedding.weight"].view(-1)[-1:].fill_(float("-inf")),
        "embedding.weight has weights that are not finite",
    ),
    "weights of another type": (
        "word_model",
        lambda described, tensors: tensors.update({"output.bias": torch.zeros(2, dtype=torch.int64)}),
        "output.bias has the type torch.int64",
    ),
    "transposed weights": (
        "word_model",
        lambda described, tensors: tensors.update({"output.weight": tensors["output.weight"].T.contiguous()}),
        "output.weight is ",
    ),
    "an unknown encoder": (
        "transformer",
        lambda described, tensors: described["encoder"].update(model_type="evil"),
        "its encoder has the type 'evil', which transformers does not know",
    ),
    "no type of encoder": ("transformer", lambda described, tensors: described["encoder"].pop("model_type"), "None"),
    "its own code": (
        "transformer",
        lambda described, tensors: described["encoder"].update(auto_map={"AutoModel": "evil/repository--code.Model"}),
        "its encoder needs its own code (auto_map), which is never run",
    ),
    "its own code, of an unknown type": (
        "transformer",
        lambda described, tensors: described["encoder"].update(model_type="evil", auto_map={"AutoConfig": "code.Mine"}),
        "auto_map",
    ),
    "kernels of the hub": (
        "transformer",
        lambda described, tensors: described["encoder"].update(attn_implementation="evil/kernels"),
        "attn_implementation",
    ),
    "kernels of the hub, inside": (
        "transformer",
        lambda described, tensors: described["encoder"].update(text_config={"_attn_implementation": "evil/kernels"}),
        "_attn_implementation",
    ),
    "an encoder of another size": (
        "transformer",
        lambda described, tensors: described["encoder"].update(hidden_size=18, num_attention_heads=2),
        "checkpoint.json requires",
    ),
    "an encoder of nonsense": (
        "transformer",
        lambda described, tensors: described["encoder"].update(hidden_size="big"),
        "no model can be built from it",
    ),
    "more pieces than embeddings": (
        "transformer",
        lambda described, tensors: described["vocabulary"].update(unknown=99),
        "its vocabulary has 100 pieces, the embedding 20",
    ),
    "pieces below 0": (
        "transformer",
        lambda described, tensors: described["vocabulary"].update(prefix=[-1]),
        "prefix, suffix, between and unknown must be ids of pieces",
    ),
    "no tokenizer": (
        "transformer",
        lambda described, tensors: described["vocabulary"].update(tokenizer={}),
        "no model can be built from it",
    ),
    "no room for words": (
        "transformer",
        lambda described, tensors: described.update(max_length=2),
        "not between 3 and",
    ),
    "longer than its positions": (
        "transformer",
        lambda described, tensors: described.update(max_length=10**6),
        "max_length is 1000000, not between 3 and",
    ),
}


@pytest.mark.parametrize("case", CHANGES)
@pytest.mark.usefixtures("no_question", "one_thread")
def test_a_checkpoint_that_does_not_fit_is_one_sentence(
    case: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    kind, change, message = CHANGES[case]
    whole: Folder = request.getfixturevalue(kind)
    described, tensors = whole.read_json(checkpoints.DESCRIPTION), load_tensors(whole.read(checkpoints.WEIGHTS))
    change(described, tensors)
    folder = Folder(tmp_path)
    described["weights"] = folder.write(checkpoints.WEIGHTS, save_tensors(tensors))  # whoever made it made it so
    folder.write_json(checkpoints.DESCRIPTION, described)
    with pytest.raises(UserError) as error:
        checkpoints.load(folder)
    one_sentence(error, str(tmp_path), message)


def test_a_checkpoint_of_an_older_version_is_read(word_model: Folder, tmp_path: Path) -> None:
    described, folder = word_model.read_json(checkpoints.DESCRIPTION), Folder(tmp_path)
    del described["weights"]
    folder.write(checkpoints.WEIGHTS, word_model.read(checkpoints.WEIGHTS))
    folder.write_json(checkpoints.DESCRIPTION, described)
    texts = ["a good film", "bad"]
    assert torch.equal(checkpoints.load(folder).probabilities(texts), checkpoints.load(word_model).probabilities(texts))


@pytest.mark.parametrize("kind", ["word_model", "transformer"])
def test_loading_draws_no_other_random_numbers_than_building_does(kind: str, request: pytest.FixtureRequest) -> None:
    folder: Folder = request.getfixturevalue(kind)
    loaded = checkpoints.load(folder)
    described, _ = checkpoints.read_description(folder)
    torch.manual_seed(0)
    checkpoints.load(folder)
    after = torch.get_rng_state()
    torch.manual_seed(0)
    checkpoints._fresh(described, loaded.config, loaded.encoder)
    assert torch.equal(torch.get_rng_state(), after)
