"""`flat-dist predict` on files: all columns are kept, nothing waits for the end of the input, lines are complete."""

import csv
import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

import flat_dist as fd
from flat_dist.commands.predict import job
from flat_dist.config.errors import UserError
from flat_dist.config.schema import ModelConfig
from flat_dist.data.encoder import Encoder
from flat_dist.data.preprocessing import Vocabulary
from flat_dist.data.text_stream import TextRow
from flat_dist.evaluation import prediction_files
from flat_dist.evaluation.predict import predict_stream
from flat_dist.evaluation.prediction_files import Csv, JsonLines, OutputFile, renamed
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models.checkpoint import Checkpoint
from flat_dist.storage.folder import Folder
from tests.conftest import hear_interrupts

NAMES = ("negative", "positive")
TEXTS = ["a good film", "", "bad bad, and bad"]


@pytest.fixture(scope="module")
def model() -> Checkpoint:
    """A CNN of random weights with a word mask."""
    torch.manual_seed(0)
    config = ModelConfig(kernels=4, embedding_dim=4, vectors=None)
    encoder = Encoder(Vocabulary.build([["a", "good", "bad", "film", "and"]], 0), 50)
    built = checkpoints.build(config, len(encoder.vocabulary), 2)
    checkpoints.add_mask(built, config)
    return Checkpoint(built.eval(), config, encoder, NAMES)


