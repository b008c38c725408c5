"""Pairs of sentences for tests, made of film reviews, and a small model that reads them."""

import csv
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import torch
from transformers import BertConfig, BertModel, BertTokenizerFast

from flat_dist.config.schema import Config, DataConfig, ModelConfig
from flat_dist.data.datasets import SCHEMA, Dataset
from flat_dist.data.sentence_pairs import join, split
from flat_dist.models.checkpoint import Checkpoint
from flat_dist.models.factory import initial

LABELS = ("agree", "differ")

FIXED_WORDS = 6
"""Words of the first sentence."""


def pairs_of(sentences: Dataset, count: int = 200) -> Dataset:
    """The first words of each sentence with one of the two sentences after it: whether both are of the same class.

    The classes of the reviews take turns, so half of the pairs agree.
    """
    splits = {name: _pairs(getattr(sentences, name).slice(0, count)) for name in ("train", "dev", "test")}
    return replace(sentences, **splits, label_names=LABELS, pairs=True)


def _pairs(table: pa.Table) -> pa.Table:
    rows = table.to_pylist()
    others = [rows[(number + 1 + number // 2 % 2) % len(rows)] for number in range(len(rows))]
    joined = [
        {
            "example_id": one["example_id"],
            "text": join(" ".join(one["text"].split()[:FIXED_WORDS]), other["text"]),
            "label": int(one["label"] != other["label"]),
        }
        for one, other in zip(rows, others, strict=True)
    ]
    return pa.Table.from_pylist(joined, schema=SCHEMA)


def write_csv(table: pa.Table, path: Path) -> None:
    """Pairs as a file with the columns text, text_pair and label."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "text_pair", "label"])
        for row in table.to_pylist():
            writer.writerow([*(split(row["text"]) or ()), LABELS[row["label"]]])


def write_files(pairs: Dataset, folder: Path) -> Path:
    """A folder with the files of the splits."""
    folder.mkdir(exist_ok=True)
    for name in ("train", "dev", "test"):
        write_csv(getattr(pairs, name), folder / f"{name}.csv")
    return folder


def save_word_encoder(sentences: Dataset, folder: Path) -> Path:
    """A small BERT of random weights that knows the words of the sentences, as Hugging Face's libraries save it."""
    texts = [*sentences.train["text"].to_pylist(), *sentences.test["text"].to_pylist()]
    words = sorted({word for text in texts for word in text.split()})
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]))
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words) + 5,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=96,
        initializer_range=0.3,
    )
    BertModel(config).save_pretrained(folder)
    return folder


def random_pair_model(pairs: Dataset, encoder: Path, max_length: int = 64, masked: bool = False) -> Checkpoint:
    """A model of random weights: small changes of a pair change its class."""
    config = Config(
        model=ModelConfig(name="encoder", encoder=str(encoder), sample_masks=False),
        data=DataConfig(max_length=max_length),
    )
    checkpoint, _ = initial(config, pairs, masked)
    checkpoint.model.eval()
    ids = [checkpoint.encoder.encode(text) for text in pairs.train["text"].to_pylist()[:64]]
    with torch.no_grad():  # both classes are predicted, and no probability is 0 or 1
        checkpoint.model.output.weight.mul_(8)
        margins_N = checkpoint.predict_margins(ids)[:, 1]
        checkpoint.model.output.bias[1] -= margins_N.median()
    return checkpoint
