import gzip
import hashlib
import json
import subprocess
import sys
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets as hf
import huggingface_hub
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import requests

from flat_dist.config.errors import UserError
from flat_dist.config.schema import Config, DataConfig
from flat_dist.data.datasets import describe, load, sample
from flat_dist.data.preprocessing import clean
from flat_dist.pipeline import run_folder
from flat_dist.resources import assets

GOOD = "text,label\nfine film,1\nbad film,0\n"


def gzipped(content: bytes) -> bytes:
    """Without the time, which would give the same test another name in each process."""
    return gzip.compress(content, mtime=0)


def folder(path: Path, **contents: str) -> DataConfig:
    """A folder of CSV files; splits that are not given are good ones."""
    for split in ("train", "dev", "test"):
        (path / f"{split}.csv").write_bytes(contents.get(split, GOOD).encode("utf-8", "surrogateescape"))
    return DataConfig(folder=str(path))


def message(config: DataConfig) -> str:
    with pytest.raises(UserError) as caught:
        load(config)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_table_has_clean_texts_and_stable_ids(tmp_path: Path) -> None:
    train = '\ufefflabel,text\r\n1,"Fine, ""FILM"""\r\n0,bad\r\n1,fine film\r\n1,"fine , film"\r\n'
    dataset = load(folder(tmp_path, train=train))
    digests = [hashlib.sha256(text).hexdigest()[:12] for text in (b"fine , film", b"bad", b"fine film")]
    ids = [f"train-{digests[row]}" for row in range(3)] + [f"train-{digests[0]}-2"]
    assert dataset.train.to_pydict() == {
        "example_id": ids,
        "text": ["fine , film", "bad", "fine film", "fine , film"],
        "label": [1, 0, 1, 1],
    }
    assert dataset.train.schema.types == [pa.string(), pa.string(), pa.int32()]
    assert dataset.label_names == ("0", "1")
    assert str(tmp_path / "train.csv") in dataset.source


