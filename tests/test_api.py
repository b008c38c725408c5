"""`import flat_dist as fd`: data, predictions and explanations in this process, and settings that are refused."""

import copy
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import flat_dist as fd
from flat_dist import cli
from flat_dist.data.datasets import Dataset
from flat_dist.models import checkpoint as checkpoints
from flat_dist.pipeline.settings import config_of
from flat_dist.storage.folder import Folder

ROOT = Path(__file__).parents[1]
TEXTS = ["a fine film", "the plot is dull, and the acting is worse", "", "good"]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    for split in ("train", "dev", "test"):
        rows = [f"{split} {word} film number {number},{word}" for number in range(3) for word in ("good", "bad")]
        (tmp_path / f"{split}.csv").write_text("\n".join(["review,mark", *rows]))
    return {split: str(tmp_path / f"{split}.csv") for split in ("train", "dev", "test")}


def load(source: object) -> fd.Data:
    return fd.load_dataset(source, text_column="review", label_column="mark")  # type: ignore[arg-type]


def test_a_dataset_is_given_as_files_or_as_their_folder(files: dict[str, str]) -> None:
    data = load(files)
    assert data.label_names == ("bad", "good")
    assert data.test.column_names == ["example_id", "text", "label"]
    assert data.test["text"].to_pylist()[:2] == ["test good film number 0", "test bad film number 0"]
    assert data.test["label"].to_pylist() == [1, 0] * 3
    folder = load(Path(files["train"]).parent)
    assert folder.train.equals(data.train) and folder.dataset.fingerprint == data.dataset.fingerprint


def test_splits_are_drawn_from_one_file(tmp_path: Path) -> None:
    rows = [f"{word} film number {number},{word}" for number in range(50) for word in ("good", "bad")]
    (tmp_path / "all.csv").write_text("\n".join(["review,mark", *rows]))
    data = fd.load_dataset(tmp_path / "all.csv", split=(0.6, 0.2, 0.2), text_column="review", label_column="mark")
    tables = (data.train, data.dev, data.test)
    assert sum(table.num_rows for table in tables) == 100 and data.train.num_rows > data.dev.num_rows > 0
    assert len({text for table in tables for text in table["text"].to_pylist()}) == 100


def test_a_named_dataset_is_that_of_the_command_line(sentences: Dataset) -> None:
    data = fd.load_dataset("rotten_tomatoes_sample")
    assert data.dataset.fingerprint == sentences.fingerprint
    assert data.config.named == "rotten_tomatoes_sample"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"train": "a.csv"}, "the files of a dataset are train, dev, test, but given are train"),
        ("nowhere", "nowhere"),
        ("nowhere.csv", "nowhere.csv does not exist"),
        ({"train": "a.csv", "dev": "b.csv", "test": "c.csv"}, "a.csv does not exist"),
    ],
)
def test_a_wrong_source_is_one_sentence(source: object, message: str) -> None:
    with pytest.raises(fd.UserError) as error:
        load(source)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_predictions_are_those_of_the_model(victim: Folder) -> None:
    model = checkpoints.load(victim)
    table = fd.predict(victim.uri, TEXTS)
    expected = model.probabilities(TEXTS).numpy()
    assert table.column_names == ["text", "label", "probabilities", "importance"]
    assert [list(row) for row in table["probabilities"].to_pylist()] == [list(model.label_names)] * 4
    found = np.array([list(row.values()) for row in table["probabilities"].to_pylist()])
    np.testing.assert_array_equal(found.astype(np.float32), expected)
    assert table["label"].to_pylist() == [model.label_names[number] for number in expected.argmax(1)]
    assert table["importance"].null_count == 4  # it has no word mask
    assert fd.predict(fd.load_model(victim.uri), TEXTS).equals(table)
    assert fd.predict(model, []).num_rows == 0


