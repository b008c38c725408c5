"""How checkpoints are named on the command line; pipeline/test_evaluate.py evaluates them."""

import shutil
from pathlib import Path

import pytest

from flat_dist.config.errors import UserError
from flat_dist.models.artifact import ModelArtifact
from flat_dist.pipeline.evaluation import _model, _name_and_folder
from flat_dist.storage.folder import Folder

S3 = "s3://bucket/runs/stages/train-flat-2-0123456789abcdef?endpoint_override=minio:9000&scheme=http&region=a"


@pytest.mark.parametrize(
    ("argument", "name", "folder"),
    [
        ("runs/mine", None, "runs/mine"),
        ("base=runs/mine", "base", "runs/mine"),
        ("a b.c=runs/lr=0.1", "a b.c", "runs/lr=0.1"),
        ("runs/lr=0.1/mine", None, "runs/lr=0.1/mine"),
        ("lr=0.1/there", None, "lr=0.1/there"),
        ("lr=0.1/elsewhere", "lr", "0.1/elsewhere"),
        (S3, None, S3),
        (f"mine={S3}", "mine", S3),
        ("x=file:data/a%20b", "x", "data/a b"),
        ("ünïcode=runs/mine", "ünïcode", "runs/mine"),
    ],
)
def test_a_checkpoint_is_a_folder_or_a_name_and_a_folder(
    argument: str, name: str | None, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("lr=0.1/there").mkdir(parents=True)
    found, place = _name_and_folder(argument)
    assert found == name
    assert place.uri.removeprefix("file://").replace("%20", " ").removeprefix(f"{tmp_path}/") == folder


@pytest.mark.parametrize(
    "name", ["", "..", "a'b", 'a"b', "[b]", "[/x]", "<b>", "a\tb", "-x", "a\\b", "a/b", "../x", "a" * 101, "a|b", "{a}"]
)
def test_a_name_that_files_and_tables_cannot_have_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot be a model's name.*NAME=FOLDER"):
        _name_and_folder(f"{name}={tmp_path}")


def test_a_folder_whose_name_cannot_be_a_models_wants_one(victim: Folder, tmp_path: Path) -> None:
    assert victim.local is not None
    (tmp_path / "[b]").symlink_to(victim.local)
    with pytest.raises(UserError, match=r"'\[b\]' cannot be a model's name"):
        _model(str(tmp_path / "[b]"))
    assert _model(f"b={tmp_path}/[b]").folder.name == "[b]"


@pytest.mark.parametrize(
    "argument", ["a=" + "b" * 5000, "a" * 5000, "a=\0", "a\0=b", "a=", "a=s3:/bucket", "s3://me:hush@b=c"]
)
def test_what_is_no_folder_is_one_sentence(argument: str) -> None:
    with pytest.raises(UserError) as error:
        _model(argument)
    assert str(error.value).isprintable()
    assert "hush" not in str(error.value)
    assert len(str(error.value)) < 500


@pytest.mark.parametrize(
    ("name", "marker", "expected"),
    [
        ("train-flat-2-0123456789abcdef", None, ("flat", 2)),
        ("train-flat-2-0123456789abcdef", {"inputs": {}, "files": {}, "notes": {}}, ("flat", 2)),  # of version 2
        ("train-flat-2-0123456789abcdef", {"data": "0123456789abcdef"}, ("flat", 2)),  # of version 1
        ("mine", {"inputs": {}, "files": {}, "records": {}, "notes": {"training": "adv", "round": 1}}, ("adv", 1)),
        ("mine", None, ("mine", 0)),
    ],
)
def test_a_checkpoint_without_a_name_is_called_by_its_training(
    name: str, marker: dict | None, expected: tuple[str, int], victim: Folder, tmp_path: Path
) -> None:
    assert victim.local is not None
    shutil.copytree(victim.local, tmp_path / name)
    if marker is not None:
        Folder(tmp_path / name).write_json("stage.json", marker)
    model = _model(str(tmp_path / name))
    assert (model.model_name, model.round) == expected


def test_messages_name_the_training_behind_a_model() -> None:
    folder, notes = Folder("runs/x"), {"training": "base", "round": 0}
    assert ModelArtifact(folder, "0" * 16, notes, "flat", 0).label == "base-0"  # where FLAT starts
    assert ModelArtifact(folder, "0" * 16, {"training": "flat", "round": 2}, "flat", 2).label == "flat-2"
    assert ModelArtifact(folder, "0" * 16, model_name="mine", round=2).label == "mine-2"
    assert ModelArtifact(folder, "0" * 16, model_name="mine").label == "mine"