def test_all_file_formats_give_the_same_dataset(tmp_path: Path) -> None:
    frame = pd.DataFrame({"review": ['a "b"\nc', "d, é"], "class": ["pos", "neg"]})
    frame.to_csv(tmp_path / "train.csv", index=False)
    frame.to_json(tmp_path / "dev.jsonl", orient="records", lines=True)
    frame.to_parquet(tmp_path / "test.parquet")
    train, dev, test = (str(tmp_path / name) for name in ("train.csv", "dev.jsonl", "test.parquet"))
    dataset = load(DataConfig(train=train, dev=dev, test=test, text_column="review", label_column="class"))
    for table in (dataset.train, dataset.dev, dataset.test):
        assert table["text"].to_pylist() == ["a b c", "d , é"]
        assert table["label"].to_pylist() == [1, 0]
    assert dataset.label_names == ("neg", "pos")


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "csv.gz", "tsv.gz", "jsonl.gz"])
def test_compressed_files_and_tabs_give_the_same_dataset(tmp_path: Path, kind: str) -> None:
    frame = pd.DataFrame({"text": ['a "b"\nc,\td', "e, é"], "label": ["pos", "neg"]})
    for split in ("train", "dev", "test"):
        path = tmp_path / f"{split}.{kind}"
        if "jsonl" in kind:
            frame.to_json(path, orient="records", lines=True)
        else:
            frame.to_csv(path, index=False, sep="\t" if "tsv" in kind else ",")
    dataset = load(DataConfig(folder=str(tmp_path)))
    for table in (dataset.train, dataset.dev, dataset.test):
        assert table["text"].to_pylist() == ["a b c , d", "e , é"]
        assert table["label"].to_pylist() == [1, 0]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.tsv", b"text,label\nfine,1\n", "a.tsv: its columns are separated by commas: save it with tabs, or let"),
        ("a.tsv", b"text;label\nfine;1\n", "a.tsv: its columns are separated by semicolons: save it with tabs"),
        ("a.tsv", b"text\tlabel\nfine\t1\nbad\t film\t0\n", "a.tsv:3: 3 fields, but there are 2 columns: quote tabs"),
        ("a.csv", b"text\tlabel\nfine\t1\n", "a.csv: its columns are separated by tabs: save it with commas, or let"),
        ("a.tsv", b'text\tlabel\nfine\t1\n"bad\t0\n', "a.tsv:3: not valid CSV: an opening quote is never closed"),
        ("a.csv.gz", gzipped(b"text,label\nfine,1\n,0\n"), "a.csv.gz:3: the text is empty"),
        ("a.csv.gz", gzipped(b"text,label\nfine,1\nb\xe9,0\n"), "a.csv.gz:3: not UTF-8"),
        ("a.csv.gz", gzipped(GOOD.encode() * 99)[:-20], "a.csv.gz ends too early (a truncated gzip file)"),
        ("a.csv.gz", gzipped(GOOD.encode())[:4], "a.csv.gz ends too early (a truncated gzip file)"),
        ("a.csv.gz", gzipped(GOOD.encode())[:-8] + bytes(8), "a.csv.gz is a damaged gzip file (CRC"),
        ("a.csv.gz", GOOD.encode(), "a.csv.gz is not compressed (gzip): let its name end without .gz"),
        ("a.csv.gz", gzipped(gzipped(GOOD.encode())), "a.csv.gz is compressed (gzip): unpack it"),
        ("a.csv.gz", b"", "a.csv.gz is empty"),
        ("a.jsonl.gz", gzipped(b'{"text": "a", "label": 1}\n{'), "a.jsonl.gz:2: not valid JSON"),
        ("a.parquet.gz", gzipped(b"PAR1"), "a.parquet.gz is not a data file: unpack it first: its name must end"),
    ],
)
def test_bad_tsv_and_compressed_files(tmp_path: Path, name: str, content: bytes, expected: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    said = message(DataConfig(train=str(path), dev=str(path), test=str(path)))
    assert f"{tmp_path}/{expected}" in said


def test_the_fingerprint_depends_on_content_not_on_the_path(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in "abc"]
    for path in paths:
        path.mkdir()
    first, same = load(folder(paths[0])), load(folder(paths[1]))
    other = load(folder(paths[2], dev="text,label\nfine film,0\nbad film,1\n"))
    assert first.fingerprint == same.fingerprint != other.fingerprint
    names = load(DataConfig(folder=str(paths[0]), label_names=("n", "p")))
    assert names.fingerprint != first.fingerprint


@pytest.mark.parametrize(
    ("name", "given", "labels", "expected"),
    [
        ("rotten_tomatoes_sample", (), ["0", "1"], ("0", "1")),
        ("rotten_tomatoes_sample", (), ["ham", "spam"], ("ham", "spam")),
        ("rotten_tomatoes_sample", ("spam", "ham"), ["ham", "0"], ("spam", "ham")),
        ("sst2", (), ["0", "1"], ("negative", "positive")),
        ("sst2", ("no", "yes"), ["0", "1"], ("no", "yes")),
        ("rotten_tomatoes_sample", ("1", "2"), ["1", "2"], ("1", "2")),  # a name comes before an integer
    ],
)
def test_label_names(
    tmp_path: Path, name: str, given: tuple[str, ...], labels: list[str], expected: tuple[str, ...]
) -> None:
    content = "text,label\n" + "".join(f"a film,{label}\n" for label in labels)
    config = folder(tmp_path, train=content, dev=content, test=content)
    dataset = load(DataConfig(name=name, folder=config.folder, label_names=given))
    assert dataset.label_names == expected
    assert sorted(dataset.train["label"].to_pylist()) == [0, 1]
    named = {expected[label] for label in dataset.train["label"].to_pylist()}
    assert named == set(expected)


@pytest.mark.parametrize(
    ("train", "expected"),
    [
        ("", "train.csv is empty"),
        ("sentence,label\na,1\n", "train.csv has no column 'text' among sentence, label"),
        ("text,text,label\na,b,1\n", "train.csv has more than one column 'text'"),
        ("text,label\n", "train.csv has no rows"),
        ('text,label\n"two\nlines",1\n\na,b,c\n', "train.csv:5: 3 fields, but there are 2 columns"),
        ('text,label\n"two\nlines",1\nx\n', "train.csv:4: 1 fields"),
        ('text,label\na,1\n"never closed,0\n', "train.csv:3: not valid CSV"),
        ("text,label\na,1\n ,0\n", "train.csv:3: the text is empty"),
        ("text,label\na,1\n***,0\n", "train.csv:3: the text '***' is empty after cleaning"),
        ("text,label\na,1\nb,\n", "train.csv:3: label '' is neither an integer nor a name"),
        ("text,label\na,1\nb,0\nc,good\n", "train.csv:4: label 'good' is a name, but the first is an integer"),
        ("text,label\na,good\nb,bad\nc,1\n", "train.csv:4: label '1' is an integer, but the first is a name"),
        ("text,label\na,1\nb,1\nc,1\n", "train.csv has only the class '1'"),
        ("text,label\na,0\nb,0\n", "train.csv has only the class '0'"),
        ("text,label\na,1\nb,2\n", "train.csv has the labels 1, 2: number classes 0, 1"),
        ("text,label\na,1\nb,-1\n", "train.csv has the labels -1, 1"),
        ("text,label\na,1\nb\udce9,0\n", "train.csv:3: not UTF-8 (byte 0xe9, which is é in Latin-1)"),
    ],
)
def test_bad_training_file(tmp_path: Path, train: str, expected: str) -> None:
    assert f"{tmp_path}/{expected}" in message(folder(tmp_path, train=train))


@pytest.mark.parametrize(
    ("dev", "expected"),
    [
        ("text,label\na,1\nb,2\n", "dev.csv:3: label '2' is none of the classes 0, 1: fix the row"),
        ("text,label\na,1\nb,x\n", "dev.csv:3: label 'x' is a name, but the first training label is an integer (if"),
        ("text,label\n\n", "dev.csv has no rows"),
    ],
)
def test_bad_development_file(tmp_path: Path, dev: str, expected: str) -> None:
    assert f"{tmp_path}/{expected}" in message(folder(tmp_path, dev=dev))


def test_integers_are_no_positions_among_names_that_nobody_has_ordered(tmp_path: Path) -> None:
    rows = "text,label\na,spam\nb,ham\n"
    config = folder(tmp_path, train=rows, dev=rows, test="text,label\na,0\nb,1\n")  # 0 may be spam
    said = message(config)
    assert f"{tmp_path}/test.csv:2: label '0' is an integer, but the first training label is a name" in said
    assert "list the names in the order of their integers with --data.label-names" in said
    assert load(replace(config, label_names=("spam", "ham"))).test["label"].to_pylist() == [0, 1]


def test_all_bad_rows_are_named_at_once(tmp_path: Path) -> None:
    train = GOOD + ",1\nx,y,1\n" + "***,0\n" * 12
    said = message(folder(tmp_path, train=train, dev=GOOD + "a,9\n"))
    assert said.startswith(f"15 bad rows: {tmp_path}/train.csv:4: the text is empty; {tmp_path}/train.csv:5: 3 fields")
    assert said.count(f"{tmp_path}/train.csv:") == 10
    assert "; and 5 more: fix them, or drop them with --data.drop-bad-rows" in said


def test_a_bad_row_of_a_file_that_is_two_splits_is_named_once(tmp_path: Path) -> None:
    folder(tmp_path, dev=GOOD + "***,1\n")
    said = message(DataConfig(train=f"{tmp_path}/train.csv", dev=f"{tmp_path}/dev.csv", test=f"{tmp_path}/dev.csv"))
    assert said.startswith(f"{tmp_path}/dev.csv:4: the text '***' is empty after cleaning") and said.count("***") == 1


def test_bad_rows_are_dropped_and_counted(tmp_path: Path) -> None:
    train = 'text,label\na,1\n,1\n"b"c,1\nx,y,1\n***,0\nd,\ne,name\nf,0\n'
    config = replace(folder(tmp_path, train=train, test=GOOD + "a,9\n"), drop_bad_rows=True)
    dataset = load(config)
    assert dataset.train["text"].to_pylist() == ["a", "f"]
    assert dataset.dropped == (6, 0, 1)
    assert describe(dataset) == ["classes: 0 (1), 1 (1)", "dropped 7 bad rows: 6 of train, 1 of test"]
    assert dataset.source.endswith("(without 7 bad rows: 6 of train, 1 of test)")
    folder(tmp_path, train="text,label\na,1\nf,0\n")
    assert load(config).fingerprint == dataset.fingerprint
    folder(tmp_path, dev="text,label\n,1\n")
    assert "dev.csv has no usable row" in message(config)
    folder(tmp_path, train="text,label\n,1\n")
    assert "train.csv has no usable row" in message(config)


def test_the_classes_are_described_with_their_integers(tmp_path: Path) -> None:
    train = "text,label\na,pos\nb,neg\nc,pos\n"
    dataset = load(folder(tmp_path, train=train, dev=train, test=train))
    assert describe(dataset) == ["classes: 0 neg (1), 1 pos (2)"]
    many = "text,label\n" + "".join(f"text {n},{n}\n" for n in range(23))
    assert describe(load(folder(tmp_path, train=many)))[0].endswith("19 (1) and 3 more")


@pytest.mark.parametrize("label", ["1", "1.0", "1.", " 1 "])
def test_integers_are_read_in_all_notations(tmp_path: Path, label: str) -> None:
    dataset = load(folder(tmp_path, train=f"text,label\na,{label}\nb,0.0\n"))
    assert dataset.label_names == ("0", "1")
    assert dataset.train["label"].to_pylist() == [1, 0]


def test_labels_of_json_and_parquet_equal_those_of_csv(tmp_path: Path) -> None:
    config = folder(tmp_path, dev="text,label\na,True\nb,0\nc,1\n", test="text,label\na,true\nb,FALSE\n")
    (tmp_path / "train.csv").unlink()
    pd.DataFrame({"text": ["a", "b"], "label": [True, False]}).to_parquet(tmp_path / "train.parquet")
    dataset = load(config)
    assert dataset.label_names == ("false", "true")
    assert [table["label"].to_pylist() for table in (dataset.train, dataset.dev, dataset.test)] == [
        [1, 0],
        [1, 0, 1],
        [1, 0],
    ]
    pd.DataFrame({"text": ["a", "b"], "label": [1.0, 0.0]}).to_parquet(tmp_path / "train.parquet")
    folder(tmp_path)
    (tmp_path / "train.csv").unlink()
    assert load(config).train["label"].to_pylist() == [1, 0]


@pytest.mark.parametrize("names", [("1.0", "0.0"), ("1", "0"), ("01", "0.")])
def test_names_that_are_integers_are_read_as_labels_are(names: tuple[str, str], tmp_path: Path) -> None:
    rows = "text,label\ndull,0.0\nfine,1.0\n"
    dataset = load(replace(folder(tmp_path, train=rows, dev=rows, test=rows), label_names=names))
    assert dataset.label_names == ("1", "0")
    found = {row["text"]: dataset.label_names[row["label"]] for row in dataset.train.to_pylist()}
    assert found == {"dull": "0", "fine": "1"}


def test_an_integer_is_a_name_if_names_are_integers(tmp_path: Path) -> None:
    train = "text,label\na,1\nb,2\nc,3\n"
    config = replace(folder(tmp_path, train=train, dev=train), label_names=("1", "2", "3"))
    said = message(config)  # test has 1 and 0
    assert f"{tmp_path}/test.csv:3: label '0' is none of the classes 1, 2, 3:" in said
    assert "name them: --data.label-names 1 2 3" in message(replace(config, label_names=()))


@pytest.mark.parametrize("other", ["SPORTS", "sports ", "sp orts", "s\u200bports", "ｓports"])
def test_classes_that_look_alike_are_refused(tmp_path: Path, other: str) -> None:
    train = f"text,label\na,sports\nb,{other}\nc,music\n"
    if other.strip() == "sports":  # spaces around a label are no part of it
        assert load(folder(tmp_path, train=train, dev=train, test=train)).label_names == ("music", "sports")
        return
    said = message(folder(tmp_path, train=train, dev=train, test=train))
    assert ascii(other) in said and "'sports'" in said and said.isascii()
    one = "text,label\na,sports\nc,music\n"
    said = message(folder(tmp_path, train=one, dev=one, test=train))
    assert f"label {other!a} is none of the classes music, sports (or 0 to 1) (is 'sports' meant?)" in said
    named = replace(folder(tmp_path, train=train, dev=train, test=train), label_names=("music", "sports", other))
    assert load(named).train["label"].to_pylist() == [1, 2, 0]


def test_long_fields_are_read(tmp_path: Path) -> None:
    dataset = load(folder(tmp_path, train=GOOD + f'"{"word " * 40_000}",1\n'))
    assert len(dataset.train["text"][2].as_py()) == 5 * 40_000 - 1


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"text;label\nfine, really;1\n", "its columns are separated by semicolons"),
        (b"sep=;\ntext;label\nfine;1\n", "its columns are separated by semicolons"),
        (b'"text"\t"label"\nfine\t1\n', "its columns are separated by tabs"),
        (b"text|label\nfine|1\n", "its columns are separated by bars"),
        (b"text,label\n1,fine,1\n2,bad,0\n", "every row has one field more than the header"),
        (b" Text ,label\nfine,1\n", "no column 'text' among ' Text ', label (is ' Text ' meant?)"),
        (b"\xef\xbb\xbf\xef\xbb\xbftext,label\nfine,1\n", r"(is '\ufefftext' meant?)"),
        ("text,label\nfine,1\n".encode("utf-16"), "train.csv is UTF-16: save it as UTF-8"),
        ("text,label\nfine,1\n".encode("utf-16-le"), "train.csv:1: a NUL byte"),
        (b"text,label\nfi\0ne,1\n", "train.csv:2: a NUL byte"),
        (gzipped(b"text,label\nfine,1\n"), "train.csv is compressed (gzip): unpack it"),
        (b"PK\x03\x04workbook", "train.csv is a zip archive or an Excel workbook"),
        (b" \n\n", "train.csv is empty"),
    ],
)
def test_the_error_names_the_format_of_other_files(tmp_path: Path, content: bytes, expected: str) -> None:
    config = folder(tmp_path)
    (tmp_path / "train.csv").write_bytes(content)
    assert expected in message(config)


