"""Texts of a file, one after another with their columns; what is wrong names file and line."""

import gzip
import json
from pathlib import Path

import pytest

from flat_dist.config.errors import UserError
from flat_dist.data import readers
from flat_dist.data.text_stream import TextRow, stream_file

CSV = 'id,text,label\n7,a fine film,1\n8,"dull,\nand long",0\n\n9,,1\n'
JSONL = '{"id": 7, "text": "a fine film"}\n\n{"id": [8], "text": "dull,\\nand long", "more": null}\n'


def rows(path: Path, content: str | bytes, column: str = "text") -> list[TextRow]:
    data = content if isinstance(content, bytes) else content.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return list(stream_file(path, column))


@pytest.mark.parametrize("ending", ["csv", "csv.gz"])
def test_rows_of_csv_keep_their_columns_and_lines(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"texts.{ending}"
    found = rows(path, "\ufeff" + CSV)
    assert [row.text for row in found] == ["a fine film", "dull,\nand long", ""]
    assert [row.place for row in found] == [f"{path}:{line}" for line in (2, 3, 6)]
    assert found[1].columns == {"id": "8", "text": "dull,\nand long", "label": "0"}


def test_the_same_rows_in_all_formats(tmp_path: Path) -> None:
    texts = [row.text for row in rows(tmp_path / "a.csv", CSV)][:2]
    tabs = 'id\ttext\n7\ta fine film\n8\t"dull,\nand long"\n'
    assert [row.text for row in rows(tmp_path / "a.tsv", tabs)] == texts
    found = rows(tmp_path / "a.jsonl.gz", JSONL)
    assert [row.text for row in found] == texts
    assert found[1].columns == {"id": [8], "text": texts[1], "more": None}
    assert [row.place.rpartition(":")[2] for row in found] == ["1", "3"]


def test_texts_are_those_that_training_reads(tmp_path: Path) -> None:
    content = 'text,label\r\na film,0\r\n\'quoted\' "inside",1\r\n"a ""b""",0\r\n'
    streamed = rows(tmp_path / "a.csv", content)
    assert [(row.text, row.place) for row in streamed] == [
        (row.text, row.place) for row in readers.read(tmp_path / "a.csv", "text", "label").rows
    ]


def test_no_more_of_a_file_is_read_than_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"text\n" + b"a film\n" * 100_000 + b"\xff\n")
    found = stream_file(path, "text")
    assert [next(found).text for _ in range(3)] == ["a film"] * 3
    with pytest.raises(UserError, match=r"a\.csv:100002: not UTF-8 \(byte 0xff"):
        list(found)


FAULTS: list[tuple[str, str, str]] = [
    ("a.csv", "text,label\na film\n", "1 fields, but there are 2 columns: fill in the others"),
    ("a.csv", "text\na, film\n", "2 fields, but there are 1 columns: quote commas"),
    ("a.csv", 'text\n"a" film\n', "not valid CSV"),
    ("a.jsonl", '{"text": "a"}\n{"text": null, "id": 3}\n', "no text in the column 'text'"),
    ("a.jsonl", '{"text": "a"}\n{"id": 3}\n', "no text in the column 'text'"),
    ("a.jsonl", '{"text": "a"}\n{"text": 5}\n', "the text is 5, not a string"),
    ("a.jsonl", '{"text": "a"}\n{"text": "\\ud83d"}\n', "half of a character"),
    ("a.jsonl", '{"text": "a"}\n{"text": \n', "not valid JSON"),
    ("a.jsonl", '{"text": "a"}\n["a"]\n', "not a JSON object, but list"),
]


@pytest.mark.parametrize(("name", "content", "said"), FAULTS, ids=[str(number) for number in range(len(FAULTS))])
def test_a_bad_row_has_a_fault_and_the_rows_after_it_are_read(
    tmp_path: Path, name: str, content: str, said: str
) -> None:
    good = {"a.csv": "fine,1\n" if "label" in content else "fine\n", "a.jsonl": '{"text": "fine"}\n'}[name]
    *_, bad, last = rows(tmp_path / name, content + good)
    assert said in bad.fault and bad.text == "" and bad.place.endswith(f"{name}:2")
    assert (last.text, last.fault) == ("fine", "")


ERRORS: list[tuple[str, bytes, str]] = [
    ("a.csv", b"words,id\na film,3\n", "has no column 'text' among words, id: rename it, or set --data.text-column"),
    ("a.csv", b"Text,id\na film,3\n", "(is 'Text' meant?)"),
    ("a.csv", b"id,text,id\n1,a film,3\n", "has more than one column 'id' among id, text, id: give each another name"),
    ("a.csv", b"id;text\n1;a film\n", "its columns are separated by semicolons"),
    ("a.csv", b"", "is empty"),
    ("a.csv", b"\n \n", "is empty"),
    ("a.csv", b"id,text\n", "a.csv has no rows: give it at least one"),
    ("a.jsonl", b"\n", "a.jsonl has no rows: give it at least one"),
    ("a.csv", b'text\n"a film\n', "a.csv:2: not valid CSV: an opening quote is never closed"),
    ("a.csv", "text\na film\n".encode("utf-16"), "is UTF-16"),
    ("a.csv", b"text\na film\na \0\n", "a.csv:3: a NUL byte"),
    ("a.csv", b"text\na film\ncaf\xe9\n", "a.csv:3: not UTF-8 (byte 0xe9, which is é in Latin-1)"),
    ("a.csv", gzip.compress(b"text\n"), "is compressed (gzip): unpack it"),
    ("a.csv.gz", b"text\na film\n", "is not compressed (gzip)"),
    ("a.csv.gz", gzip.compress(b"text\n" + b"a film\n" * 99)[:-20], "ends too early"),
    ("a.jsonl", b'[{"text": "a"}]\n', "is a JSON array: write one object a line"),
    ("a.jsonl", b'{"texts": "a"}\n', "a.jsonl:1 has no column 'text' among texts (is 'texts' meant?)"),
    ("a.parquet", b"PAR1", "its name must end in .csv, .tsv or .jsonl (also with .gz after it)"),
]


@pytest.mark.parametrize(("name", "content", "said"), ERRORS, ids=[str(number) for number in range(len(ERRORS))])
def test_what_no_row_can_be_read_from_is_one_sentence(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as error:
        list(stream_file(tmp_path / name, "text"))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("path", ["nowhere.csv", "."])
def test_a_file_that_is_not_there(path: str) -> None:
    with pytest.raises(UserError, match=r"does not exist|is a folder"):
        stream_file(Path(path), "text")


def test_numbers_of_json_stay_numbers(tmp_path: Path) -> None:
    content = json.dumps({"text": "a", "id": 7, "when": 1.5, "tags": ["x"]})
    (row,) = rows(tmp_path / "a.jsonl", content)
    assert row.columns == json.loads(content)
