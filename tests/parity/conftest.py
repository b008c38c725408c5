"""What parity is measured on: two small victims, and the resources that stock TextAttack and the engine share."""

from typing import Any

import pytest

from flat_dist.assets import Assets
from flat_dist.attack import resources
from flat_dist.data.datasets import Dataset
from flat_dist.data.storage import Folder
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models.checkpoint import Checkpoint
from tests.conftest import train_victim


@pytest.fixture(scope="session")
def victims(victim: Folder, sentences: Dataset) -> dict[str, Checkpoint]:
    return {"cnn": checkpoints.load(victim), "lstm": train_victim(sentences, name="lstm", hidden_size=24)}


@pytest.fixture(scope="session")
def linguistics(assets: Assets) -> Any:
    resources.activate(assets)
    from flat_dist.attack import recipes

    return recipes.Linguistics(assets, "counterfit", "cpu", cache_size=4096)
