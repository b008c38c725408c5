"""Train, dev and test drawn from one file."""

import hashlib
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from flat_dist.config.errors import UserError
from flat_dist.config.schema import Config, DataConfig
from flat_dist.data.datasets import Dataset, describe, load
from flat_dist.data.splits import counts_of
from flat_dist.pipeline.plan import plan

SPLITS = ("train", "dev", "test")


def write(path: Path, rows: list[tuple[str, str]]) -> DataConfig:
    pd.DataFrame(rows, columns=["text", "label"]).to_csv(path, index=False)
    return DataConfig(file=str(path))


def rows_of(dataset: Dataset) -> dict[str, list[tuple[str, str]]]:
    """Text and class of each row, by split."""
    return {
        split: [(row["text"], dataset.label_names[row["label"]]) for row in getattr(dataset, split).to_pylist()]
        for split in SPLITS
    }


def message(config: DataConfig) -> str:
    with pytest.raises(UserError) as caught:
        load(config)
    assert "\n" not in str(caught.value)
    return str(caught.value)


ROWS = [(f"film {number}", "ab"[number % 3 == 0]) for number in range(60)]
"""20 texts of class b, 40 of class a."""


def test_the_hashes_of_the_texts_decide(tmp_path: Path) -> None:
    found = rows_of(load(write(tmp_path / "all.csv", ROWS)))
    for name, ends in (("a", (32, 36, 40)), ("b", (16, 18, 20))):
        texts = sorted(
            (text for text, label in ROWS if label == name), key=lambda t: hashlib.sha256(t.encode()).digest()
        )
        for split, start, end in zip(SPLITS, (0, *ends[:2]), ends, strict=True):
            assert [text for text, label in found[split] if label == name] == texts[start:end]
    for rows in found.values():
        assert rows == sorted(rows, key=lambda row: hashlib.sha256(row[0].encode()).digest())


def test_the_order_of_the_rows_and_the_format_do_not_matter(tmp_path: Path) -> None:
    first = load(write(tmp_path / "all.csv", ROWS))
    shuffled = [*ROWS]
    random.Random(3).shuffle(shuffled)
    assert load(write(tmp_path / "all.csv", shuffled)).fingerprint == first.fingerprint
    pd.DataFrame(shuffled, columns=["text", "label"]).to_parquet(tmp_path / "other.parquet")
    assert load(DataConfig(file=str(tmp_path / "other.parquet"))).fingerprint == first.fingerprint
    assert load(replace(write(tmp_path / "all.csv", ROWS), split=(0.5, 0.2, 0.3))).fingerprint != first.fingerprint


def test_equal_texts_are_in_one_split(tmp_path: Path) -> None:
    repeated = [(text.upper(), label) for text, label in ROWS for _ in range(3)]  # equal once they are cleaned
    other = [("Film  1", "b"), ("film 1", "b")]  # film 1 is of class a
    found = rows_of(load(write(tmp_path / "all.csv", [*ROWS, *other, *repeated])))
    assert Counter(row for rows in found.values() for row in rows) == Counter(
        [*ROWS * 4, ("film 1", "b"), ("film 1", "b")]
    )
    texts = [{text for text, _ in rows} for rows in found.values()]
    assert [len(one) for one in texts] == [48, 6, 6]
    assert len(set().union(*texts)) == 60
    assert rows_of(load(write(tmp_path / "all.csv", [*repeated, *other, *ROWS]))) == found


def test_rare_classes_are_in_each_split(tmp_path: Path) -> None:
    rows = [*ROWS, *((f"rare {number}", "c") for number in range(3))]
    found = rows_of(load(write(tmp_path / "all.csv", rows)))
    assert [sum(label == "c" for _, label in one) for one in found.values()] == [1, 1, 1]
    said = message(write(tmp_path / "all.csv", [*ROWS, ("rare", "c"), ("rarer", "c"), ("RARE", "c")]))
    assert said.startswith(
        f"{tmp_path}/all.csv has 2 different texts of the class c, but train, dev, test need one each"
    )


