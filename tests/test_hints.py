"""What a dataset, or a result, has that would mislead."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from flat_dist.config.schema import DataConfig
from flat_dist.data import datasets
from flat_dist.data.datasets import Dataset, table
from flat_dist.data.examples import Example
from flat_dist.data.hints import dataset_hints
from flat_dist.data.shards import Record, to_table, write_manifest, write_shard
from flat_dist.evaluation.result import AttackedModel, Result
from flat_dist.models.artifact import ModelArtifact
from flat_dist.pipeline import experiment
from flat_dist.pipeline.experiment import ExperimentResults
from flat_dist.storage.folder import Folder
from flat_dist.storage.stage import Artifact


def dataset(**splits: list[tuple[str, int]]) -> Dataset:
    """Splits that are not given hold texts of their own."""
    tables: dict[str, pa.Table] = {}
    for split in ("train", "dev", "test"):
        rows = splits.get(split, [(f"{split} {word}", label) for label, word in enumerate(("bad", "good"))])
        tables[split] = table(split, [Example(*row) for row in rows])
    return Dataset(**tables, label_names=("negative", "positive"), source="a test")


def test_real_sentences_give_no_hints(sentences: Dataset) -> None:
    assert dataset_hints(sentences, 50) == []


def test_hint_about_symbols_that_cleaning_leaves_out(tmp_path: Path) -> None:
    rows = [
        "so \U0001f600 \u2665 good,1",
        "bad\U0001f600,0",
        "5 &euro; less,0",
        "plain caf\xe9 \u2013 \u201cfine\u201d ...,1",
    ]
    path = tmp_path / "a.csv"
    path.write_text("\n".join(["text,label", *rows]), encoding="utf-8")
    config = DataConfig(train=str(path), dev=str(path), test=str(path))
    hint, *_ = dataset_hints(datasets.load(config), 50)
    assert hint.startswith(
        "hint: 9 of 12 texts have emoji or other symbols (\U0001f600 \u2665 \u20ac), which cleaning leaves out"
    )
    assert "--data.cleaning no" in hint
    written = dataset_hints(datasets.load(replace(config, cleaning="no")), 50)
    assert not any("emoji" in line for line in written)
    path.write_text("text,text_pair,label\na film,good \u2605,1\nbad,bad,0\n", encoding="utf-8")
    assert (
        "3 of 6 texts have emoji" in dataset_hints(datasets.load(replace(config, text_pair_column="text_pair")), 50)[0]
    )


def test_hint_about_cut_texts() -> None:
    long = [("a b c d e", 0), ("a b c d f", 1)]
    assert dataset_hints(dataset(train=long), 4) == [
        "hint: all 2 training texts are longer than --data.max-length 4, so their ends are not read; the longest "
        "has 5 words"
    ]
    assert dataset_hints(dataset(train=long), 5) == []
    many = [(f"a b c d {n}", n % 2) for n in range(19)]
    assert "19 of 20 training texts" in dataset_hints(dataset(train=[*many, ("a", 1)]), 4)[0]
    assert dataset_hints(dataset(train=[*many[:8], ("a", 1), ("b", 0)]), 4) == []  # the minority of a split
    assert "all 2 test texts are longer" in dataset_hints(dataset(test=long), 4, "test")[0]


def test_hint_about_training_texts_in_other_splits() -> None:
    train = [("a", 0), ("b", 1), ("c", 1)]
    found = dataset_hints(dataset(train=train, dev=[("a", 0), ("d", 1)], test=[("c", 1), ("c", 1)]), 50)
    assert [line.partition(", ")[0] for line in found] == [
        "hint: 1 of 2 dev texts are also training texts",
        "hint: all 2 test texts are also training texts",
    ]


def test_hint_about_texts_with_two_labels() -> None:
    train = [("a", 0), ("b", 1), ("a", 1), ("a", 0), ("c", 0), ("c", 0)]
    assert dataset_hints(dataset(train=train), 50) == [
        "hint: 1 of 3 different training texts have two labels, such as 'a': negative and positive"
    ]


def test_hint_about_a_dominant_class() -> None:
    train = [(f"text {n}", int(n == 7)) for n in range(20)]
    assert "hint: 19 of 20 training texts are of the class negative" in dataset_hints(dataset(train=train), 50)[0]


def shards(folder: Folder, scores: list[list[float]]) -> Folder:
    records = [Record(f"test-{n}", n % 2, "a film", "a film", "failed", (), num_queries=1) for n in range(len(scores))]
    write_manifest(folder, [write_shard(folder, 0, to_table(records, scores, scores, 0, {}))], {}, {})
    return folder


def attacked_model(name: str, victim: Folder, shards: Folder) -> AttackedModel:
    return AttackedModel(ModelArtifact(victim, name, model_name=name, round=2), "textfooler", Artifact(shards, name))


def test_a_model_that_predicts_one_class(victim: Folder, tmp_path) -> None:
    one, both = [[0.1, 0.9]] * 12, [[0.1, 0.9]] * 11 + [[0.8, 0.2]]
    attacked = [
        attacked_model("flat", victim, shards(Folder(tmp_path / "one"), one)),
        attacked_model("base", victim, shards(Folder(tmp_path / "both"), both)),
        attacked_model("few", victim, shards(Folder(tmp_path / "few"), one[:4])),
    ]
    said = experiment.hints(ExperimentResults(results=[], attacked=attacked, explained=[]))
    assert said[1].startswith("hint: base, textfooler: none of 12 attacks succeeded: ")
    assert [said[0], *said[2:]] == [
        "hint: flat predicts positive for all 12 texts: it has not learned the classes, and its after-attack accuracy "
        "is not reported, because no attack changes its predictions"
    ]


@pytest.mark.parametrize(("alone", "warned"), [(0.223, True), (0.054, True), (0.053, False), (None, False)])
def test_robustness_that_is_rounding(alone: float | None, warned: bool) -> None:
    own = Result("flat", 1, "pwws", False, 0.73, 0.033, 0.9, 99.0, 0.1, 300, {}, alone, 0.78, 0.9)
    said = experiment.hints(ExperimentResults(results=[own], attacked=[], explained=[]))
    assert len(said) == warned
    if alone == 0.223:
        assert said[0].startswith(
            "hint: flat, pwws: after-attack accuracy is 22.3 % if the attack sees probabilities, but 3.3 % if it also "
            "sees margins; 78 % of the texts"
        )


def test_scores_that_disagree_without_saturation_are_not_said_to_be_rounding() -> None:
    own = Result("flat", 1, "pwws", False, 0.9, 0.238, 0.9, 99.0, 0.1, 21, {}, 0.286, 0.0, 0.9)
    (said,) = experiment.hints(ExperimentResults(results=[own], attacked=[], explained=[]))
    assert said.endswith("28.6 % if the attack sees probabilities, but 23.8 % if it also sees margins")
