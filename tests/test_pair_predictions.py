"""Predictions of models of sentence pairs: files, exported models, and MLflow."""

import csv
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from transformers import pipeline

import flat_dist as fd
from flat_dist.commands.predict import job
from flat_dist.config.errors import UserError
from flat_dist.data.datasets import Dataset
from flat_dist.data.sentence_pairs import join
from flat_dist.evaluation.served import ServedModel
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models.checkpoint import Checkpoint
from flat_dist.storage.folder import Folder
from tests.own_models import save_bert
from tests.sentence_pairs import LABELS, pairs_of, random_pair_model, save_word_encoder

ROWS = [("a good film", "not a good story"), ("a bad film", ""), ("", "a fine story"), ("film", "film, film!")]
JOINED = [join(*row) for row in ROWS]


@pytest.fixture(scope="module")
def pairs(sentences: Dataset) -> Dataset:
    return pairs_of(sentences)


@pytest.fixture(scope="module")
def models(pairs: Dataset, sentences: Dataset, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Folder]:
    """A model of pairs with a mask, and one without."""
    encoder = save_word_encoder(sentences, tmp_path_factory.mktemp("encoder"))
    folders = {}
    for name in ("masked", "plain"):
        folders[name] = Folder(tmp_path_factory.mktemp(name))
        checkpoints.save(random_pair_model(pairs, encoder, masked=name == "masked"), folders[name])
    return folders


def write(path: Path, names: tuple[str, str] = ("text", "text_pair")) -> str:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("id", *names), *((number, *row) for number, row in enumerate(ROWS))])
    return str(path)


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_file_of_pairs_is_predicted(models: dict[str, Folder], tmp_path: Path) -> None:
    model = checkpoints.load(models["masked"])
    (tmp_path / "b.jsonl").write_text("".join(json.dumps({"one": one, "two": two}) + "\n" for one, two in ROWS))
    for source, columns in (
        (write(tmp_path / "a.csv"), ("text", "text_pair")),
        (str(tmp_path / "b.jsonl"), ("one", "two")),
    ):
        command = ["--checkpoint", models["masked"].uri, "--input", source, "--explain", "ig", "--ig-steps", "5"]
        command += ["--data.text-column", columns[0], "--data.text-pair-column", columns[1]]
        job([*command, "--output", str(tmp_path / "out.jsonl")])
        found = read(tmp_path / "out.jsonl")
        for row, text, scores in zip(found, JOINED, model.probabilities(JOINED).tolist(), strict=True):
            assert list(row["probabilities"].values()) == pytest.approx(scores, abs=1e-6)
            assert row["label"] == LABELS[scores.index(max(scores))]
            assert [word for word, _ in row["attributions"]] == row["text"].split() == model.encoder.words(text)
        first, second = ("input_text", "text_pair") if columns[0] == "text" else columns
        assert [(row[first], row[second]) for row in found] == ROWS


@pytest.mark.parametrize(
    ("header", "options", "said"),
    [
        (("text", "hypothesis"), ["--data.text-pair-column", "text_pair"], "no column 'text_pair' among"),
        (("text", "text_pair"), [], "reads pairs of sentences, but 'a good film' is a single text: give pairs"),
        (("text", "text_pair"), ["--data.text-pair-column", "text"], "is also the column of texts: name another one"),
    ],
    ids=["missing", "not named", "twice"],
)
def test_a_file_without_pairs_is_one_sentence(
    header: tuple[str, str], options: list[str], said: str, models: dict[str, Folder], tmp_path: Path
) -> None:
    command = ["--checkpoint", models["plain"].uri, "--input", write(tmp_path / "a.csv", header), *options]
    with pytest.raises(UserError, match=said) as error:
        job([*command, "--output", str(tmp_path / "out.jsonl")])
    assert "--data.text-pair-column" in str(error.value) and "\n" not in str(error.value)


def test_pairs_that_cannot_be_read(models: dict[str, Folder], victim: Folder, tmp_path: Path) -> None:
    source = write(tmp_path / "a.csv")
    with pytest.raises(UserError, match="reads single texts, but the data are pairs of sentences"):
        job(["--checkpoint", victim.uri, "--input", source, "--data.text-pair-column", "text_pair"])
    with pytest.raises(UserError, match=r"--data.text-pair-column has an effect only with --input"):
        job(["--checkpoint", victim.uri, "--data.text-pair-column", "text_pair"])
    lines = ['{"text": "a", "text_pair": "b"}', '{"text": "a ‖ b", "text_pair": "c"}', '{"text": "a"}']
    (tmp_path / "b.jsonl").write_text("\n".join(lines), encoding="utf-8")
    command = ["--checkpoint", models["plain"].uri, "--input", str(tmp_path / "b.jsonl"), "--keep-bad-rows"]
    job([*command, "--data.text-pair-column", "text_pair", "--output", str(tmp_path / "out.jsonl")])
    assert [row.get("error") for row in read(tmp_path / "out.jsonl")] == [
        None,
        "the column 'text' has the character ‖, which stands between the sentences of a pair",
        "no text in the column 'text_pair'",
    ]