def test_integrated_gradients_add_up_to_the_change_of_the_probability(victim: Folder) -> None:
    model = fd.load_model(victim.uri)
    blank = copy.deepcopy(model.model)
    blank.embedding.weight.data.zero_()  # the start of the path: the same text, whose words are all zero vectors
    without = torch.stack([copy_with(model, blank).probabilities([text])[0] for text in TEXTS])
    change = (model.probabilities(TEXTS) - without).numpy()
    for explanation, row, text in zip(fd.explain(model, TEXTS, steps=200), change, TEXTS, strict=True):
        assert len(explanation.words) == len(text.replace(",", " ,").split())
        assert set(explanation.attributions) == set(model.label_names)
        for name, expected in zip(model.label_names, row, strict=True):
            assert explanation.attributions[name].shape == (len(explanation.words),)
            if explanation.words:
                assert explanation.attributions[name].sum() == pytest.approx(expected, abs=2e-3)
        assert explanation.probabilities[explanation.label] == max(explanation.probabilities.values())


def copy_with(model: checkpoints.Checkpoint, blank: object) -> checkpoints.Checkpoint:
    return checkpoints.Checkpoint(blank, model.config, model.encoder, model.label_names)  # type: ignore[arg-type]


def test_lime_says_which_word_lowers_the_probability(victim: Folder) -> None:
    model = fd.load_model(victim.uri)
    (explanation,) = fd.explain(model, ["a superb film"], method="lime", samples=300)
    whole, left_out = model.probabilities(["a superb film", "a film"])[:, 1].tolist()
    weight = explanation.attributions[model.label_names[1]][1]
    assert abs(whole - left_out) > 0.01 and np.sign(weight) == np.sign(whole - left_out)
    assert fd.explain(model, []) == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"training.epoch": 3}, "did you mean 'training.epochs'?"),
        ({"training.epochs": "many"}, "training.epochs must be int, not 'many'"),
        ({"training.epochs": 0}, "--training.epochs is 0"),
        ({"nothing": 1}, "unknown field in settings"),
        ({"data.folder": "x"}, "the setting data.folder has no effect here"),
        ({"storage": "x"}, "the setting storage has no effect here"),
        ({"attack.name": "textfoler"}, "did you mean 'textfooler'?"),
    ],
)
def test_a_wrong_setting_is_one_sentence(settings: dict[str, object], message: str, files: dict[str, str]) -> None:
    with pytest.raises(fd.UserError) as error:
        fd.train(load(files), settings=settings)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_settings_without_effect_are_refused(victim: Folder, sentences: Dataset) -> None:
    data = fd.load_dataset("rotten_tomatoes_sample")
    for call in (fd.attack, fd.evaluate):
        for settings in ({"training.epochs": 3}, {"attack.name": "pwws"}, {"data.max_length": 9}):
            with pytest.raises(fd.UserError, match="has no effect here"):
                call(victim.uri, data, settings=settings)
    with pytest.raises(fd.UserError, match="no checkpoint"):
        fd.evaluate(str(ROOT / "tests"), data)
    with pytest.raises(fd.UserError, match=r"--evaluation\.ig-steps is 0"):
        fd.explain(victim.uri, ["a film"], steps=0)


def test_settings_replace_those_of_the_preset() -> None:
    start = cli.load_preset("customer_reviews,robust")
    config = config_of(start, {"training.epochs": 3, "model.embedding-dim": 7, "seed": 5}, None, Path("x"), "mine")
    assert (config.training.epochs, config.model.embedding_dim, config.seed) == (3, 7, 5)
    assert (config.storage, config.run_name) == ("x", "mine")
    assert config.substitutes == start.substitutes and config.training.kinds == start.training.kinds


def test_attack_is_a_function_before_and_after_the_package_of_that_name_is_imported() -> None:
    code = "import sys, inspect, flat_dist as fd\n"
    code += "assert not {'torch', 'pandas', 'ray'} & set(sys.modules)\n"
    code += "first = fd.attack\nassert inspect.isfunction(first)\n"
    code += "import flat_dist.attack.limits\nfrom flat_dist.attack import limits\n"
    code += "try:\n    fd.attack('nowhere', None, settings={'storage': 'x'})\n"
    code += "except fd.UserError as error:\n    print(error)\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "the setting storage has no effect here" in done.stdout, done.stderr
    import flat_dist.attack.limits  # noqa: F401

    assert pickle.loads(pickle.dumps(fd.attack)) is fd.attack


def test_all_names_of_the_package_exist() -> None:
    assert set(fd.__all__) <= set(dir(fd))
    assert all(callable(getattr(fd, name)) for name in fd.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        fd.nothing  # noqa: B018
