"""Pairs of sentences through a whole run on Ray: training, attacks, attributions, and the report."""

from pathlib import Path
from typing import Any

import pytest

from flat_dist.data.datasets import Dataset
from flat_dist.data.sentence_pairs import SEPARATOR
from flat_dist.data.shards import read_shards
from flat_dist.storage.folder import Folder
from tests.pipeline.conftest import Command, printed
from tests.sentence_pairs import pairs_of, save_word_encoder, write_files

pytestmark = pytest.mark.ray

TRAIN = """
--preset minilm --model.name encoder --data.text-pair-column text_pair --data.max-length 64 --hardware cpu
--training.kinds base flat --training.adversaries both --training.epochs 8 --training.epochs-per-round 1
--training.learning-rate 0.003 --training.batch-size 8
--attack.sample 6 --attack.workers 1 --attack.max-queries 400 --evaluation.attacks pwws --evaluation.sample 6
--evaluation.scores probabilities --evaluation.ig-pairs 3 --evaluation.ig-steps 8 --evaluation.lime-pairs 2
--evaluation.lime-samples 20 --tracking.no-enabled --run-name pairs --json
"""


def attacked_texts(storage: Path, pattern: str) -> list[dict[str, Any]]:
    """The rows of all attacks in folders of a name."""
    return [row for path in sorted(storage.glob(f"stages/{pattern}")) for row in read_shards(Folder(path)).to_pylist()]


def test_flat_is_trained_on_pairs_and_reported(flat_dist: Command, sentences: Dataset, tmp_path: Path) -> None:
    (tmp_path / "encoder").mkdir()
    encoder = save_word_encoder(sentences, tmp_path / "encoder")
    pairs, storage = pairs_of(sentences, 64), tmp_path / "runs"
    data = write_files(pairs, tmp_path / "data")
    options = ["--model.encoder", str(encoder), "--data.folder", str(data), "--storage", str(storage)]
    done = flat_dist("train", *TRAIN.split(), *options)
    assert "pairs of sentences: the first one is fixed, the second one is attacked and explained" in done.stderr
    rows = {row["training"]: row for row in printed(done)["results"]}
    assert set(rows) == {"base", "flat"}
    for row in rows.values():
        assert (row["attack"], row["n"]) == ("pwws", 6) and 0 <= row["after_attack_accuracy"] <= 1
        assert set(row["interpretations"]) == {"ig", "lime"}
    known = {text for name in ("train", "test") for text in getattr(pairs, name)["text"].to_pylist()}
    for attack in ("textfooler", "pwws"):  # on training and test texts against base; on test texts against both
        found = attacked_texts(storage, f"attack-{attack}-*")
        assert len(found) == 12 and any(row["swaps"] for row in found)
        for row in found:
            first, second = row["original_text"].split(SEPARATOR)
            kept, changed = row["perturbed_text"].split(SEPARATOR)
            assert row["original_text"] in known and row["status"] != "error"
            assert kept == first and (changed != second) == bool(row["swaps"])
    assert len([*storage.glob("stages/explain-*")]) == 4  # two models, two methods
    assert "| pwws* (unseen) | flat |" in (storage / "pairs" / "results.md").read_text(encoding="utf-8")
    page = (storage / "pairs" / "report" / "index.html").read_text(encoding="utf-8")
    assert any(row["original_text"].split(SEPARATOR)[0] in page for row in found)
