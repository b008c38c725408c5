"""A classifier of Hugging Face and a model behind HTTP, attacked and evaluated with the command, as a user would."""

import json
from pathlib import Path

import pytest

from flat_dist.data.datasets import Dataset
from flat_dist.models.endpoint import TOKEN
from tests.own_models import save_bert
from tests.pipeline.conftest import Command
from tests.test_black_box import SECRET, right, server

pytestmark = pytest.mark.ray

DATA = ["--data.name", "rotten_tomatoes_sample", "--hardware", "cpu"]


def test_models_of_two_kinds_are_compared_and_the_token_is_nowhere(
    flat_dist: Command, sentences: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_bert(tmp_path / "bert", sentences.test["text"].to_pylist()[:50], sentences.label_names)
    monkeypatch.setenv(TOKEN, SECRET)  # `local_ray` has it, too
    with server(right) as (address, requests):
        done = flat_dist(
            "evaluate",
            *("--checkpoint", f"bert={folder}", f"service={address}", *DATA, "--storage", str(tmp_path / "runs")),
            *("--attacks", "pwws", "--sample", "6", "--explain", "lime", "--lime-samples", "20", "--lime-pairs", "3"),
            *("--run-name", "both", "--json"),
        )
        asked = len(requests)
    assert done.returncode == 0, done.stderr
    assert asked > 10 and {header for header, _ in requests} == {f"Bearer {SECRET}"}
    cards = {path.stem: json.loads(path.read_text()) for path in (tmp_path / "runs" / "both" / "cards").iterdir()}
    assert {name.partition("-")[0] for name in cards} == {"bert", "service"}
    architectures = {one["model"]["architecture"] for one in cards.values()}
    assert architectures == {"BertForSequenceClassification", "http"}
    secret = SECRET.encode()
    assert secret not in (done.stdout + done.stderr).encode()
    holders = [path for path in tmp_path.rglob("*") if path.is_file() and secret in path.read_bytes()]
    assert holders == []


def test_other_classes_are_one_sentence_with_both_lists(flat_dist: Command, sentences: Dataset, tmp_path: Path) -> None:
    folder = save_bert(tmp_path / "bert", sentences.test["text"].to_pylist()[:5], ("spam", "ham"))
    done = flat_dist("attack", "--checkpoint", str(folder), *DATA, "--storage", str(tmp_path / "runs"))
    assert done.returncode == 2
    assert "has the classes spam, ham, but" in done.stderr and "has negative, positive" in done.stderr
    assert "Traceback" not in done.stderr
