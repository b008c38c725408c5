"""A training as plain values, and what every worker does before and after it."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import torch

from flat_dist.config.schema import Config
from flat_dist.data import substitutes
from flat_dist.data.batches import encode_adversarial, encode_clean
from flat_dist.data.encoder import Encoder
from flat_dist.data.preprocessing import Vocabulary
from flat_dist.data.shards import read_shards
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models.checkpoint import Checkpoint
from flat_dist.runtime.progress import Bar
from flat_dist.runtime.seeds import derive_seed
from flat_dist.runtime.timeline import Recorder, Span
from flat_dist.storage.arrow import read_table
from flat_dist.storage.folder import Folder
from flat_dist.training import memory
from flat_dist.training.loop import Loop, TrainingData
from flat_dist.training.smoothing import smooth_vectors
from flat_dist.training.substitution import Substitution

HISTORY = "history.json"
"""Name of the file with the metrics of each epoch."""

TIMINGS = "timings.json"
"""Name of the file with `Timings`."""

WORKER_LOSSES = 2
"""Crashes of workers after which training resumes. Lost nodes do not count."""

LEAST_STALL_SECONDS = 60.0
"""Minimum time without progress after which a training counts as hanging, also where attacks have a shorter one."""

Train = Callable[["TrainingJob", str, Folder, Folder, Bar], None]
"""A function that trains: `distributed.train` or `single_task.train_alone`."""


@dataclass(frozen=True)
class TrainingJob:
    """A training as plain values, which are sent to the workers."""

    name: str
    """Training kind and round, such as adv-2; the random numbers depend on it."""
    training: str
    """The kind of training: base, continued, adv or flat."""
    config: dict[str, Any]
    """The run's config, from `config.serialization.to_dict`."""
    data: str
    """Folder of the dataset's splits."""
    start: str
    """Folder of the checkpoint to start from."""
    shards: tuple[str, ...]
    """Folders of the attacked examples to train on, oldest first."""
    epochs: int
    learning_rate: float
    substitutes: str | None = None
    """Folder of the table of substitutes, to make adversarial twins on the fly; None: none are made."""
    smoothing: float = 0.0
    """Share by which each word's vector is moved towards those of its candidates before the training."""


def load_data(job: TrainingJob, config: Config, encoder: Encoder) -> TrainingData:
    """The clean examples and the attacked examples of all shards, encoded."""
    folder = Folder(job.data)
    adversarial = None
    if job.shards:
        shards = pa.concat_tables([read_shards(Folder(uri)) for uri in job.shards])
        adversarial = encode_adversarial(shards, encoder, config.training.keep)
    tables = {split: read_table(folder, split) for split in ("train", "dev")}
    clean, dev = (encode_clean(table, encoder) for table in tables.values())
    if job.substitutes is None:
        return TrainingData(clean, adversarial, dev)
    known = read_table(Folder(job.substitutes), substitutes.NAME, substitutes.SCHEMA)
    texts, count = tables["train"]["text"].to_pylist(), config.substitutes.candidates
    words = substitutes.build(known, texts, encoder, count)
    ranked = config.training.adversaries != "random"
    return TrainingData(clean, adversarial, dev, Substitution(words, clean.labels, config.substitutes, ranked))


def load_start(job: TrainingJob, config: Config) -> Checkpoint:
    """The checkpoint to start from. FLAT adds a word mask if the model has none yet."""
    checkpoint = checkpoints.load(Folder(job.start))
    model = checkpoint.model
    if job.training == "flat" and model.mask is None:
        torch.manual_seed(derive_seed(config.seed, "mask"))
        checkpoints.add_mask(model, checkpoint.config)
    if job.smoothing and job.substitutes:
        known = read_table(Folder(job.substitutes), substitutes.NAME, substitutes.SCHEMA)
        vocabulary = checkpoint.encoder.vocabulary
        assert isinstance(vocabulary, Vocabulary)  # `pipeline.plan.check` refuses word pieces
        smooth_vectors(model.embedding.weight, vocabulary, known, job.smoothing)
    model.embeddings.requires_grad_(job.training not in config.training.freeze_embeddings)
    return checkpoint


@dataclass(frozen=True)
class Timings:
    """Where the time of the latest call of a training went, in its first worker."""

    seconds: list[float]
    """Of each epoch."""
    peak_gpu_gib: float
    process: str
    """Name of the worker's process."""
    spans: list[Span]


def write_history(loop: Loop, output: Folder) -> None:
    """Write the metrics of the epochs so far."""
    output.write_json(HISTORY, loop.state.history)


def write_best(loop: Loop, checkpoint: Checkpoint, output: Folder, recorder: Recorder) -> None:
    """Write the best epoch's checkpoint, and the timings.

    If the training was interrupted after its last epoch, and its folder was deleted, the history is missing, too.
    """
    peak = memory.peak_gib(loop.device)
    with recorder.phase("write"):
        if not output.exists(HISTORY):
            write_history(loop, output)
        loop.model.load_state_dict(loop.state.best_weights)
        checkpoints.save(checkpoints.with_model(checkpoint, loop.model.cpu()), output)
    output.write_json(TIMINGS, asdict(Timings(loop.seconds, peak, *recorder.take())))
