"""Adversarial texts of a user, those in the logs that TextAttack writes, and AdvGLUE's."""

import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from flat_dist.config.errors import UserError
from flat_dist.config.schema import DataConfig
from flat_dist.data.pairs import check_data_options, read_pairs, read_sets
from flat_dist.pipeline import adversarial_sets
from flat_dist.resources import textattack_setup
from flat_dist.resources.assets import Assets

NAMES = ("negative", "positive")

LOG = """original_text,perturbed_text,original_score,ground_truth_output,num_queries,result_type
a [[fine]] film,a [[nice]] film,0.1,1.0,12,Successful
"a [[dull]], [[long]] film","a [[slow]], [[lengthy]] film",0.2,0.0,30,Failed
a film,a film,0.9,1.0,1,Skipped
यह [[कि]]ताब है,यह [[की]]ताब है,0.1,0.0,12,Successful
"""


def write(folder: Path, content: str) -> Path:
    path = folder / "pairs.csv"
    path.write_text(content, encoding="utf-8")
    return path


def test_textattacks_log_is_read(tmp_path: Path) -> None:
    pairs = read_pairs(write(tmp_path, LOG), NAMES)
    originals = ["a fine film", "a dull , long film", "a film", "यह किताब है"]
    assert pairs.originals["text"].to_pylist() == originals
    assert pairs.adversarials == ("a nice film", "a slow , lengthy film", "a film", "यह कीताब है")
    assert pairs.originals["label"].to_pylist() == [1, 0, 1, 0]


@pytest.fixture
def textattack(assets: Assets) -> Any:
    """TextAttack, imported with our resources."""
    textattack_setup.activate(assets)
    return importlib.import_module("textattack")


def logged(textattack: Any, logger: Any, label_names: Sequence[str] | None = None) -> None:
    """Log a successful, a failed and a skipped attack."""
    results = importlib.import_module("textattack.attack_results")

    def found(text: str, output: int) -> Any:
        kind = importlib.import_module("textattack.goal_function_results").ClassificationGoalFunctionResult
        attacked = textattack.shared.AttackedText(text, attack_attrs={"label_names": label_names})
        return kind(attacked, torch.tensor([0.9 - 0.8 * output, 0.1 + 0.8 * output]), output, 0, 0.5, 3, 1)

    original = found("A fine, long film; see it", 1)
    changed = original.attacked_text.replace_words_at_indices([1, 3], ["nice", "movie"])
    adversarial = found(changed.text, 0)
    adversarial.attacked_text = changed
    logger.log_attack_result(results.SuccessfulAttackResult(original, adversarial))
    logger.log_attack_result(results.FailedAttackResult(original, found("A fine, lengthy film; see it", 1)))
    logger.log_attack_result(results.SkippedAttackResult(found("A dull film", 0)))
    logger.flush()


ORIGINAL, ADVERSARIAL = "a fine , long film ; see it", "a nice , long movie ; see it"


@pytest.mark.parametrize("color_method", ["file", None, "html", "ansi"])
def test_every_coloring_of_the_csv_log_is_read(color_method: str | None, tmp_path: Path, textattack: Any) -> None:
    logger = textattack.loggers.CSVLogger(filename=str(tmp_path / "log.csv"), color_method=color_method)
    logged(textattack, logger)
    content = (tmp_path / "log.csv").read_text()
    assert ("movie" in content) and ("[[movie]]" in content) == (color_method == "file")
    pairs = read_pairs(tmp_path / "log.csv", NAMES)
    assert pairs.originals["text"].to_pylist() == [ORIGINAL, ORIGINAL, "a dull film"]
    assert pairs.adversarials == (ADVERSARIAL, "a fine , lengthy film ; see it", "a dull film")
    assert pairs.layout == "TextAttack's CSV log" and pairs.name == "log"


