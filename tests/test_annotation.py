"""The blind sheet for people: what it hides, how it is read back, and agreement against scikit-learn."""

import csv
import json
import random
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pytest
from sklearn.metrics import cohen_kappa_score

from flat_dist.config.errors import UserError
from flat_dist.data.shards import Record, Swap, to_table, write_manifest, write_shard
from flat_dist.evaluation.annotation import QUESTIONS, AnnotationPair, cohen_kappa, draw, judge
from flat_dist.evaluation.annotation_sheet import COLUMNS, read_sheets, write_sheet
from flat_dist.evaluation.result import AttackedModel
from flat_dist.models.artifact import ModelArtifact
from flat_dist.pipeline import sheets
from flat_dist.pipeline.experiment import ExperimentResults
from flat_dist.report.annotation_table import annotation_summary, annotation_table, kappa_table
from flat_dist.storage.folder import Folder
from flat_dist.storage.stage import Artifact

NAMES = ("negative", "positive")


def attacked(folder: Path, model: str, attack: str, count: int, status: str = "successful") -> AttackedModel:
    """Texts that say nothing about the model, some of them successfully attacked."""
    word, swaps = first_word(model, attack), (Swap(0, "text", "x"),)
    records = [
        Record(f"test-{n}", n % 2, f"text number {n}", f"{word} number {n}", status, swaps) for n in range(count)
    ]
    place = Folder(folder / f"{model}-{attack}")
    scores = [[0.5, 0.5]] * count
    write_manifest(place, [write_shard(place, 0, to_table(records, scores, scores, 0, {}))], {}, {})
    return AttackedModel(ModelArtifact(place, "0" * 16, model_name=model), attack, Artifact(place, "0" * 16))


def first_word(model: str, attack: str) -> str:
    return {("base", "pwws"): "tome", ("base", "textfooler"): "tract", ("flat", "pwws"): "copy"}[model, attack]


@pytest.fixture
def groups(tmp_path: Path) -> list[AttackedModel]:
    return [attacked(tmp_path, *name, 40) for name in (("base", "pwws"), ("base", "textfooler"), ("flat", "pwws"))]


def test_pairs_are_drawn_in_turn_from_each_attack_on_each_model(groups: list[AttackedModel], tmp_path: Path) -> None:
    pairs = draw(groups, NAMES, 30, seed=3)
    counts = [sum((one.model, one.attack) == (each.model_name, each.attack) for one in pairs) for each in groups]
    assert counts == [10, 10, 10]
    assert draw(groups, NAMES, 30, seed=3) == pairs != draw(groups, NAMES, 30, seed=4)
    assert {pair.pair for pair in draw(groups, NAMES, 15, seed=3)} <= {pair.pair for pair in pairs}
    assert len(draw(groups, NAMES, 500, seed=3)) == 120
    # The order says nothing about the model, and either side may be the adversarial one.
    assert [pair.model for pair in pairs] != sorted(pair.model for pair in pairs)
    assert 5 < sum(pair.side == "a" for pair in pairs) < 25
    failed = attacked(tmp_path / "failed", "base", "pwws", 5, "failed")
    assert draw([failed], NAMES, 5, seed=3) == []


def test_a_pair_that_two_models_share_is_drawn_once(groups: list[AttackedModel]) -> None:
    assert len(draw([groups[0], groups[0]], NAMES, 100, seed=3)) == 40


def test_the_sheet_is_blind(groups: list[AttackedModel], tmp_path: Path) -> None:
    folder = Folder(tmp_path / "annotation")
    said: list[str] = []
    found = ExperimentResults(results=[], attacked=groups, explained=[])
    sheets.write(folder, found, NAMES, 20, 3, said.append)
    content = (tmp_path / "annotation/sheet-20.csv").read_text()
    for secret in ("base", "flat", "pwws", "textfooler", "negative", "positive", "test-", "original", "adversarial"):
        assert secret not in content
    rows = list(csv.DictReader(content.splitlines()))
    key = {row["pair"]: row for row in csv.DictReader((tmp_path / "annotation/key-20.csv").read_text().splitlines())}
    assert len(rows) == len(key) == 20 and tuple(rows[0]) == COLUMNS
    for row in rows:
        known = key[row["pair"]]
        other = "b" if known["side"] == "a" else "a"
        assert row[f"text_{known['side']}"] == known["adversarial"] and row[f"text_{other}"] == known["original"]
        assert not any(row[question] for question in QUESTIONS)
        assert known["label"] == NAMES[int(known["example_id"][-1]) % 2]
    assert said == [
        f"{folder.uri}/sheet-20.csv has 20 pairs: give each person a copy, and read them back with --annotated COPY ..."
    ]
    (tmp_path / "annotation/sheet-20.csv").write_text("filled")
    sheets.write(folder, found, NAMES, 20, 3, said.append)
    assert (tmp_path / "annotation/sheet-20.csv").read_text() == "filled" and "kept as it is" in said[1]
    sheets.write(folder, found, NAMES, 500, 3, said.append)
    assert "has 120 pairs, all that there are instead of 500" in said[2]


def test_no_pair_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--annotate: there is no pair to annotate"):
        write_sheet(Folder(tmp_path), [], 5)