def test_a_model_of_pairs_with_a_mask_is_used_elsewhere(models: dict[str, Folder], tmp_path: Path) -> None:
    written = fd.export(models["masked"].uri, tmp_path / "exported")
    assert written.format == "folder"
    assert fd.predict(written.folder, JOINED).equals(fd.predict(models["masked"].uri, JOINED))
    assert 'echo "a man is asleep ‖ somebody sleeps"' in (tmp_path / "exported" / "README.md").read_text()


def test_the_library_loads_a_model_of_pairs_and_predicts_the_same(
    models: dict[str, Folder], pairs: Dataset, tmp_path: Path
) -> None:
    written = fd.export(models["plain"].uri, tmp_path / "exported")
    assert written.format == "transformers"
    classify = pipeline("text-classification", model=written.folder, device="cpu", top_k=None)
    texts = pairs.test["text"].to_pylist()[:12]
    expected = checkpoints.load(models["plain"]).probabilities(texts).tolist()
    for text, scores in zip(texts, expected, strict=True):
        first, second = text.split(" ‖ ")
        found = {one["label"]: one["score"] for one in classify({"text": first, "text_pair": second}, truncation=True)}
        assert [found[name] for name in LABELS] == pytest.approx(scores, abs=1e-5)


def test_mlflow_serves_pairs(models: dict[str, Folder], tmp_path: Path) -> None:
    import mlflow.pyfunc

    written = fd.export(models["masked"].uri, tmp_path / "exported", "mlflow")
    loaded = mlflow.pyfunc.load_model(written.folder)
    schema = loaded.metadata.get_input_schema()
    assert schema.input_names() == ["text", "text_pair"] == schema.required_input_names()
    found = loaded.predict(pd.DataFrame(ROWS, columns=["text", "text_pair"]))
    expected = fd.predict(models["masked"].uri, JOINED)
    assert found["label"].tolist() == expected["label"].to_pylist()
    scores = pd.DataFrame(expected["probabilities"].to_pylist())
    assert found[[f"probability_{name}" for name in LABELS]].to_numpy() == pytest.approx(scores.to_numpy(), abs=1e-6)
    assert len(loaded.predict(loaded.input_example)) == 2
    with pytest.raises(Exception, match="text_pair"):
        loaded.predict(pd.DataFrame({"text": ["a film"]}))


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """A classifier that reads texts and pairs."""
    return checkpoints.load(Folder(save_bert(tmp_path_factory.mktemp("bert"), [" ".join(row) for row in ROWS])))


def test_a_classifier_that_reads_both_is_served_for_both(classifier: Checkpoint, tmp_path: Path) -> None:
    import mlflow.pyfunc

    checkpoints.save(classifier, Folder(tmp_path / "saved"))
    written = fd.export(tmp_path / "saved", tmp_path / "exported", "mlflow")
    loaded = mlflow.pyfunc.load_model(written.folder)
    assert loaded.metadata.get_input_schema().required_input_names() == ["text"]
    expected = classifier.probabilities(["a good film", JOINED[0]])[:, 0].tolist()
    both = loaded.predict(pd.DataFrame({"text": ["a good film"] * 2, "text_pair": [None, ROWS[0][1]]}))
    assert both["probability_NEGATIVE"].tolist() == pytest.approx(expected, abs=1e-6)
    assert expected[0] != pytest.approx(expected[1], abs=1e-4)
    alone = loaded.predict(pd.DataFrame({"text": ["a good film"]}))
    assert alone["probability_NEGATIVE"].tolist() == pytest.approx(expected[:1], abs=1e-6)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (("a film", None), r"row 0 \(from 0\) has no text in the column 'text_pair': the model reads pairs"),
        (("a film", 3), r"row 0 \(from 0\) has no text in the column 'text_pair', but 3"),
        (("a ‖ film", "b"), "has the character ‖, which stands between the sentences of a pair"),
    ],
    ids=["none", "number", "mark"],
)
def test_a_served_pair_that_cannot_be_read_is_named(
    values: tuple[Any, Any], said: str, models: dict[str, Folder]
) -> None:
    served = ServedModel(checkpoints.load(models["plain"]))
    with pytest.raises(ValueError, match=said):
        served.predict(pd.DataFrame([values], columns=["text", "text_pair"]))


def test_a_served_model_of_texts_refuses_pairs(victim: Folder) -> None:
    served = ServedModel(checkpoints.load(victim))
    with pytest.raises(ValueError, match="but the model reads single texts: leave it out"):
        served.predict(pd.DataFrame([("a film", "a story")], columns=["text", "text_pair"]))
