"""Runs one training stage in a process of its own, so that a test can kill it: FOLDER, which holds data and start."""

import sys

from flat_dist.config.schema import Config, ModelConfig, TrainingConfig
from flat_dist.config.serialization import to_dict
from flat_dist.runtime import cluster
from flat_dist.runtime.progress import Display
from flat_dist.storage.folder import Folder
from flat_dist.training import distributed
from flat_dist.training.job import TrainingJob

CONFIG = Config(
    model=ModelConfig(kernels=16, mask_hidden_size=8), training=TrainingConfig(batch_size=32, adversaries="both")
)
EPOCHS = 30


def job(folder: Folder, epochs: int = EPOCHS) -> TrainingJob:
    """FLAT on the clean sentences, the shards and the substitutes of the folder."""
    uris = {name: (folder / name).uri for name in ("data", "start", "shards", "substitutes")}
    return TrainingJob(
        name="flat-1",
        training="flat",
        config=to_dict(CONFIG),
        data=uris["data"],
        start=uris["start"],
        shards=(uris["shards"],),
        epochs=epochs,
        learning_rate=0.003,
        substitutes=uris["substitutes"],
    )


def train(folder: Folder, epochs: int = EPOCHS) -> None:
    """Train in `folder`/result."""
    with Display(quiet=True) as display, display.stage("train", epochs) as bar:
        distributed.train(job(folder, epochs), "stage", folder / "ray", folder / "result", bar)


if __name__ == "__main__":
    with cluster.connected(cpus=2):
        train(Folder(sys.argv[1]))
