"""Folders of encoders as people save them: what is refused before any work, and that none of their code is run."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import AutoTokenizer, BertForMaskedLM, BertModel

from flat_dist.config.errors import UserError
from flat_dist.config.schema import ModelConfig
from flat_dist.models import encoders


def without_tokenizer(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"):
        (folder / name).unlink(missing_ok=True)


def with_one_piece_more(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["zorblax"])
    tokenizer.save_pretrained(folder)


def half_downloaded(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def of_another_architecture(folder: Path) -> None:
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {"num_hidden_layers": 3}))


def broken_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text('{"version": 1}')


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (without_tokenizer, "has no tokenizer: save it beside the weights"),
        (with_one_piece_more, r"the tokenizer of .* has 15 pieces, the encoder 14 embeddings"),
        (half_downloaded, "cannot load the encoder"),
        (of_another_architecture, r"lacks 16 of the encoder's weights, such as encoder.layer.2"),
        (broken_tokenizer, "cannot load the encoder"),
    ],
)
def test_a_folder_is_checked_before_any_work(
    harm: Callable[[Path], None], message: str, encoder_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "encoder"
    shutil.copytree(encoder_folder, folder)
    model = ModelConfig(name="encoder", encoder=str(folder))
    encoders.check(model)
    harm(folder)
    with pytest.raises(UserError, match=message) as caught:
        encoders.check(model)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["bert", "unheard-of"])
def test_code_in_a_folder_is_never_run(
    kind: str, encoder_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "encoder"
    shutil.copytree(encoder_folder, folder)
    (folder / "theirs.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass C: pass\n")
    settings = json.loads((folder / "config.json").read_text())
    settings |= {"model_type": kind, "auto_map": dict.fromkeys(("AutoConfig", "AutoModel"), "theirs.C")}
    (folder / "config.json").write_text(json.dumps(settings))
    monkeypatch.setattr(sys, "stdin", None)  # whoever asks fails
    model = ModelConfig(name="encoder", encoder=str(folder))
    if kind == "bert":  # the library's own class does
        encoders.check(model)
    else:
        with pytest.raises(UserError, match=r"needs its own code .* which is never run"):
            encoders.check(model)
    assert not (tmp_path / "ran").exists()


def test_a_pooler_may_be_missing(encoder_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(encoder_folder, tmp_path / "encoder")
    BertForMaskedLM(BertModel.from_pretrained(encoder_folder).config).save_pretrained(tmp_path / "encoder")
    encoders.check(ModelConfig(name="encoder", encoder=str(tmp_path / "encoder")))


def test_an_empty_name_is_refused() -> None:
    with pytest.raises(UserError, match=r"--model.encoder is empty"):
        encoders.check(ModelConfig(name="bert", encoder=" "))