@pytest.mark.parametrize("end", ["\r", "\r\n"])
def test_line_ends_of_other_systems(tmp_path: Path, end: str) -> None:
    config = folder(tmp_path, train=f"text,label{end}a,1{end}b,0{end}", dev=f"text,label{end}a,1{end},0{end}")
    assert f"{tmp_path}/dev.csv:3: the text is empty" in message(config)
    (tmp_path / "dev.csv").unlink()
    (tmp_path / "dev.jsonl").write_bytes(end.join(['{"text": "a", "label": 1}', '{"text": "b", "label": 0}']).encode())
    assert load(config).dev["label"].to_pylist() == [1, 0]


def test_excels_line_about_commas_is_skipped(tmp_path: Path) -> None:
    assert load(folder(tmp_path, train=f"sep=,\n{GOOD}")).train["text"].to_pylist() == ["fine film", "bad film"]


def test_parquet_with_other_types(tmp_path: Path) -> None:
    config = folder(tmp_path)
    (tmp_path / "train.csv").unlink()
    texts = {
        "large": pa.array(["a", "b"], pa.large_string()),
        "dictionary": pa.array(["a", "b"]).dictionary_encode(),
    }
    for kind in texts.values():
        pq.write_table(pa.table({"text": kind, "label": pa.array([1, 0], pa.int8())}), tmp_path / "train.parquet")
        assert load(config).train["text"].to_pylist() == ["a", "b"]
    for kind, said in (
        (pa.nulls(2), "2 bad rows: "),
        (pa.array([["a"], ["b"]]), "row 1: the text is ['a'], not a string"),
        (pa.array([{"x": "a"}, {"x": "b"}]), "row 1: the text is {'x': 'a'}, not a string"),
    ):
        pq.write_table(pa.table({"text": kind, "label": pa.array([1, 0])}), tmp_path / "train.parquet")
        assert said in message(config)


