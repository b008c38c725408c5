"""The sentence encoder against people's judgements: values by hand, and TextAttack's own thresholds."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from flat_dist.benchmarks.sentence_similarity import THRESHOLDS, best_cosine, measure, passing, read_judgements
from flat_dist.config.errors import UserError
from flat_dist.resources import textattack_setup
from flat_dist.resources.assets import Assets

COSINES, SCORES = np.array([0.9, 0.8, 0.7, 0.6, 0.1]), np.array([5.0, 3.0, 4.0, 1.0, 0.0])


def test_what_passes_a_threshold() -> None:
    # 0.9, 0.8 and 0.7 pass; 5.0 and 4.0 mean the same. Isotonic regression pools 3.0 and 4.0 to 3.5.
    assert passing(COSINES, SCORES, 0.7) == {
        "cosine": 0.7,
        "pass": 0.6,
        "same_pass": 1.0,
        "others_pass": 0.333,
        "same_of_passing": 0.667,
        "score_at": 3.5,
    }
    assert passing(COSINES, SCORES, 0.95)["same_of_passing"] is None
    # One wrong pair (0.8) at 0.7, one (0.7) at 0.9, two at 0.8.
    assert best_cosine(COSINES, SCORES) == 0.7


def test_thresholds_are_textattacks(assets: Assets) -> None:
    textattack_setup.activate(assets)
    from textattack.constraints.semantics.sentence_encoders import UniversalSentenceEncoder

    from flat_dist.attack import recipes
    from flat_dist.attack.runner import _tiny
    from flat_dist.attack.victim import Victim
    from flat_dist.resources.masked_language_model_source import tiny
    from flat_dist.resources.table_embedding import TableEmbedding

    resources: Any = recipes.LinguisticResources(assets, "counterfit", "cpu", 1)
    resources.embedding = TableEmbedding({"good": ["fine"]})
    resources.encoder = SimpleNamespace(encode=None)
    resources.masked_language_model = lambda name: tiny(assets)
    for name, threshold in THRESHOLDS.items():
        attack = recipes.build(name, Victim(_tiny()), resources)
        (found,) = (one for one in attack.constraints if isinstance(one, UniversalSentenceEncoder))
        assert (found.metric, found.threshold) == (threshold.metric, threshold.value)
    assert THRESHOLDS["textfooler"].cosine == pytest.approx(np.cos(0.5), abs=1e-6)  # 1 - 0.5 / pi


def test_the_encoder_agrees_with_judgements(assets: Assets, tmp_path: Path) -> None:
    from flat_dist.attack.engine.sentence_encoder import SentenceEncoder

    file = tmp_path / "judged.csv"
    pairs = [
        ("5.0", "A dog runs over the grass.", 'A dog is running across the "lawn.'),
        ("2.0", "A dog runs over the grass.", "A dog sleeps in the house."),
        ("0.0", "A dog runs over the grass.", "Prices of shares fell on Monday."),
    ]
    lines = [f"main\tnews\t2017\t{number}\t" + "\t".join(pair) for number, pair in enumerate(pairs)]
    file.write_text("\n".join([*lines, lines[0] + "\tanother column"]) + "\n")
    found = measure(SentenceEncoder(assets.sentence_encoder), file)
    assert (found["pairs"], found["spearman"]) == (4, 1.0)
    assert found["thresholds"]["clare"]["others_pass"] < 1


@pytest.mark.parametrize("content", ["one\ttwo\n", "a\tb\tc\td\t5.5\tone\tother\n", "a\tb\tc\td\tmany\tone\tother\n"])
def test_another_file_is_one_sentence(content: str, tmp_path: Path) -> None:
    file = tmp_path / "other.csv"
    file.write_text(content)
    with pytest.raises(UserError, match="is not a file of the STS benchmark"):
        read_judgements(file)
    with pytest.raises(UserError, match="does not exist"):
        read_judgements(tmp_path / "none.csv")