@pytest.mark.parametrize("color_method", ["file", None, "html", "ansi"])
@pytest.mark.parametrize("label_names", [None, ("neg", "pos"), ("negative", "positive"), ("NEGATIVE", "POSITIVE")])
def test_the_text_log_is_read(
    color_method: str | None, label_names: Sequence[str] | None, tmp_path: Path, textattack: Any
) -> None:
    logger = textattack.loggers.FileLogger(filename=str(tmp_path / "log.txt"), color_method=color_method)
    logged(textattack, logger, label_names)
    logged(textattack, logger, label_names)
    logger.log_sep()
    logger.log_summary_rows([["Number of successful attacks:", "2"]], "Attack Results", "attack_results")
    logger.close()
    pairs = read_pairs(tmp_path / "log.txt", tuple(label_names or NAMES))
    assert pairs.originals["text"].to_pylist() == [ORIGINAL] * 2
    assert pairs.adversarials == (ADVERSARIAL,) * 2
    assert pairs.originals["label"].to_pylist() == [1, 1]
    assert pairs.left_out == {"failed": 2, "skipped": 2}
    assert "without 2 failed results; without 2 skipped results" in pairs.describe()


def test_a_text_log_without_a_successful_attack_is_one_sentence(tmp_path: Path, textattack: Any) -> None:
    path = tmp_path / "log.txt"
    logger = textattack.loggers.FileLogger(filename=str(path), color_method="file")
    logged(textattack, logger)
    logger.close()
    path.write_text(path.read_text()[path.read_text().index("-" * 45 + " Result 2") :])
    with pytest.raises(UserError, match="has no adversarial text, only 1 failed and 1 skipped results"):
        read_pairs(path, NAMES)


def test_a_result_of_a_text_log_that_is_cut_off_names_its_line(tmp_path: Path, textattack: Any) -> None:
    path = tmp_path / "log.txt"
    logger = textattack.loggers.FileLogger(filename=str(path), color_method="file")
    logged(textattack, logger)
    logger.close()
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:3], *lines[5:]]) + "\n")
    with pytest.raises(UserError, match=r"log.txt:1: not a result with two texts"):
        read_pairs(path, NAMES)


