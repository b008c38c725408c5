"""What `jobs/bench.py` measures, on a victim trained for the purpose."""

import itertools
import tempfile
from collections.abc import Iterator
from typing import Any

import torch

from flat_dist import assets
from flat_dist.attack import limits, resources
from flat_dist.attack.session import AttackJob
from flat_dist.config import Config, UserError
from flat_dist.data.batches import encode_clean
from flat_dist.data.datasets import Dataset, sample
from flat_dist.data.shards import Example
from flat_dist.data.storage import Folder
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models.checkpoint import Checkpoint
from flat_dist.models.initial import initial
from flat_dist.progress import Display
from flat_dist.training.loop import Loop, TrainingData

EPOCHS = 3
"""Of a victim's training: enough to be mostly right."""


def victim(config: Config, dataset: Dataset, display: Display) -> Checkpoint:
    """A classifier after a few epochs on clean data."""
    torch.set_num_threads(1)
    checkpoint, _ = initial(config, dataset, masked=False)
    data = TrainingData(
        encode_clean(dataset.train, checkpoint.encoder), None, encode_clean(dataset.dev, checkpoint.encoder)
    )
    loop = Loop(checkpoint.model, data, config, "bench", config.training.learning_rate)
    with display.stage(f"train a {config.model.name}", EPOCHS) as bar:
        loop.run(EPOCHS, lambda _, metrics: bar.advance(1, f"dev accuracy {100 * metrics['dev_accuracy']:.1f} %"))
    return checkpoint


def attack(
    config: Config, dataset: Dataset, checkpoint: Checkpoint, count: int, stock_encoder: str, display: Display
) -> dict[str, Any]:
    """The engine against stock TextAttack on test texts, and then training texts where there are too few.

    Raises:
        UserError: the dataset has fewer texts.
    """
    prepared = assets.prepare()
    resources.activate(prepared)
    # These import TextAttack, which must find its resources in place.
    from flat_dist.attack import measure, recipes

    rows = [*sample(dataset.test, count, config.seed).to_pylist(), *sample(dataset.train, 0, config.seed).to_pylist()]
    if len(rows) < count:
        raise UserError(f"{dataset.source} has {len(rows)} texts to attack: lower --examples")
    return measure.compare(
        config.attack.name,
        checkpoint,
        [Example(row["example_id"], row["text"], row["label"]) for row in rows[:count]],
        recipes.Linguistics(prepared, config.attack.synonyms, "cpu", config.attack.cache_size),
        limits.resolve(config.attack),
        stock_encoder,
        display,
    )


def memory(config: Config, dataset: Dataset, checkpoint: Checkpoint, count: int, display: Display) -> dict[str, Any]:
    """The memory of one worker that attacks many texts."""
    resources.activate(assets.prepare())
    from flat_dist.attack import measure

    with tempfile.TemporaryDirectory() as scratch:
        folder = Folder(scratch)
        checkpoints.save(checkpoint, folder / "victim")
        job = AttackJob(
            recipe=config.attack.name,
            checkpoint=(folder / "victim").uri,
            synonyms=config.attack.synonyms,
            output=(folder / "shards").uri,
            round_number=0,
            seed=config.seed,
            device=config.attack.device,
            limits=limits.resolve(config.attack),
            identity={},
        )
        del checkpoint
        examples = itertools.islice(_distinct(dataset), count)
        size = limits.unit_size(config.attack)
        units = iter(lambda: list(itertools.islice(examples, size)), [])
        with display.stage("attack", count) as bar:
            return measure.memory(job, units, bar)


def _distinct(dataset: Dataset) -> Iterator[Example]:
    """Texts that never repeat: the dataset's own, then the first half of each joined to the second half of others."""
    rows = [*dataset.test.to_pylist(), *dataset.train.to_pylist()]
    words = [row["text"].split(" ") for row in rows]
    for distance in range(len(rows)):
        for number, row in enumerate(rows):
            other = words[(number + distance) % len(rows)]
            text = " ".join(words[number][: len(words[number]) // 2] + other[len(other) // 2 :])
            yield Example(f"{number}-{distance}", text, row["label"])
