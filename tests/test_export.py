"""Exported models: `transformers` loads them, flat_dist loads them elsewhere, and they predict what the model does."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from transformers import BertTokenizerFast, DistilBertConfig, DistilBertModel, pipeline

import flat_dist as fd
from flat_dist.commands import export as command
from flat_dist.config.schema import Config, DataConfig, EndpointConfig, ModelConfig
from flat_dist.data import datasets
from flat_dist.data.encoder import Encoder
from flat_dist.data.preprocessing import Vocabulary
from flat_dist.evaluation.served import ServedModel
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models.checkpoint import Checkpoint
from flat_dist.models.factory import initial
from flat_dist.models.pretrained import load_classifier
from flat_dist.pipeline import own_models
from flat_dist.storage.folder import Folder
from tests.own_models import save_bert

TEXTS = ["a good film", "bad , it is bad", "film", "the plot is not good , and it is far too long"]

WORDS = Vocabulary.build([text.split() for text in TEXTS])


def save(checkpoint: Checkpoint, folder: Path, masked: bool = False) -> Folder:
    if masked:
        checkpoints.add_mask(checkpoint.model, checkpoint.config)
    checkpoints.save(checkpoint, Folder(folder))
    return Folder(folder)


def word_model(name: str, masked: bool, folder: Path) -> Folder:
    torch.manual_seed(3)
    config = ModelConfig(name=name, kernels=4, hidden_size=6, mask_hidden_size=5)  # type: ignore[arg-type]
    model = checkpoints.build(config, len(WORDS), 2)
    return save(Checkpoint(model.eval(), config, Encoder(WORDS, 20), ("no", "yes")), folder, masked)


def own_classifier(masked: bool, folder: Path) -> Folder:
    """What a run makes of a user's classifier."""
    torch.manual_seed(3)
    model, encoder, settings = load_classifier(Folder(save_bert(folder / "user", TEXTS)), "cpu")
    config = ModelConfig(name="classifier", mask_hidden_size=5)
    return save(Checkpoint(model, config, encoder, settings.label_names), folder / "ours", masked)


def trained_encoder(encoder: Path, folder: Path, sentences: datasets.Dataset, **options: str) -> Folder:
    """A new head on an encoder, with weights by which texts differ."""
    model = ModelConfig(name="encoder", encoder=str(encoder), **options)  # type: ignore[arg-type]
    checkpoint, _ = initial(Config(model=model, data=DataConfig(max_length=30)), sentences, masked=False)
    torch.manual_seed(4)
    with torch.no_grad():
        for weight in checkpoint.model.parameters():
            if weight.ndim > 1:
                weight.normal_(0, 0.3)
    return save(replace(checkpoint, model=checkpoint.model.eval()), folder)


def probabilities(folder: Folder) -> pd.DataFrame:
    return pd.DataFrame(fd.predict(folder.uri, TEXTS)["probabilities"].to_pylist())


def of_the_library(folder: str) -> pd.DataFrame:
    classify = pipeline("text-classification", model=folder, device="cpu", top_k=None)
    return pd.DataFrame([{one["label"]: one["score"] for one in row} for row in classify(TEXTS)])


@pytest.mark.parametrize("kind", ["classifier", "encoder"])
def test_the_library_loads_a_model_without_a_mask_and_predicts_the_same(
    kind: str, tmp_path: Path, encoder_folder: Path, sentences: datasets.Dataset
) -> None:
    if kind == "classifier":
        model = own_classifier(False, tmp_path)
    else:
        model = trained_encoder(encoder_folder, tmp_path / "ours", sentences)
    written = fd.export(model.uri, tmp_path / "exported")
    assert (written.format, written.reason) == ("transformers", "")
    expected = probabilities(model)
    found = of_the_library(written.folder)[list(expected.columns)]
    assert found.to_numpy() == pytest.approx(expected.to_numpy(), abs=1e-5)
    assert expected.iloc[:, 0].std() > 1e-4  # the texts differ
    assert probabilities(Folder(written.folder)).to_numpy() == pytest.approx(expected.to_numpy(), abs=1e-5)