def test_advglue_is_read_with_and_without_originals(tmp_path: Path) -> None:
    path = tmp_path / "dev.json"
    row = {"idx": 0, "label": 1, "sentence": "A fine filmm"}
    other = {"mnli": [{"idx": 0, "label": 2, "premise": "a", "hypothesis": "b"}]}
    path.write_text(json.dumps({"sst2": [row, row | {"label": 0}], **other}))
    pairs = read_pairs(path, NAMES)
    assert not pairs.has_originals and pairs.originals["text"].to_pylist() == [None, None]
    assert pairs.adversarials == ("a fine filmm",) * 2 and pairs.originals["label"].to_pylist() == [1, 0]
    path.write_text(json.dumps({"sst2": [row | {"original_sentence": "a fine film", "method": "typo"}]}))
    pairs = read_pairs(path, NAMES)
    assert pairs.has_originals and pairs.originals["text"].to_pylist() == ["a fine film"]
    with pytest.raises(UserError, match="has two classes, but the checkpoint has 3"):
        read_pairs(path, ("a", "b", "c"))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.json", "{}", "has the keys nothing, but not the task sst2"),
        ("a.json", '{"mnli": [], "qqp": []}', "has the keys 'mnli', 'qqp', but not the task sst2 as a list; accepted"),
        ("a.json", '[{"sentence": "a"}]', "has a list, but not the task sst2"),
        (
            "a.json",
            '{"sst2": [{"idx": 1, "sentence": "a"}]}',
            "it has 'idx', 'sentence', but needs sentence and",
        ),
        ("a.json", '{"sst2": [3]}', "sst2 1: it has int"),
        ("a.json", '{"sst2": []}', "has no rows"),
        ("a.json", "{", "is not valid JSON"),
        ("a.txt", "a fine film", "is no text log of TextAttack"),
        ("a.csv", "text,label\na,1\n", "no column 'original' among text, label; accepted are .csv"),
        ("a.csv", "original_text,label\na,1\n", "no column 'original' among original_text, label"),
        ("a.xlsx", "x", "a.xlsx is not a file of adversarial texts; accepted are"),
    ],
)
def test_an_unknown_layout_is_one_sentence(name: str, content: str, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError) as caught:
        read_pairs(tmp_path / name, NAMES)
    assert said in str(caught.value) and name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_sets_need_names_of_their_own(tmp_path: Path) -> None:
    for place in ("one/a.csv", "two/A.csv", "two/worst.csv"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_text("original,adversarial,label\na,b,1\n")
    files = [str(tmp_path / "one/a.csv"), str(tmp_path / "two/A.csv")]
    with pytest.raises(UserError, match="are both called A: rename one"):
        read_sets(files, NAMES)
    with pytest.raises(UserError, match="rename the file"):
        read_sets([str(tmp_path / "two/worst.csv")], NAMES)
    (found,) = read_sets(files[:1], NAMES)
    assert found.name == "a"


def test_the_log_that_textattack_writes_is_read(tmp_path: Path, textattack: Any) -> None:
    from textattack.attack_results import FailedAttackResult, SkippedAttackResult, SuccessfulAttackResult
    from textattack.goal_function_results import ClassificationGoalFunctionResult
    from textattack.loggers import CSVLogger
    from textattack.shared import AttackedText

    def found(text: str, output: int) -> ClassificationGoalFunctionResult:
        scores = torch.tensor([1.0 - output, float(output)])
        return ClassificationGoalFunctionResult(AttackedText(text), scores, output, 0, 0.5, 3, 1)

    logger = CSVLogger(filename=str(tmp_path / "log.csv"))
    original = found("a fine, long film", 1)
    for kind, text, output in (
        (SuccessfulAttackResult, "a nice, long film", 0),
        (FailedAttackResult, "a fine, lengthy film", 1),
        (SkippedAttackResult, "a fine, long film", 1),
    ):
        results = (original,) if kind is SkippedAttackResult else (original, found(text, output))
        logger.log_attack_result(kind(*results))
    logger.flush()
    pairs = read_pairs(tmp_path / "log.csv", NAMES)
    assert pairs.originals["text"].to_pylist() == ["a fine , long film"] * 3
    assert pairs.adversarials == ("a nice , long film", "a fine , lengthy film", "a fine , long film")
    assert pairs.originals["label"].to_pylist() == [1, 1, 1]


def test_bad_pairs_are_named_together_or_dropped(tmp_path: Path) -> None:
    content = "original,adversarial,label\na,b,positive\n,b,positive\na,***,1\na,b,great\nc,d,0\n"
    path = write(tmp_path, content)
    with pytest.raises(UserError) as caught:
        read_pairs(path, NAMES)
    said = str(caught.value)
    assert said.startswith(f"3 bad rows: {path}:3: the text is empty; {path}:4: the text '***' is empty")
    assert f"{path}:5: label 'great' is none of the classes" in said
    pairs = read_pairs(path, NAMES, drop_bad_rows=True)
    assert pairs.originals["text"].to_pylist() == ["a", "c"] and pairs.adversarials == ("b", "d")
    assert pairs.dropped == 3
    assert adversarial_sets.sets_source([pairs], NAMES).described == f"{path} (without 3 bad rows)"


def test_columns_that_are_missing_are_named_without_options_that_have_no_effect(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no column 'original' among text, label") as caught:
        read_pairs(write(tmp_path, "text,label\na,1\n"), NAMES)
    assert "--data" not in str(caught.value)
    assert "original_text, perturbed_text, ground_truth_output" in str(caught.value)


def test_options_of_the_data_that_have_no_effect_are_refused() -> None:
    check_data_options(DataConfig(drop_bad_rows=True))
    with pytest.raises(UserError, match=r"--data.text-column has no effect with --adversarial"):
        check_data_options(DataConfig(text_column="original_text"))
