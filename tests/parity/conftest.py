"""What parity is measured on: small victims, a transformer, and resources that TextAttack and the engine share."""

from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
import torch

from flat_dist.config.schema import Config, ModelConfig
from flat_dist.data.batches import encode_clean
from flat_dist.data.datasets import Dataset
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models.checkpoint import Checkpoint
from flat_dist.models.factory import initial
from flat_dist.resources import textattack_setup
from flat_dist.resources.assets import Assets
from flat_dist.storage.folder import Folder
from tests.conftest import train_victim

SATURATION = 2.0**9
"""Factor of the logits of the saturated victim: a power of 2, so that they are multiplied without rounding."""


@pytest.fixture(scope="session")
def victims(victim: Folder, sentences: Dataset) -> dict[str, Checkpoint]:
    return {
        "cnn": checkpoints.load(victim),
        "lstm": train_victim(sentences, name="lstm", hidden_size=24),
        "minilm": train_output_layer(sentences),
        "four_classes": train_victim(with_four_classes(sentences), kernels=16),
        "saturated": saturate(checkpoints.load(victim)),
    }


def label_of_four(text: str, label: int) -> int:
    """The class of a sentence among four: its sentiment, and whether it has the word `the`."""
    return label + 2 * ("the" in text.split())


def with_four_classes(sentences: Dataset) -> Dataset:
    labels = [label_of_four(row["text"], row["label"]) for row in sentences.train.to_pylist()]
    train = sentences.train.set_column(2, sentences.train.schema.field("label"), pa.chunked_array([labels], pa.int32()))
    return replace(sentences, train=train, label_names=("a", "b", "c", "d"))


def saturate(checkpoint: Checkpoint) -> Checkpoint:
    """The same predictions, with logits so far apart that nearly all probabilities are exactly 0 or 1."""
    with torch.no_grad():
        for parameter in checkpoint.model.output.parameters():
            parameter.mul_(SATURATION)
    return checkpoint


def train_output_layer(sentences: Dataset) -> Checkpoint:
    """MiniLM as it comes, with an output layer that is right more often than not."""
    config = Config(model=ModelConfig(name="minilm", pooling="mean"))
    checkpoint, _ = initial(config, sentences, masked=False)
    examples = encode_clean(sentences.train.slice(0, 320), checkpoint.encoder)
    model, pooled = checkpoint.model.eval(), []
    hook = model.output.register_forward_hook(lambda module, inputs, output: pooled.append(inputs[0]))
    with torch.no_grad():
        for start in range(0, 320, 32):
            batch = examples.batch(range(start, start + 32))
            model(batch.ids_BT, batch.real_BT)
    hook.remove()
    features, labels = torch.cat(pooled), torch.from_numpy(examples.labels)
    optimizer = torch.optim.Adam(model.output.parameters(), 0.01)
    for _ in range(200):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model.output(features), labels).backward()
        optimizer.step()
    return checkpoint


@pytest.fixture(scope="session")
def linguistics(assets: Assets) -> Any:
    textattack_setup.activate(assets)
    from flat_dist.attack import recipes

    return recipes.LinguisticResources(assets, "counterfit", "cpu", cache_size=4096)