@pytest.mark.parametrize(
    ("n", "shares", "expected"),
    [
        (10, (0.8, 0.1, 0.1), [8, 1, 1]),
        (3, (0.8, 0.1, 0.1), [1, 1, 1]),
        (4, (0.8, 0.1, 0.1), [2, 1, 1]),
        (19, (0.8, 0.1, 0.1), [15, 2, 2]),  # 15.2, 1.9, 1.9
        (7, (0.5, 0.25, 0.25), [3, 2, 2]),  # 3.5, 1.75, 1.75
        (4, (0.05, 0.05, 0.9), [1, 1, 2]),
        (100, (0.29, 0.71 - 0.01, 0.01), [29, 70, 1]),
    ],
)
def test_shares_are_rounded(n: int, shares: tuple[float, ...], expected: list[int]) -> None:
    assert counts_of(n, shares) == expected


@pytest.mark.parametrize("n", range(3, 200, 7))
def test_no_other_counts_are_nearer_to_the_shares(n: int) -> None:
    for shares in ((0.8, 0.1, 0.1), (0.6, 0.25, 0.15), (0.02, 0.9, 0.08)):

        def distance(counts: tuple[int, ...], shares: tuple[float, ...] = shares) -> float:
            return sum((count - n * share) ** 2 for count, share in zip(counts, shares, strict=True))

        possible = [(one, two, n - one - two) for one in range(1, n) for two in range(1, n - one)]
        found = tuple(counts_of(n, shares))
        assert found in possible
        assert distance(found) == pytest.approx(min(map(distance, possible)))


def test_what_was_drawn_is_said(tmp_path: Path) -> None:
    rows = [*ROWS, ("", "a")]
    config = write(tmp_path / "all.csv", rows)
    assert f"{tmp_path}/all.csv:62: the text is empty: fix the row" in message(config)
    dataset = load(replace(config, drop_bad_rows=True))
    assert describe(dataset) == [
        "classes: 0 a (32), 1 b (16)",
        "drawn from the file: 48 train / 6 dev / 6 test texts (a 32 / 4 / 4, b 16 / 2 / 2)",
        "dropped 1 bad row",
    ]
    described = f"load {tmp_path}/all.csv, split 0.8 / 0.1 / 0.1 (without 1 bad row): 48 / 6 / 6 texts"
    assert plan(Config(data=config), dataset)[0] == described


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ((0.8, 0.2), "--data.split is 0.8,0.2, but must be three shares, of train, dev, test"),
        ((0.8, 0.2, 0.0), "--data.split is 0.8,0.2,0, but must be shares above 0 that add up to 1"),
        ((0.8, 0.1, 0.2), "--data.split is 0.8,0.1,0.2, but must be shares above 0 that add up to 1"),
        ((float("nan"), 0.5, 0.5), "--data.split is nan,0.5,0.5, but must be shares above 0"),
        ((80, 10, 10), "--data.split is 80,10,10, but must be shares above 0 that add up to 1"),
    ],
)
def test_shares_that_cannot_be_used(tmp_path: Path, split: tuple[float, ...], expected: str) -> None:
    assert expected in message(replace(write(tmp_path / "all.csv", ROWS), split=split))


def test_one_file_is_the_only_source(tmp_path: Path) -> None:
    config = write(tmp_path / "all.csv", ROWS)
    assert "--data.file and --data.folder are both set" in message(replace(config, folder="x"))
    assert "--data.file and --data.train are both set" in message(replace(config, dev="x"))
    assert "--data.file and --data.hf are both set" in message(replace(config, hf="x"))
    assert "--data.split has an effect only with --data.file" in message(DataConfig(split=(0.5, 0.3, 0.2)))
    assert "is a folder: name a file" in message(DataConfig(file=str(tmp_path)))
    assert "all.txt is not a data file" in message(DataConfig(file="all.txt"))
