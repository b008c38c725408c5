"""The stage of a training: which job it is, and what its result depends on."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from flat_dist.config.schema import ADVERSARIAL, Config, TrainingConfig
from flat_dist.config.serialization import stage_values, to_dict
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models.artifact import model_notes
from flat_dist.runtime.progress import Display
from flat_dist.storage.file_validation import DamagedFileError
from flat_dist.storage.folder import Folder
from flat_dist.storage.stage import Artifact, Output, Stage
from flat_dist.training.job import HISTORY, TIMINGS, Timings, Train, TrainingJob

ONLY_FLAT = ("beta", "initial_beta", "beta_decay", "gamma", "entropy", "pairs", "pieces")
"""Fields of `ObjectiveConfig` that no training without a word mask depends on, so that a search over them shares it."""


@dataclass(frozen=True)
class TrainingInputs:
    """What a training starts from."""

    training: str
    """The kind of training: base, continued, adv or flat."""
    round: int
    """Rounds of adversarial training, this one included; 0: training on clean data."""
    data: Artifact
    start: Artifact
    """The model that is trained further."""
    shards: Sequence[Artifact] = ()
    """Attacked examples to train on, oldest first."""
    substitutes: Artifact | None = None
    """Table of substitutes, to make adversarial twins on the fly."""

    @property
    def name(self) -> str:
        """Such as flat-2."""
        return f"{self.training}-{self.round}"

    @property
    def title(self) -> str:
        """What it does, for progress bars."""
        return f"round {self.round}: train {self.training}" if self.round else f"train {self.training}"


@dataclass(frozen=True)
class Trainer:
    """What trains, and where its state is kept until the training is complete."""

    train: Train
    storage: Folder
    display: Display

    def fill(self, job: TrainingJob, title: str, folder: Folder, notes: dict[str, Any]) -> Output:
        """Train into a folder; an interrupted training continues after its last epoch."""
        state = self.storage / "ray_train"
        asked = time.time()
        with self.display.stage(title, job.epochs) as bar:
            self.train(job, folder.name, state, folder, bar)
        with suppress(FileNotFoundError, DamagedFileError):  # no result depends on them
            timings: Timings = folder.read_json(TIMINGS, Timings)
            self.display.timeline.add(timings.process, timings.spans, asked)
        return Output(
            checkpoints.FILES,
            records=[HISTORY],
            notes=notes,
            after_commit=lambda: state.remove(folder.name),
        )


def training_stage(
    config: Config, inputs: TrainingInputs, trainer: Trainer, log: Callable[[Artifact], None] = lambda artifact: None
) -> Stage:
    """The stage of a training.

    Args:
        config: the run's, with hardware resolved.
        inputs: what it starts from.
        trainer: what trains.
        log: logs the result.
    """
    job, notes = training_job(config, inputs), model_notes(inputs.training, inputs.round)
    return Stage(
        name=f"train-{inputs.name}",
        title=inputs.title,
        inputs=result_inputs(config, inputs, job),
        fill=lambda folder: trainer.fill(job, inputs.title, folder, notes),
        log=log,
    )


def training_job(config: Config, inputs: TrainingInputs) -> TrainingJob:
    """The training as plain values, which travel to the workers."""
    training = config.training
    if inputs.round and training.round_clip is not None:
        training = replace(training, clip=training.round_clip)
    if inputs.training != "adv" or not inputs.round:
        training = replace(training, word_dropout=0.0)
    return TrainingJob(
        name=inputs.name,
        training=inputs.training,
        config=to_dict(replace(config, training=training)),
        data=inputs.data.folder.uri,
        start=inputs.start.folder.uri,
        shards=tuple(shards.folder.uri for shards in inputs.shards),
        epochs=training.epochs_per_round if inputs.round else training.epochs,
        learning_rate=_learning_rate(training, inputs),
        substitutes=inputs.substitutes.folder.uri if inputs.substitutes else None,
        smoothing=config.substitutes.smoothing if inputs.substitutes and inputs.round == 1 else 0.0,
    )


def _learning_rate(training: TrainingConfig, inputs: TrainingInputs) -> float:
    if not inputs.round:
        return training.learning_rate
    own = {"adv": training.adv_learning_rate, "flat": training.flat_learning_rate}
    return own.get(inputs.training) or training.round_learning_rate


def result_inputs(config: Config, inputs: TrainingInputs, job: TrainingJob) -> dict[str, Any]:
    """All that decides the result of a training: every field of the config that does not opt out by name."""
    training, objective = stage_values(config.training), stage_values(config.objective)
    if not inputs.shards:
        del training["keep"]
    made = None
    if inputs.substitutes:
        made = {"table": inputs.substitutes.fingerprint, **stage_values(config.substitutes)}
        if not inputs.shards:
            del made["share"]
    else:
        del training["adversaries"]
    if inputs.training not in ADVERSARIAL:
        del objective["adversarial_weight"], objective["adversarial_target"]
    if inputs.training != "flat":
        del training["mask_learning_rate"]
        objective = {name: value for name, value in objective.items() if name not in ONLY_FLAT}
    training["freeze_embeddings"] = inputs.training in training["freeze_embeddings"]
    return {
        "data": inputs.data.fingerprint,
        "start": inputs.start.fingerprint,
        "shards": [shards.fingerprint for shards in inputs.shards],
        "substitutes": made,
        "training": {**training, **{name: job.config["training"][name] for name in ("clip", "word_dropout")}},
        "objective": objective,
        "stage": [job.name, job.epochs, job.learning_rate],
        "seed": config.seed,
    }
