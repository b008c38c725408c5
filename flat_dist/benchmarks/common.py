"""Victims and texts of the benchmarks, and the comparison of attack engines."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers import AutoTokenizer, BertConfig, BertModel

from flat_dist.attack import limits
from flat_dist.attack.runner import ENGINE, runner_of
from flat_dist.config.errors import UserError
from flat_dist.config.schema import Config
from flat_dist.data import datasets
from flat_dist.data.batches import encode_clean
from flat_dist.data.datasets import Dataset, sample
from flat_dist.data.shards import Example
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models import encoders
from flat_dist.models.checkpoint import Checkpoint
from flat_dist.models.factory import initial
from flat_dist.models.transformer import Transformer
from flat_dist.resources import assets, textattack_setup
from flat_dist.resources.catalogue import sources
from flat_dist.runtime import hardware
from flat_dist.runtime.progress import Display
from flat_dist.storage.folder import Folder
from flat_dist.training.batching import NOTHING, plan_epoch
from flat_dist.training.loop import Loop, TrainingData
from flat_dist.training.optimizer import make_optimizer

EPOCHS = 3
"""Epochs of a victim's training: enough to be correct on most texts."""


@contextmanager
def with_weights(config: Config) -> Iterator[tuple[Config, str]]:
    """The config, and the source of its weights. BERT-base has random weights if the hub cannot be reached."""
    try:
        encoders.check(config.model)
    except UserError:
        if config.model.name != "bert" or config.model.encoder:
            raise
    else:
        transformer = config.model.name in encoders.TRANSFORMERS
        yield config, encoders.source(config.model) if transformer else "from scratch"
        return
    with tempfile.TemporaryDirectory() as folder:
        BertModel(BertConfig()).save_pretrained(folder)
        tokenizer = AutoTokenizer.from_pretrained(assets.prepare().minilm, trust_remote_code=False)
        tokenizer.save_pretrained(folder)  # the same vocabulary
        yield replace(config, model=replace(config.model, encoder=folder)), "random"


def victim(config: Config, dataset: Dataset, folder: str | None, display: Display) -> Checkpoint:
    """The checkpoint of a folder, or a classifier trained for a few epochs on clean data."""
    if folder:
        return checkpoints.load(Folder(folder), config.attack.device)
    if config.attack.device == "cpu":
        torch.set_num_threads(1)
    checkpoint, _ = initial(config, dataset, masked=False)
    checkpoint.model.to(config.attack.device)
    clean, dev = (encode_clean(table, checkpoint.encoder) for table in (dataset.train, dataset.dev))
    loop = Loop(checkpoint.model, TrainingData(clean, None, dev), config, "bench", config.training.learning_rate)
    with display.stage(f"train a {config.model.name}", EPOCHS) as bar:
        loop.run(EPOCHS, lambda _, metrics: bar.advance(1, f"dev accuracy {100 * metrics['dev_accuracy']:.1f} %"))
    return checkpoint


def plain_epochs(config: Config, dataset: Dataset, epochs: int) -> list[float]:
    """Seconds of each epoch of a plain training loop: without Ray, logging and checkpoints.

    Model, batches and optimiser are the same as in `flat_dist.training.loop`.
    """
    torch.set_num_threads(config.training.cpus_per_worker)
    checkpoint, _ = initial(config, dataset, masked=False)
    model, examples = checkpoint.model.to(config.training.device), encode_clean(dataset.train, checkpoint.encoder)
    optimizer = make_optimizer(model, config.training, config.training.learning_rate)
    low, seconds = config.training.precision == "bfloat16", []
    model.train()
    for epoch in range(epochs):
        began = time.perf_counter()
        for step in plan_epoch(examples.lengths, NOTHING, config, epoch):
            batch = examples.batch(step.clean).to(config.training.device)
            with torch.autocast(config.training.device, torch.bfloat16, enabled=low):
                loss = F.cross_entropy(model(batch.ids_BT, batch.real_BT).logits_BC, batch.labels_B)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            if config.training.clip:
                nn.utils.clip_grad_norm_(model.parameters(), config.training.clip)
            optimizer.step()
        if config.training.device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    return seconds


def similarity(judgements: str) -> dict[str, Any]:
    """The sentence encoder against people's judgements in a file.

    Raises:
        UserError: the file cannot be used.
    """
    from flat_dist.attack.engine.sentence_encoder import SentenceEncoder
    from flat_dist.benchmarks import sentence_similarity

    return sentence_similarity.measure(SentenceEncoder(assets.prepare().sentence_encoder), Path(judgements))


def attack(config: Config, folder: str | None, count: int, stock_encoder: str, display: Display) -> dict[str, Any]:
    """The engine against stock TextAttack on test texts, and on training texts if there are too few.

    Raises:
        UserError: the engine does not run the attack, or the dataset has fewer texts.
    """
    runner = runner_of(config.attack.name, config.attack, config.attack.scores)
    if runner.name != ENGINE:
        raise UserError(f"{runner.describe(config.attack.name)}: there is no engine to compare with TextAttack")
    machine = hardware.detect()
    config, _ = hardware.resolve(config, machine)
    dataset = datasets.load(config.data)
    rows = [*sample(dataset.test, count, config.seed).to_pylist(), *sample(dataset.train, 0, config.seed).to_pylist()]
    if len(rows) < count:
        raise UserError(f"{dataset.source} has {len(rows)} texts to attack: lower --examples")
    with with_weights(config) as (config, weights):
        checkpoint = victim(config, dataset, folder, display)
    device = config.attack.device
    if stock_encoder == "auto":
        stock_encoder = "package" if device == "cpu" else "ours"
    prepared = assets.prepare()
    textattack_setup.activate(prepared)
    # These import TextAttack, which needs its resources at import.
    from flat_dist.attack import recipes
    from flat_dist.benchmarks import attack_engine

    comparison = attack_engine.Comparison(
        attack=config.attack.name,
        resources=recipes.LinguisticResources(
            prepared, config.attack.synonyms, device, config.attack.cache_size, sources(config.attack).given
        ),
        limits=limits.resolve(config.attack, isinstance(checkpoint.model, Transformer)),
        stock_encoder=stock_encoder,
    )
    examples = [Example(row["example_id"], row["text"], row["label"]) for row in rows[:count]]
    measured = attack_engine.compare(comparison, checkpoint, examples, display)
    return measured | {"weights": folder or weights, "device": machine.gpu if device == "cuda" else device}


def distinct_examples(dataset: Dataset) -> Iterator[Example]:
    """Texts without repetition: those of the dataset, then first halves joined to second halves of other texts."""
    rows = [*dataset.test.to_pylist(), *dataset.train.to_pylist()]
    words = [row["text"].split(" ") for row in rows]
    for distance in range(len(rows)):
        for number, row in enumerate(rows):
            other = words[(number + distance) % len(rows)]
            text = " ".join(words[number][: len(words[number]) // 2] + other[len(other) // 2 :])
            yield Example(f"{number}-{distance}", text, row["label"])