@pytest.fixture(scope="module")
def folder(model: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> str:
    place = Folder(tmp_path_factory.mktemp("model"))
    checkpoints.save(model, place)
    return place.uri


def write(path: Path, rows: Sequence[Sequence[str]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_file_becomes_json_lines_with_its_columns(model: Checkpoint, folder: str, tmp_path: Path) -> None:
    rows = [[str(number), text, "x"] for number, text in enumerate(TEXTS)]
    source = write(tmp_path / "a.csv", [["id", "text", "label"], *rows])
    job(["--checkpoint", folder, "--input", str(source), "--output", str(tmp_path / "out.jsonl"), "--explain", "ig"])
    found = read_jsonl(tmp_path / "out.jsonl")
    scores = model.probabilities(TEXTS).tolist()
    for number, (row, text, expected) in enumerate(zip(found, TEXTS, scores, strict=True)):
        assert (row["id"], row["input_text"], row["input_label"]) == (str(number), text, "x")
        assert list(row["probabilities"].values()) == expected
        assert row["label"] == NAMES[expected.index(max(expected))]
        assert [word for word, _ in row["attributions"]] == row["text"].split()
    assert [word for word, _ in found[0]["importance"]] == ["a", "good", "film"] and "importance" not in found[1]


def test_attributions_add_up_to_what_the_words_change(model: Checkpoint) -> None:
    ((row, found),) = next(predict_stream(model, [TextRow(TEXTS[0])], fd_method("ig")))
    assert found is not None and row.text == TEXTS[0]
    label = NAMES.index(found["label"])
    (whole,) = model.probabilities([TEXTS[0]])
    with torch.no_grad():
        saved = model.model.embedding.weight.clone()
        model.model.embedding.weight.zero_()  # the start of the path: words without a vector
        (without,) = model.probabilities([TEXTS[0]])
        model.model.embedding.weight.copy_(saved)
    assert sum(value for _, value in found["attributions"]) == pytest.approx(float((whole - without)[label]), abs=2e-3)


def fd_method(name: str) -> Any:
    from flat_dist.evaluation.attributions import AttributionMethod

    return AttributionMethod(name)


def test_a_file_becomes_csv(model: Checkpoint, folder: str, tmp_path: Path) -> None:
    lines = [json.dumps({"id": number, "review": text, "tags": ["x"]}) for number, text in enumerate(TEXTS)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    command = ["--checkpoint", folder, "--input", str(tmp_path / "a.jsonl"), "--text-column", "review"]
    settings = ["--batch-size", "2", "--explain", "lime", "--lime-samples", "20"]
    job([*command, "--output", str(tmp_path / "out.csv"), *settings])
    found = read_csv(tmp_path / "out.csv")
    scores = model.probabilities(TEXTS).tolist()
    assert list(found[0]) == [
        *("id", "review", "tags", "text", "label", "probability_negative", "probability_positive"),
        *("importance", "attributions"),
    ]
    for number, (row, text, expected) in enumerate(zip(found, TEXTS, scores, strict=True)):
        assert (row["id"], row["review"], row["tags"]) == (str(number), text, '["x"]')
        assert [float(row[f"probability_{name}"]) for name in NAMES] == expected
        assert len(json.loads(row["attributions"])) == len(row["text"].split())
    assert found[1]["importance"] == ""


def test_a_bad_row_ends_it_after_the_rows_before_or_is_kept(folder: str, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "a.csv").write_text("id,text\n1,a film\n2,good\n3,a, film\n4,bad\n")
    command = ["--checkpoint", folder, "--input", str(tmp_path / "a.csv"), "--output"]
    with pytest.raises(UserError, match=r"a\.csv:4: 3 fields, but there are 2 columns: .*--keep-bad-rows"):
        job([*command, str(tmp_path / "out.jsonl")])
    assert [row["id"] for row in read_jsonl(tmp_path / "out.jsonl")] == ["1", "2"]
    job([*command, str(tmp_path / "out.jsonl"), "--keep-bad-rows"])
    kept = read_jsonl(tmp_path / "out.jsonl")
    assert [row["id"] for row in kept] == ["1", "2", "3", "4"]
    assert kept[2] == {"id": "3", "input_text": "a", "error": "3 fields, but there are 2 columns: quote commas"}
    assert capsys.readouterr().err == "1 of 4 rows have no prediction: their column error says why\n"
    job([*command, str(tmp_path / "out.csv"), "--keep-bad-rows", "--batch-size", "1"])
    table = read_csv(tmp_path / "out.csv")
    assert [bool(row["error"]) for row in table] == [False, False, True, False] and table[2]["label"] == ""


def test_rows_before_an_unreadable_line_are_written(folder: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"text\n" + b"a film\n" * 70 + b"\xff\n")
    with pytest.raises(UserError, match=r"a\.csv:72: not UTF-8"):
        job(["--checkpoint", folder, "--input", str(tmp_path / "a.csv"), "--output", str(tmp_path / "out.jsonl")])
    assert len(read_jsonl(tmp_path / "out.jsonl")) == 70


def test_no_more_rows_are_held_than_a_batch_has(model: Checkpoint) -> None:
    taken = 0

    def rows() -> Iterator[TextRow]:
        nonlocal taken
        for _ in range(100):
            taken += 1
            yield TextRow("a film")

    done = 0
    for batch in predict_stream(model, rows(), batch_size=8):
        done += len(batch)
        assert taken == done  # nothing was read ahead
    assert done == 100


def test_predictions_do_not_depend_on_the_batch(model: Checkpoint) -> None:
    texts = [*TEXTS, "good " * 30, "film"] * 3
    expected = [
        prediction for batch in predict_stream(model, map(TextRow, texts), batch_size=1) for prediction in batch
    ]
    found = [prediction for batch in predict_stream(model, map(TextRow, texts), batch_size=7) for prediction in batch]
    assert found == expected


def test_the_python_function_has_the_same_predictions(model: Checkpoint) -> None:
    table = fd.predict(model, (text for text in TEXTS * 50), explain="ig")
    assert table.num_rows == 150 and table.column_names[-1] == "attributions"
    (batch,) = predict_stream(model, map(TextRow, TEXTS), fd_method("ig"))
    for row, (_, expected) in zip(table.slice(0, 3).to_pylist(), batch, strict=True):
        assert expected is not None and row["label"] == expected["label"]
        assert [one["word"] for one in row["attributions"]] == row["text"].split()
        np.testing.assert_allclose(
            [one["attribution"] for one in row["attributions"]],
            [value for _, value in expected["attributions"]],
            atol=1e-6,
        )
    assert fd.predict(model, [""])["importance"].type == table["importance"].type
    assert isinstance(table, pa.Table) and fd.explain(model, [""])[0].words == ()


def test_standard_input_and_csv_on_standard_output(
    folder: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(b"a film\n\ngood\n")))
    job(["--checkpoint", folder, "--format", "csv"])
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [row["text"] for row in rows] == ["a film", "", "good"]


@pytest.mark.parametrize(
    ("line", "said"), [(b"\xff", "not UTF-8"), (b"a \0", "contains a NUL byte")], ids=["utf8", "nul"]
)
def test_lines_before_an_unreadable_one_are_printed(
    folder: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], line: bytes, said: str
) -> None:
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(b"a film\n" + line + b"\n")))
    with pytest.raises(UserError, match=f"standard input, line 2: {said}"):
        job(["--checkpoint", folder])
    assert json.loads(capsys.readouterr().out)["text"] == "a film"


