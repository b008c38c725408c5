"""A training in plain values, and what every worker does with it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import torch

from flat_dist.config.schema import Config
from flat_dist.data.batches import encode_adversarial, encode_clean
from flat_dist.data.encoder import Encoder
from flat_dist.data.shards import read_shards
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models.checkpoint import Checkpoint
from flat_dist.runtime.progress import Bar
from flat_dist.runtime.seeds import derive_seed
from flat_dist.storage.arrow import read_table
from flat_dist.storage.folder import Folder
from flat_dist.training import memory
from flat_dist.training.loop import Loop, TrainingData

HISTORY = "history.json"
"""Metrics of each epoch so far."""


TIMINGS = "timings.json"
"""Seconds of each epoch's training in the latest call, and what it took of a GPU; no result depends on it."""


WORKER_LOSSES = 2
"""Times that training goes on after its last epoch when a worker was lost; a node that is taken away does not count."""


LEAST_STALL_SECONDS = 60.0
"""Without a sign of a process, after which it hangs, at least, however soon one that attacks does."""

Train = Callable[["TrainingJob", str, Folder, Folder, Bar], None]
"""What trains a stage: `train`, or `train_alone`."""


@dataclass(frozen=True)
class TrainingJob:
    """A training stage in plain values, which travel to the workers."""

    name: str
    """What is trained, such as adv-2; its random numbers depend on it."""
    kind: str
    """base, adv or flat."""
    config: dict[str, Any]
    """The run's config, as `config.to_dict` makes it."""
    data: str
    """Folder of the clean splits."""
    start: str
    """Folder of the checkpoint to start from."""
    shards: tuple[str, ...]
    """Folders of the attack stages to train on, oldest first."""
    epochs: int
    learning_rate: float


def load_data(job: TrainingJob, config: Config, encoder: Encoder) -> TrainingData:
    """Clean examples and those of all the shards, encoded."""
    folder = Folder(job.data)
    adversarial = None
    if job.shards:
        shards = pa.concat_tables([read_shards(Folder(uri)) for uri in job.shards])
        adversarial = encode_adversarial(shards, encoder, config.training.keep)
    clean, dev = (encode_clean(read_table(folder, split), encoder) for split in ("train", "dev"))
    return TrainingData(clean, adversarial, dev)


def start(job: TrainingJob, config: Config) -> Checkpoint:
    """The checkpoint to start from; FLAT adds a word mask where there is none yet."""
    checkpoint = checkpoints.load(Folder(job.start))
    model = checkpoint.model
    if job.kind == "flat" and model.mask is None:
        torch.manual_seed(derive_seed(config.seed, "mask"))
        checkpoints.add_mask(model, checkpoint.config)
    model.embeddings.requires_grad_(job.kind not in config.training.freeze_embeddings)
    return checkpoint


def write_history(loop: Loop, output: Folder) -> None:
    """Write the metrics and the timings of the epochs so far."""
    output.write_json(HISTORY, loop.state.history)
    output.write_json(TIMINGS, {"seconds": loop.seconds, "peak_gpu_gib": memory.peak_gib(loop.device)})


def write_best(loop: Loop, checkpoint: Checkpoint, output: Folder) -> None:
    """Write the best epoch's checkpoint."""
    loop.model.load_state_dict(loop.state.best_weights)
    checkpoints.save(checkpoints.with_model(checkpoint, loop.model.cpu()), output)