def test_a_folder_in_a_files_place(tmp_path: Path) -> None:
    config = folder(tmp_path)
    (tmp_path / "train.csv").unlink()
    (tmp_path / "train.csv.bz2").write_bytes(b"")
    assert "has no train file but train.csv.bz2: give it one whose name ends in .csv, .tsv" in message(config)
    packed = str(tmp_path / "train.csv.bz2")
    assert "unpack it first: its name must end in" in message(DataConfig(train=packed, dev=packed, test=packed))
    (tmp_path / "train.csv").mkdir()
    assert f"{tmp_path}/train.csv is a folder: name a file" in message(config)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (DataConfig(), "customer_reviews"),
        (DataConfig(name="rotten_tomatoes_sample"), "rotten_tomatoes_sample"),
        (DataConfig(name="rotten_tomatoes_sample", folder="somewhere"), None),
        (DataConfig(name="sst2"), "sst2"),
        (DataConfig(name="sst2", folder="somewhere"), "sst2"),
        (DataConfig(folder="somewhere"), None),
        (DataConfig(name="sst2", train="a.csv", dev="b.csv", test="c.csv"), None),
        (DataConfig(hf="someone/theirs"), None),
        (DataConfig(name="sst2", file="all.csv"), None),
    ],
)
def test_the_users_files_do_not_get_the_names_of_the_default_dataset(config: DataConfig, expected: str | None) -> None:
    assert config.named == expected