KEY = [
    AnnotationPair("p0", "a", "b", "a", "base", "pwws", "test-0", "negative"),
    AnnotationPair("p1", "c", "d", "b", "base", "pwws", "test-1", "positive"),
    AnnotationPair("p2", "e", "f", "a", "flat", "textfooler", "test-2", "positive"),
    AnnotationPair("p3", "g", "h", "b", "flat", "pwws", "test-3", "positive"),
]


def filled(path: Path, answers: Sequence[str], separator: str = ",") -> str:
    lines = [separator.join(COLUMNS)]
    lines += [separator.join([f"p{n}", "x", "y", *given.split()]) for n, given in enumerate(answers)]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    write_sheet(Folder(tmp_path / "run"), KEY, 4)
    return Folder(tmp_path / "run")


def test_a_filled_sheet_is_read_back(folder: Folder, tmp_path: Path) -> None:
    sheet = filled(tmp_path / "one.csv", ["yes no yes", "Y yes no", "NO 1 0", "yes yes yes"], ";")
    found = read_sheets(folder, [sheet])
    assert (found.people, found.all.pairs, found.kappa) == (1, 4, {})
    assert found.all.same_label == 3 / 4
    assert found.all.fluent == 2 / 4  # sides a, b, a, b: no, no, yes, yes
    assert found.all.fluent_originals == 3 / 4  # sides b, a, b, a: yes, yes, no, yes
    assert (found.by_attack["pwws"].pairs, found.by_attack["pwws"].fluent) == (3, 1 / 3)
    assert (found.by_model["flat"].same_label, found.by_model["base"].same_label) == (1 / 2, 1.0)
    assert found.metrics()["annotation/model/flat/same_label"] == 1 / 2
    assert json.dumps(asdict(found))
    table = annotation_table(found)
    assert table.rows[0] == ("all", "4", "75.0", "50.0", "75.0")
    assert [row[0] for row in table.rows] == ["all", "pwws", "textfooler", "against base", "against flat"]
    assert kappa_table(found).rows == () and annotation_table(None).rows == () and annotation_summary(None) == []


def test_two_people_are_compared_where_both_answered(folder: Folder, tmp_path: Path) -> None:
    one = filled(tmp_path / "one.csv", ["yes no yes", "no yes no", "no yes yes", "yes yes yes"])
    two = filled(tmp_path / "two.csv", ["yes no no", "yes yes no", "no no yes"])
    found = read_sheets(folder, [one, two])
    assert (found.people, found.both) == (2, {"same_label": 3, "fluent": 6})
    assert found.all.same_label == 4 / 7
    assert found.kappa["same_label"] == pytest.approx(cohen_kappa_score([1, 0, 0], [1, 1, 0]))
    assert found.kappa["fluent"] == pytest.approx(cohen_kappa_score([0, 1, 1, 0, 1, 1], [0, 0, 1, 0, 0, 1]))
    assert [row[0] for row in kappa_table(found).rows] == ["same label", "fluent"]
    assert len(annotation_summary(found)) == 2
    three = read_sheets(folder, [one, two, one])
    assert three.both["same_label"] == 3 + 4 + 3
    assert three.kappa["same_label"] == pytest.approx((2 * found.kappa["same_label"] + 1) / 3)


@pytest.mark.parametrize("seed", range(20))
def test_kappa_is_scikit_learns(seed: int) -> None:
    draws = random.Random(seed)
    answers = [(draws.random() < 0.7, draws.random() < 0.6) for _ in range(draws.randrange(2, 60))]
    mine, theirs = zip(*answers, strict=True)
    if len({*mine, *theirs}) > 1:
        assert cohen_kappa(answers) == pytest.approx(cohen_kappa_score(mine, theirs))


def test_kappa_is_undefined_without_answers_or_without_any_difference() -> None:
    assert cohen_kappa([]) is None
    assert cohen_kappa([(True, True)] * 5) is None
    assert judge({}, [{}, {}]).kappa == {"same_label": None, "fluent": None}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("pair,text_a,text_b,same_label,fluent_a\np0,a,b,yes,no\n", "has no column 'fluent_b' among pair, text_a"),
        (",".join(COLUMNS) + "\np9,a,b,yes,no,no\n", "sheet.csv:2: pair 'p9' is not in this evaluation's sheet"),
        (",".join(COLUMNS) + "\np0,a,b,yes,no,no\np0,a,b,yes,no,no\n", "sheet.csv:3: pair p0 is there twice"),
        (",".join(COLUMNS) + "\np0,a,b,maybe,no,no\n", "sheet.csv:2: same_label is 'maybe': write yes or no"),
        (",".join(COLUMNS) + "\np0,a,b,,,\n", "sheet.csv has no answer: write yes or no below"),
        ("", "sheet.csv is empty"),
    ],
)
def test_a_bad_sheet_is_one_sentence(content: str, said: str, folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "sheet.csv").write_text(content)
    with pytest.raises(UserError) as caught:
        read_sheets(folder, [str(tmp_path / "sheet.csv")])
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_sheet_that_is_missing_or_has_no_key_is_one_sentence(folder: Folder, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere.csv does not exist"):
        read_sheets(folder, [str(tmp_path / "nowhere.csv")])
    with pytest.raises(UserError, match="has no key of a sheet"):
        read_sheets(Folder(tmp_path / "elsewhere"), ["x.csv"])