@pytest.mark.parametrize("name", ["cnn", "lstm", "classifier"])
def test_a_model_with_a_mask_becomes_a_folder_that_flat_dist_loads_elsewhere(name: str, tmp_path: Path) -> None:
    model = own_classifier(True, tmp_path) if name == "classifier" else word_model(name, True, tmp_path / "ours")
    written = fd.export(model.uri, tmp_path / "exported")
    assert written.format == "folder" and "word mask" in written.reason
    assert fd.predict(written.folder, TEXTS).equals(fd.predict(model.uri, TEXTS))
    assert {path.name for path in Path(written.folder).iterdir()} == {
        "README.md", "checkpoint.json", "model.safetensors", "requirements.txt"
    }  # fmt: skip
    assert (
        f"flat_dist=={sys.modules['flat_dist'].__version__}\n" in (tmp_path / "exported/requirements.txt").read_text()
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pooling": "mean"}, "BertForSequenceClassification has another head than the one that training added"),
        ({}, "DistilBertForSequenceClassification has another head than the one that training added"),
    ],
)
def test_a_head_that_the_library_does_not_have_is_not_written_as_another(
    options: dict[str, str], message: str, encoder_folder: Path, tokenizer: BertTokenizerFast, tmp_path: Path,
    sentences: datasets.Dataset,
) -> None:  # fmt: skip
    if not options:
        encoder_folder = tmp_path / "distilbert"
        settings = DistilBertConfig(vocab_size=len(tokenizer), dim=16, n_layers=1, n_heads=2, hidden_dim=16)
        DistilBertModel(settings).save_pretrained(encoder_folder)
        tokenizer.save_pretrained(encoder_folder)
    model = trained_encoder(encoder_folder, tmp_path / "ours", sentences, **options)
    with pytest.raises(fd.UserError, match=message):
        fd.export(model.uri, tmp_path / "exported", "transformers")
    assert not (tmp_path / "exported").exists()
    written = fd.export(model.uri, tmp_path / "exported")
    assert written.format == "folder" and message in written.reason


def test_what_cannot_be_exported_is_one_sentence(tmp_path: Path) -> None:
    model = word_model("cnn", False, tmp_path / "cnn")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    for to, form, message in (
        ("new", "transformers", "it is a cnn, which transformers does not know: choose folder or mlflow"),
        ("full", "auto", "full is not empty: name a new folder"),
    ):
        with pytest.raises(fd.UserError, match=message) as error:
            fd.export(model.uri, tmp_path / to, form)  # type: ignore[arg-type]
        assert "\n" not in str(error.value)
    assert (tmp_path / "full" / "notes.txt").read_text() == "mine"
    with pytest.raises(fd.UserError, match="holds no checkpoint"):
        fd.export(tmp_path / "full", tmp_path / "new")


def ask(texts: list[str]) -> list[list[float]]:
    return [[0.25, 0.75]] * len(texts)


def test_a_function_has_no_weights_to_export(tmp_path: Path) -> None:
    path = own_models.name_of(ask)
    assert path == "tests.test_export:ask"
    _, folder = own_models.place(path, str(tmp_path), EndpointConfig(), ("no", "yes"), tuple)
    with pytest.raises(fd.UserError, match="known by its answers alone, so there are no weights to export"):
        fd.export(folder, tmp_path / "new")


def test_a_function_without_a_path_is_refused_before_any_work() -> None:
    data = fd.load_dataset("rotten_tomatoes_sample")
    with pytest.raises(fd.UserError, match="cannot be imported by the processes that attack it"):
        fd.attack(lambda texts: ask(list(texts)), data)
    with pytest.raises(fd.UserError, match="unknown field in settings"):
        fd.attack(ask, data, settings={"endpoint.batches": 3})


def test_the_command_says_what_it_wrote_and_how_to_use_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = word_model("lstm", True, tmp_path / "lstm")
    command.job(["--checkpoint", model.uri, "--to", str(tmp_path / "exported"), "--json"])
    *lines, last = capsys.readouterr().out.splitlines()
    assert lines[0] == f"folder: {tmp_path / 'exported'}"
    assert lines[1] == "not for transformers, because it has a word mask, which transformers does not know"
    assert lines[2] == f"use it: flat-dist predict --checkpoint {tmp_path / 'exported'}"
    assert json.loads(last)["label_names"] == ["no", "yes"]


def test_a_missing_text_is_named(tmp_path: Path) -> None:
    served = ServedModel(checkpoints.load(word_model("cnn", False, tmp_path / "cnn")))
    with pytest.raises(ValueError, match=r"row 1 \(from 0\) has no text"):
        served.predict(pd.DataFrame({"text": ["a", None]}))
    assert list(served.predict(pd.DataFrame({"text": []})).columns) == ["label", "probability_no", "probability_yes"]