def test_a_split_of_one_class_is_fine_outside_training(tmp_path: Path) -> None:
    assert load(folder(tmp_path, dev="text,label\na,1\n")).dev.num_rows == 1


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("a", "b", "c"), "train.csv has no example of the class 'c'"),
        (("a", "a"), "--data.label-names holds a name twice"),
        (("a",), "train.csv:2: label '1' is none of the classes a (or 0 to 0)"),
    ],
)
def test_label_names_that_do_not_fit(tmp_path: Path, names: tuple[str, ...], expected: str) -> None:
    assert expected in message(DataConfig(folder=folder(tmp_path).folder, label_names=names))


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (['{"text": "a", "label": 1}', "", "{broken"], "train.jsonl:3: not valid JSON"),
        (["[1]", '{"text": "a", "label": 1}'], "train.jsonl:1: not a JSON object, but list"),
        (["[", '{"text": "a", "label": 1}', "]"], "train.jsonl is one JSON array over several lines"),
        (['{"text": "a", "y": 1}'], "train.jsonl:1 has no column 'label' among text, y"),
        (['{"text": null, "label": 1}', '{"text": "b", "label": 0}'], "train.jsonl:1: the text is empty"),
        (['{"text": "a", "label": 1}', '{"text": 3, "label": 0}'], "train.jsonl:2: the text is 3, not a string"),
        (['{"text": "a", "label": 1}', '{"text": "b"}'], "train.jsonl:2: no column 'label' among text"),
        (['{"text": "a", "label": 1.5}', '{"text": "b", "label": 0}'], "train.jsonl:1: label 1.5 is neither"),
        (['{"text": "a", "label": NaN}', '{"text": "b", "label": 0}'], "train.jsonl:1: label nan is neither"),
        (['{"text": "a", "label": [1]}', '{"text": "b", "label": 0}'], "train.jsonl:1: label [1] is neither"),
        (['{"text": "a", "label": "\\ud800"}', '{"text": "b", "label": 0}'], "label '\\ud800' is neither"),
    ],
)
def test_bad_json_lines(tmp_path: Path, lines: list[str], expected: str) -> None:
    config = folder(tmp_path)
    (tmp_path / "train.csv").unlink()
    (tmp_path / "train.jsonl").write_text("\n".join(lines))
    assert expected in message(config)