def test_a_file_without_rows_is_an_error_that_leaves_the_output_as_it_is(folder: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,text\n")
    (tmp_path / "out.csv").write_text("predictions of yesterday")
    with pytest.raises(UserError, match=r"a.csv has no rows: give it at least one"):
        job(["--checkpoint", folder, "--input", str(tmp_path / "a.csv"), "--output", str(tmp_path / "out.csv")])
    assert (tmp_path / "out.csv").read_text() == "predictions of yesterday"


def test_no_lines_on_standard_input_are_no_predictions(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(b"")))
    job(["--checkpoint", folder, "--output", str(tmp_path / "out.csv")])
    assert (tmp_path / "out.csv").read_text().startswith("text,label,probability_negative")
    assert capsys.readouterr().err == ""


def test_texts_of_which_the_model_reads_nothing_or_not_all_are_counted(
    folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = [
        ["\U0001f600\U0001f600"],
        [""],
        ["a good film \u2665 \U0001f600"],
        ["bad caf\xe9 \u2013 \u201cno\u201d"],
        ["a film"],
    ]
    source = write(tmp_path / "a.csv", [["text"], *texts[:1], *texts[2:]])
    job(["--checkpoint", folder, "--input", str(source), "--output", str(tmp_path / "out.jsonl")])
    assert capsys.readouterr().err.splitlines() == [
        "1 of 4 texts have no word that the model reads: their predictions say nothing about them",
        "hint: 2 of 4 texts have emoji or other symbols (\U0001f600 \u2665), which the model does not read: it reads "
        "cleaned texts",
    ]
    write(source, [["id", "text"], *([str(number), *text] for number, text in enumerate(texts[1:2] + texts[3:]))])
    job(["--checkpoint", folder, "--input", str(source), "--output", str(tmp_path / "out.jsonl")])
    assert capsys.readouterr().err == (
        "1 of 3 texts have no word that the model reads: their predictions say nothing about them\n"
    )


def test_columns_that_would_have_one_name() -> None:
    assert renamed(TextRow("", columns={"id": 1, "text": 2, "label": 3}), ("text", "label")) == {
        "id": "id", "input_text": "text", "input_label": "label"
    }  # fmt: skip
    with pytest.raises(UserError, match="has the columns 'text' and 'input_text'"):
        renamed(TextRow("", "a.csv:2", {"text": 1, "input_text": 2}), ("text",))
    rows = Csv(NAMES)
    rows.lines([(TextRow("a", columns={"id": 1}), None)])
    assert rows.lines([(TextRow("a"), None)]).startswith(",")
    with pytest.raises(UserError, match=r"a.jsonl:9 has the column 'more'.*choose --format jsonl"):
        rows.lines([(TextRow("a", "a.jsonl:9", {"more": 2}), None)])
    half = JsonLines().lines([(TextRow("a", columns={"id": "\ud83d"}), None)])
    assert json.loads(half.encode(errors="backslashreplace")) == {"id": "\ud83d", "error": ""}


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
def test_what_cannot_be_written_whole_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    out = OutputFile(tmp_path / "out.jsonl")
    out.write("one\n")
    real = os.write

    def partly(descriptor: int, data: bytes) -> int:
        real(descriptor, data[:2])
        raise error

    monkeypatch.setattr(prediction_files.os, "write", partly)
    with pytest.raises(type(error)):
        out.write("two\nthree\n")
    assert (tmp_path / "out.jsonl").read_text() == "one\n"
    monkeypatch.undo()
    out.write("four\n")
    out.close()
    assert (tmp_path / "out.jsonl").read_text() == "one\nfour\n"


def test_predictions_come_before_the_input_ends_and_an_interrupt_leaves_complete_lines(
    folder: str, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "a.csv")
    out = tmp_path / "out.jsonl"
    command = [sys.executable, "-m", "flat_dist", "predict", "--checkpoint", folder, "--batch-size", "1"]
    command += ["--input", str(tmp_path / "a.csv"), "--output", str(out)]
    with (
        subprocess.Popen(command, stderr=subprocess.PIPE, preexec_fn=hear_interrupts) as process,
        (tmp_path / "a.csv").open("w") as pipe,
    ):
        pipe.write("id,text\n1,a good film\n2,bad\n")
        pipe.flush()
        while not (out.exists() and len(out.read_text().splitlines()) == 2):
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate()
    assert (process.returncode, said) == (130, b"interrupted; the predictions written so far are complete\n")
    assert [row["id"] for row in read_jsonl(out)] == ["1", "2"]
