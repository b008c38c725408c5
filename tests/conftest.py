"""What many tests share: the offline resources, real sentences, and a small victim trained on them."""

import os
import signal
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when the Hugging Face libraries are imported
if "PYTEST_XDIST_WORKER" in os.environ:  # tests run beside others, which more threads would only keep waiting
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pyarrow as pa
import pytest
import torch
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from transformers import BertConfig, BertForMaskedLM, BertModel, BertTokenizerFast

from flat_dist.config.schema import DataConfig, ModelConfig
from flat_dist.data import datasets
from flat_dist.data.batches import encode_clean
from flat_dist.data.encoder import Encoder
from flat_dist.data.preprocessing import Vocabulary, tokenize
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models.checkpoint import Checkpoint
from flat_dist.models.vectors import initial_vectors
from flat_dist.resources.assets import Assets, prepare
from flat_dist.runtime import interrupts
from flat_dist.storage.folder import Folder
from flat_dist.tracking import database

hypothesis_settings.register_profile("no clock", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("no clock")  # a busy machine fails no test


def hear_interrupts() -> None:
    """For `preexec_fn`: a test run in the background ignores Ctrl-C, and its child processes would inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def no_interrupt_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test is like a new process: an interrupt that an earlier test caught does not count, and the signal handlers
    of a command that ran in this process are gone. One of them ends the process."""
    monkeypatch.setattr(interrupts, "_interrupted", False)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "good", "bad", "fine", "film", "is", ".", "##ness", "##s"]
"""A WordPiece vocabulary: `goodness` and `films` are two pieces each."""


@pytest.fixture(scope="session")
def assets() -> Assets:
    return prepare()


@pytest.fixture(scope="session")
def sentences(assets: Assets) -> datasets.Dataset:
    """Film reviews."""
    return datasets.load(DataConfig(name="rotten_tomatoes_sample"))


def train_victim(sentences: datasets.Dataset, min_frequency: int = 0, **settings: Any) -> Checkpoint:
    """A model after a few steps on 640 sentences: often right, easily fooled."""
    config = ModelConfig(**settings)
    train = sentences.train.slice(0, 640)
    encoder = Encoder(Vocabulary.build((tokenize(text) for text in train["text"].to_pylist()), min_frequency), 50)
    torch.manual_seed(0)
    model = checkpoints.build(config, len(encoder.vocabulary), len(sentences.label_names))
    vectors, _ = initial_vectors(config, encoder.vocabulary.words, 0)
    model.embedding.weight.data.copy_(torch.from_numpy(vectors))
    examples = encode_clean(train, encoder)
    optimizer = torch.optim.Adam(model.parameters(), 0.003)
    for start in list(range(0, 640, 32)) * 3:
        batch = examples.batch(range(start, start + 32))
        loss = torch.nn.functional.cross_entropy(model(batch.ids_BT, batch.real_BT).logits_BC, batch.labels_B)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return Checkpoint(model.eval(), config, encoder, sentences.label_names)


@pytest.fixture(scope="session")
def victim(sentences: datasets.Dataset, tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """A small CNN."""
    folder = Folder(tmp_path_factory.mktemp("victim"))
    checkpoints.save(train_victim(sentences, kernels=16), folder)
    return folder


@pytest.fixture(scope="session")
def examples(sentences: datasets.Dataset) -> pa.Table:
    return datasets.sample(sentences.test, 22, seed=5)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Attack workers use one thread, with which a row's result does not depend on the rest of its batch."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> BertTokenizerFast:
    """A tokenizer of `PIECES`."""
    path = tmp_path_factory.mktemp("tokenizer") / "vocab.txt"
    path.write_text("\n".join(PIECES), encoding="utf-8")
    return BertTokenizerFast(str(path))


@pytest.fixture(scope="session")
def encoder_folder(tokenizer: BertTokenizerFast, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder as Hugging Face's libraries save it: a BERT of random weights, and its tokenizer."""
    folder = tmp_path_factory.mktemp("encoder")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(PIECES),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=40,
    )
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def masked_language_model(sentences: datasets.Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A masked language model as Hugging Face's libraries save it: a BERT of random weights, words and characters."""
    folder = tmp_path_factory.mktemp("masked_language_model")
    texts = [*sentences.train["text"].to_pylist(), *sentences.test["text"].to_pylist()]
    words = sorted({word for text in texts for word in text.lower().split() if word.isalpha()})
    characters = sorted(set("".join(words)) | set(string.printable.strip().lower()))
    pieces = ["ing", "ed", "ly", "ness", "s", *characters]
    vocabulary = dict.fromkeys([*PIECES[:5], *characters, *words, *(f"##{piece}" for piece in pieces)])
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        initializer_range=0.2,
    )
    BertForMaskedLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def mlflow_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database as MLflow makes it, to copy: making one takes seconds."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    database.prepare(path, print)
    return path