def test_line_separators_inside_json_strings_do_not_count_as_lines(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    rows = [{"text": "a\u2028b", "label": 0}, {"text": "c", "label": 1}, {"text": "", "label": 1}]
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    config = folder(tmp_path)
    assert "train.jsonl:3: the text is empty" in message(DataConfig(train=str(path), dev=str(path), test=str(path)))
    assert "has both train.csv and train.jsonl: keep one" in message(config)


def test_bad_parquet(tmp_path: Path) -> None:
    path = tmp_path / "train.parquet"
    config = DataConfig(train=str(path), dev=str(path), test=str(path))
    path.write_bytes(b"not parquet at all")
    assert f"{path} is not a readable Parquet file" in message(config)
    pd.DataFrame({"text": ["a", "b"]}).to_parquet(path)
    assert f"{path} has no column 'label' among text" in message(config)
    pd.DataFrame({"text": ["a", None], "label": [0, 1]}).to_parquet(path)
    assert f"{path}, row 2: the text is empty" in message(config)


def test_wrong_choices(tmp_path: Path) -> None:
    missing, absent = tmp_path / "missing", str(tmp_path / "absent.csv")
    assert f"--data.folder {missing} is not a folder" in message(DataConfig(folder=str(missing)))
    assert "has no train file: give it one whose name ends in .csv, .tsv, .jsonl (also with .gz" in message(
        DataConfig(folder=str(tmp_path))
    )
    assert f"{absent} does not exist" in message(DataConfig(train=absent, dev=absent, test=absent))
    assert "a.txt is not a data file" in message(DataConfig(train="a.txt", dev="b.csv", test="c.csv"))
    assert "--data.dev is not set" in message(DataConfig(train="a.csv", test="b.csv"))
    assert "--data.train is not set" in message(DataConfig(dev="b.csv"))
    assert "--data.folder and --data.hf are both set" in message(DataConfig(folder="a", hf="b"))
    assert "did you mean 'sst2'?" in message(DataConfig(name="sst"))


def test_film_reviews_are_balanced_and_disjoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "polarity.csv"
    lines = [f'"{sign}","Film {n} is {word} . \n"' for n in range(50) for sign, word in ((1, "good"), (-1, "bad"))]
    repeated = '"1","FILM  7 is good ."'
    path.write_text("\ufeff" + "\n".join([*lines, repeated, '"1","one more"']), encoding="utf-8")
    monkeypatch.setattr(assets, "prepare", lambda: SimpleNamespace(rotten_tomatoes=path))
    film_reviews = DataConfig(name="rotten_tomatoes_sample")
    dataset = load(film_reviews)
    assert dataset.label_names == ("negative", "positive")
    splits = [dataset.train, dataset.dev, dataset.test]
    assert [Counter(table["label"].to_pylist()) for table in splits] == [{0: 40, 1: 40}, {0: 5, 1: 5}, {0: 5, 1: 5}]
    texts = [text for table in splits for text in table["text"].to_pylist()]
    assert len(set(texts)) == 100
    for table in splits:
        for row in table.to_pylist():
            assert row["label"] == ("bad" not in row["text"])
    path.write_text("\n".join([repeated, *reversed(lines), '"1","one more"']), encoding="utf-8")
    assert load(film_reviews).fingerprint == dataset.fingerprint


CUSTOMER_REVIEWS = DataConfig(name="customer_reviews")


def test_customer_reviews_have_the_counts_of_the_documentation() -> None:
    dataset = load(CUSTOMER_REVIEWS)
    splits = [dataset.train, dataset.dev, dataset.test]
    assert [table.num_rows for table in splits] == [2043, 294, 598]
    assert dataset.label_names == ("negative", "positive")
    labels = [label for table in splits for label in table["label"].to_pylist()]
    assert Counter(labels) == {0: 1216, 1: 1719}
    for table in splits:
        assert np.mean(table["label"].to_pylist()) == pytest.approx(1719 / 2935, abs=0.02)


def test_customer_reviews_have_the_labels_that_a_reader_gives_them() -> None:
    dataset = load(CUSTOMER_REVIEWS)
    rows = [row for table in (dataset.train, dataset.dev, dataset.test) for row in table.to_pylist()]
    label_of = {row["text"]: row["label"] for row in rows}
    assert len(label_of) == len(rows)
    assert label_of["well worth the money ."] == label_of["great player ."] == 1
    assert label_of["don't buy this player ."] == 0


def test_no_customer_review_is_in_two_splits() -> None:
    lines = assets.prepare().customer_reviews.read_text().splitlines()
    reviews: dict[str, set[str]] = defaultdict(set)
    for sentence, _, text in (line.split("\t") for line in lines):
        reviews[clean(text)].add(sentence.split("_")[0])
    dataset = load(CUSTOMER_REVIEWS)
    found = [
        # A text of several reviews counts for the first, which has it.
        set().union(*(reviews[text] for text in table["text"].to_pylist() if len(reviews[text]) == 1))
        for table in (dataset.train, dataset.dev, dataset.test)
    ]
    assert sum(map(len, found)) == len(set().union(*found)) > 290


def test_customer_reviews_near_neutral_and_repeated_ones_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "customer_reviews.tsv"
    lines = [f"{n}_1\t{'1.5' if n % 2 else '-0.55'}\tplayer {n} ." for n in range(40)]
    lines += ["40_1\t0.5\tneutral", "40_2\t-0.5\tneutral too", "41_1\t3\tPLAYER  7 .", "7_2\t-2\tof the seventh"]
    path.write_bytes("\r\n".join(lines).encode())
    monkeypatch.setattr(assets, "prepare", lambda: SimpleNamespace(customer_reviews=path))
    dataset = load(CUSTOMER_REVIEWS)
    splits = [dataset.train, dataset.dev, dataset.test]
    assert [table.num_rows for table in splits] == pytest.approx([0.7 * 41, 0.1 * 41, 0.2 * 41], abs=1.5)
    label_of = {row["text"]: row["label"] for table in splits for row in table.to_pylist()}
    assert label_of == {f"player {n} .": n % 2 for n in range(40)} | {"of the seventh": 0}
    (seventh,) = [table for table in splits if "player 7 ." in table["text"].to_pylist()]
    assert "of the seventh" in seventh["text"].to_pylist()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A hub that holds what the test puts into it, and records what was asked."""
    held: dict[str, Any] = {}
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda self, path, timeout: None)
    monkeypatch.setattr(hf, "load_dataset", lambda path, revision: hf.DatasetDict(held[path]))
    return held


def questions(n: int, classes: list[str], **columns: str) -> hf.Dataset:
    features = hf.Features(
        {columns.get("text", "text"): hf.Value("string"), columns["label"]: hf.ClassLabel(names=classes)}
    )
    rows = {
        columns.get("text", "text"): [f"question {i}" for i in range(n)],
        columns["label"]: [i % len(classes) for i in range(n)],
    }
    return hf.Dataset.from_dict(rows, features=features)


def test_trec_from_the_hub_is_mapped_to_our_order_and_holds_out_dev(hub: dict[str, Any]) -> None:
    classes = ["ABBR", "ENTY", "DESC", "HUM", "LOC", "NUM"]
    hub["CogComp/trec"] = {
        name: questions(n, classes, label="coarse_label") for name, n in [("train", 5452), ("test", 500)]
    }
    dataset = load(DataConfig(name="trec"))
    assert [len(table) for table in (dataset.train, dataset.dev, dataset.test)] == [5000, 452, 500]  # paper, Table 1
    for table in (dataset.train, dataset.dev, dataset.test):
        for row in table.to_pylist():
            number = int(row["text"].removeprefix("question "))
            assert dataset.label_names[row["label"]] == classes[number % 6]
    numbers = [{row["text"] for row in table.to_pylist()} for table in (dataset.train, dataset.dev)]
    assert len(numbers[0] | numbers[1]) == 5452
    assert load(DataConfig(name="trec")).fingerprint == dataset.fingerprint


def test_any_hub_dataset(hub: dict[str, Any]) -> None:
    split = questions(6, ["no", "yes"], text="sentence", label="y")
    hub["someone/theirs"] = {"train": split, "validation": split, "test": split}
    config = DataConfig(hf="someone/theirs", text_column="sentence", label_column="y")
    dataset = load(config)
    assert dataset.label_names == ("no", "yes")
    assert dataset.test["label"].to_pylist() == [0, 1, 0, 1, 0, 1]
    assert "someone/theirs (train) has no column 'text' among sentence, y" in message(DataConfig(hf="someone/theirs"))
    del hub["someone/theirs"]["validation"]
    assert "someone/theirs has no split 'validation', but train, test" in message(config)


def saved(path: Path, names: tuple[str, ...] = ("train", "validation", "test")) -> DataConfig:
    """A dataset in a folder."""
    split = questions(6, ["no", "yes"], label="label")
    hf.DatasetDict(dict.fromkeys(names, split)).save_to_disk(path)
    return DataConfig(hf=str(path))


def test_a_hugging_face_dataset_in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", None)  # not asked
    config = saved(tmp_path / "saved")
    dataset = load(config)
    assert dataset.label_names == ("no", "yes")
    assert dataset.test.select(["text", "label"]).to_pydict() == {
        "text": [f"question {number}" for number in range(6)],
        "label": [0, 1, 0, 1, 0, 1],
    }
    assert run_folder.dataset_name(Config(data=config)) == "custom"
    assert run_folder.dataset_name(Config(data=DataConfig(hf="someone/theirs"))) == "someone-theirs"
    assert "has no column 'review' among text, label" in message(replace(config, text_column="review"))


def test_a_folder_that_is_no_hugging_face_dataset(tmp_path: Path) -> None:
    place = str(tmp_path / "saved")
    assert f"--data.hf {place} does not exist: name a folder" in message(DataConfig(hf=place))
    config = saved(tmp_path / "saved", ("train", "test"))
    assert f"{place} has no split 'validation', but train, test" in message(config)
    assert f"--data.hf {place}/train holds one split: save" in message(DataConfig(hf=f"{place}/train"))
    assert f"--data.hf {tmp_path} has no dataset_dict.json" in message(DataConfig(hf=str(tmp_path)))
    (data,) = (tmp_path / "saved" / "train").glob("*.arrow")
    data.write_bytes(data.read_bytes()[:100])
    assert f"--data.hf {place} is damaged (" in message(config)
    (tmp_path / "saved" / "dataset_dict.json").write_text("{")
    assert f"--data.hf {place} is damaged (" in message(config)


def test_hub_hides_test_labels(hub: dict[str, Any]) -> None:
    good, hidden = (hf.Dataset.from_dict({"text": ["a", "b"], "label": labels}) for labels in ([0, 1], [-1, -1]))
    hub["glue"] = {"train": good, "dev": good, "test": hidden}
    assert "2 bad rows: glue (test), row 1: label '-1' is none of the classes" in message(DataConfig(hf="glue"))


def test_an_unreachable_hub_is_a_user_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: Any, timeout: float) -> None:
        assert timeout <= 10
        raise requests.ConnectionError("no route")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", unreachable)
    for config in (DataConfig(name="sst2"), DataConfig(hf="a/b")):
        assert "from the Hugging Face hub (ConnectionError)" in message(config)
        assert "--data.folder" in message(config)


def test_offline_only_the_cache_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", None)  # not asked
    monkeypatch.setattr(hf.config, "HF_DATASETS_CACHE", tmp_path)
    assert "cannot load SetFit/sst2" in message(DataConfig(name="sst2"))


def table(n: int) -> pa.Table:
    return pa.table({"example_id": [f"train-{i}" for i in range(n)], "label": list(range(n))})


def test_sample_is_the_first_by_hash() -> None:
    whole = table(50)
    drawn = sample(whole, 10, seed=3)
    expected = sorted(whole.to_pylist(), key=lambda row: hashlib.sha256(f"3:{row['example_id']}".encode()).hexdigest())
    assert drawn.to_pylist() == expected[:10]
    assert sample(whole.take(list(range(49, -1, -1))), 10, seed=3).equals(drawn)
    assert sample(whole, 5, seed=3).equals(drawn.slice(0, 5))
    assert not sample(whole, 10, seed=4).equals(drawn)


def test_sample_of_everything_keeps_the_order() -> None:
    for n in (0, 50, 51):
        assert sample(table(50), n, seed=3).equals(table(50))


def test_sample_is_uniform() -> None:
    counts = Counter(i for seed in range(400) for i in sample(table(10), 3, seed)["label"].to_pylist())
    assert sum(counts.values()) == 1200
    assert all(80 <= counts[i] <= 160 for i in range(10))  # 120 expected, standard deviation 9


def test_import_loads_no_heavy_library() -> None:
    heavy = ("torch", "ray", "textattack", "mlflow", "datasets")
    code = f"import sys, flat_dist.data.datasets; print([name for name in {heavy} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
