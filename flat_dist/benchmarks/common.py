"""What `jobs/bench.py` measures, on a victim trained for the purpose."""

import itertools
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from transformers import AutoTokenizer, BertConfig, BertModel

from flat_dist.attack import limits
from flat_dist.attack.plan import AttackJob
from flat_dist.config.errors import UserError
from flat_dist.config.schema import Config
from flat_dist.data import datasets
from flat_dist.data.batches import Examples, encode_clean
from flat_dist.data.datasets import Dataset, sample
from flat_dist.data.shards import Example
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models import encoders
from flat_dist.models.checkpoint import Checkpoint
from flat_dist.models.factory import initial
from flat_dist.models.transformer import Transformer
from flat_dist.resources import assets, textattack_setup
from flat_dist.runtime import hardware
from flat_dist.runtime.progress import Display
from flat_dist.storage.folder import Folder
from flat_dist.training import memory
from flat_dist.training.batching import plan_epoch
from flat_dist.training.loop import Loop, TrainingData
from flat_dist.training.optimizer import make_optimizer

EPOCHS = 3
"""Of a victim's training: enough to be mostly right."""


@contextmanager
def with_weights(config: Config) -> Iterator[tuple[Config, str]]:
    """The config, and where its weights come from; BERT-base has random ones where the hub cannot be reached."""
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
    """The checkpoint of a folder, or a classifier after a few epochs on clean data."""
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
    """Seconds of each epoch of a training loop with nothing around it: no Ray, no logging, no checkpoints.

    Model, batches and optimiser are those of `flat_dist.training.loop`.
    """
    torch.set_num_threads(config.training.cpus_per_worker)
    checkpoint, _ = initial(config, dataset, masked=False)
    model, examples = checkpoint.model.to(config.training.device), encode_clean(dataset.train, checkpoint.encoder)
    optimizer = make_optimizer(model, config.training, config.training.learning_rate)
    low, seconds = config.training.precision == "bfloat16", []
    model.train()
    for epoch in range(epochs):
        began = time.perf_counter()
        for indices, _ in plan_epoch(examples.lengths, np.empty(0, np.int64), config, epoch):
            batch = examples.batch(indices).to(config.training.device)
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


def peak(config: Config, length: int, limit_gib: float) -> dict[str, Any]:
    """The GPU memory of training steps on texts of so many pieces, against what the planner says.

    Args:
        config: model and training.
        length: pieces of each text.
        limit_gib: GPU memory that this process may take.

    Raises:
        UserError: there is no GPU, or the planner says that it does not fit.
    """
    machine = hardware.detect()
    if machine.gpu is None:
        raise UserError(f"the memory of a GPU cannot be measured here: {machine.problem}")
    config = replace(config, data=replace(config.data, max_length=length))
    config, _ = hardware.resolve(config, machine)
    torch.cuda.set_per_process_memory_fraction(min(limit_gib / machine.memory_gib, 1.0))
    with with_weights(config) as (config, weights):
        checkpoint, _ = initial(config, datasets.load(config.data), masked=True)
    config, said = memory.fit(checkpoint.model, config)
    size = config.training.batch_size
    ids = (tuple(range(1, length + 1)),) * (2 * size)
    clean = Examples(ids, np.zeros(len(ids), dtype=np.int64))
    adversarial = replace(clean, swaps=((((ids[0][1:2], 1), (ids[0][2:3], 1)),),) * len(ids))
    data = TrainingData(clean, adversarial, clean)
    torch.cuda.reset_peak_memory_stats()
    loop = Loop(checkpoint.model.to("cuda"), data, config, "peak", config.training.learning_rate)
    loop.train_epoch(1)
    return {
        "model": config.model.name,
        "weights": weights,
        "gpu": machine.gpu,
        "length": length,
        "batch_size": size,
        "micro_batch": config.training.micro_batch,
        "checkpointing": config.training.checkpointing,
        "limit_gib": limit_gib,
        "peak_gib": round(memory.peak_gib(loop.device) + memory.CUDA_GIB, 2),
        "planned": said,
    }


def attack(config: Config, folder: str | None, count: int, stock_encoder: str, display: Display) -> dict[str, Any]:
    """The engine against stock TextAttack on test texts, and then training texts where there are too few.

    Raises:
        UserError: the dataset has fewer texts.
    """
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
    # These import TextAttack, which must find its resources in place.
    from flat_dist.attack import recipes
    from flat_dist.benchmarks import attack_engine

    measured = attack_engine.compare(
        config.attack.name,
        checkpoint,
        [Example(row["example_id"], row["text"], row["label"]) for row in rows[:count]],
        recipes.LinguisticResources(prepared, config.attack.synonyms, device, config.attack.cache_size),
        limits.resolve(config.attack, isinstance(checkpoint.model, Transformer)),
        stock_encoder,
        display,
    )
    return measured | {"weights": folder or weights, "device": machine.gpu if device == "cuda" else device}


def worker_memory(config: Config, given: str | None, count: int, display: Display) -> dict[str, Any]:
    """The memory of one worker that attacks many texts with the victim of folder `given`, or a new one."""
    config, _ = hardware.resolve(config, hardware.detect())
    dataset = datasets.load(config.data)
    with with_weights(config) as (config, _):
        checkpoint = victim(config, dataset, given, display)
    textattack_setup.activate(assets.prepare())
    from flat_dist.benchmarks import attack_engine

    bounds = limits.resolve(config.attack, isinstance(checkpoint.model, Transformer))
    size = limits.unit_size(config.attack, bounds)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Folder(scratch)
        checkpoints.save(checkpoint, folder / "victim")
        job = AttackJob(
            attack=config.attack.name,
            checkpoint=(folder / "victim").uri,
            synonyms=config.attack.synonyms,
            output=(folder / "shards").uri,
            round_number=0,
            seed=config.seed,
            device=config.attack.device,
            limits={config.attack.device: bounds},
            unit_size=size,
            identity={},
        )
        del checkpoint
        examples = itertools.islice(distinct(dataset), count)
        units = iter(lambda: list(itertools.islice(examples, size)), [])
        with display.stage("attack", count) as bar:
            return attack_engine.memory(job, units, bar)


def distinct(dataset: Dataset) -> Iterator[Example]:
    """Texts that never repeat: the dataset's own, then the first half of each joined to the second half of others."""
    rows = [*dataset.test.to_pylist(), *dataset.train.to_pylist()]
    words = [row["text"].split(" ") for row in rows]
    for distance in range(len(rows)):
        for number, row in enumerate(rows):
            other = words[(number + distance) % len(rows)]
            text = " ".join(words[number][: len(words[number]) // 2] + other[len(other) // 2 :])
            yield Example(f"{number}-{distance}", text, row["label"])
