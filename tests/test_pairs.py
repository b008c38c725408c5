"""Original/adversarial pairs of a user, and those that TextAttack's log holds."""

from pathlib import Path

import pytest
import torch

from flat_dist.config.errors import UserError
from flat_dist.config.schema import DataConfig
from flat_dist.data.pairs import check_data_options, read_pairs
from flat_dist.pipeline import evaluation

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


def test_the_log_that_textattack_writes_is_read(tmp_path: Path, assets: object) -> None:
    from flat_dist.resources import textattack_setup

    textattack_setup.activate(assets)
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
    assert evaluation.pairs_source(pairs, NAMES).described == f"{path} (without 3 bad rows)"


def test_columns_that_are_missing_are_named_without_options_that_have_no_effect(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no column 'original' among text, label") as caught:
        read_pairs(write(tmp_path, "text,label\na,1\n"), NAMES)
    assert "--data" not in str(caught.value)
    assert "original_text, perturbed_text, ground_truth_output" in str(caught.value)


def test_options_of_the_data_that_have_no_effect_are_refused() -> None:
    check_data_options(DataConfig(drop_bad_rows=True))
    with pytest.raises(UserError, match=r"--data.text-column has no effect with --pairs-file"):
        check_data_options(DataConfig(text_column="original_text"))
