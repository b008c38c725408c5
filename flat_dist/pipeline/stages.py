"""The stages of a run: what is trained, attacked and explained, and what each stage depends on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

from flat_dist.attack.plan import AttackPlan, TextsToAttack, plan_attack
from flat_dist.attack.substitutes import substitutes_stage
from flat_dist.config.attacks import file_name
from flat_dist.config.schema import ADVERSARIAL, Config
from flat_dist.data.dataset_stage import dataset_stage
from flat_dist.data.datasets import Dataset, sample
from flat_dist.data.shards import MANIFEST
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models.artifact import ModelArtifact, from_stage
from flat_dist.models.encoders import CLASSIFIER
from flat_dist.models.factory import initial_stage
from flat_dist.pipeline import run_folder
from flat_dist.pipeline.attacks import Attacker, Target
from flat_dist.pipeline.failures import FailedAttack
from flat_dist.runtime.progress import Display
from flat_dist.runtime.seeds import derive_seed
from flat_dist.runtime.threads import in_threads
from flat_dist.scheduling.worker_group import WorkerGroup
from flat_dist.storage.folder import Folder
from flat_dist.storage.stage import Artifact, Executor, OpenStage, Stage
from flat_dist.tracking.tracker import Tracker
from flat_dist.training import distributed, memory
from flat_dist.training.job import HISTORY, Train
from flat_dist.training.stage import Trainer, TrainingInputs, training_stage
from flat_dist.training.state import History

LONGEST = "train-flat"
"""Beginning of the names of the trainings that take longest: each step also has the word mask, and pairs."""


@dataclass(frozen=True)
class Environment:
    """Where a run works: everything that no result depends on."""

    storage: Folder
    tracker: Tracker
    display: Display
    train: Train = distributed.train
    """Trains a stage, as `distributed.train` does."""
    workers: WorkerGroup | None = None
    """Workers that stay, for attacks and explanations; None: each phase has its own. With them, training texts are
    attacked only when the next round is asked for."""
    contents: Mapping[str, str | None] | None = None
    """As `run_folder.contents`; None: computed, for which the user's files must be on this machine."""


@dataclass
class RunStages:
    """The stages of one run.

    Args:
        config: what to run, with hardware resolved.
        dataset: what to train and measure on.
        environment: where to work.
    """

    config: Config
    dataset: Dataset
    environment: Environment
    failures: list[FailedAttack] = field(default_factory=list)
    """Attacks on test texts that failed while others went on."""

    @cached_property
    def executor(self) -> Executor:
        """Runs the stages."""
        return Executor(self.environment.storage, self.environment.display.log_line)

    @cached_property
    def _parallel_trainings(self) -> int:
        """Trainings that fit on the cluster at the same time."""
        return distributed.parallel_trainings(self.config.training, self.environment.display.log_line)

    @cached_property
    def data(self) -> Artifact:
        """The dataset's splits."""
        return self.executor.run(dataset_stage(self.dataset))

    @cached_property
    def _contents(self) -> Mapping[str, str | None]:
        return self.environment.contents or run_folder.contents(self.config)

    def prepare(self) -> None:
        """Wait for a place to train, and choose a micro-batch that fits into the memory of a GPU.

        Raises:
            UserError: no training word has a candidate, and training makes substitutes.
        """
        training = self.config.training
        if training.rounds and not set(training.kinds).isdisjoint(ADVERSARIAL):
            _ = self._substitutes  # before the training that would be in vain
        display, _ = self.environment.display, self._parallel_trainings
        if self.config.training.device == "cuda":
            model = checkpoints.load(self._initial(masked=False).folder).model
            self.config, message = memory.fit(model, self.config)
            display.log_line(message)

    def _initial(self, masked: bool) -> Artifact:
        log_line = self.environment.display.log_line
        return self.executor.run(initial_stage(self.config, self.dataset, masked, self._contents, log_line))

    def clean_training(self, kind: str) -> TrainingInputs:
        """The training before the first attack: base's, which the other kinds share, or FLAT's own."""
        own = kind == "flat" and self.config.training.init == "scratch"
        return TrainingInputs("flat" if own else "base", 0, self.data, self._initial(masked=own))

    def first_models(self, kinds: Sequence[str]) -> dict[str, ModelArtifact]:
        """The models before the first attack: trained on clean data, or the user's own classifier."""
        if self.config.model.name == CLASSIFIER:
            own = self._initial(masked=False)
            return {kind: from_stage(own, kind, 0) for kind in kinds}
        return self.train({kind: self.clean_training(kind) for kind in kinds})

    @property
    def trains_on_attacks(self) -> bool:
        """Whether training texts are attacked before each round."""
        return self.config.training.adversaries in ("attack", "both")

    @cached_property
    def _substitutes(self) -> Artifact | None:
        """The table from which adversarial twins are made on the fly, if training makes them."""
        if self.config.training.adversaries == "attack":
            return None
        return self.executor.run(substitutes_stage(self.config, self.dataset))

    def round_training(self, number: int, model: ModelArtifact, shards: Sequence[Artifact]) -> TrainingInputs:
        """The training of a round, on the attacked examples of all rounds so far, or of the last one."""
        used = shards if self.config.training.shards == "accumulate" else shards[-1:]
        made = self._substitutes if model.model_name in ADVERSARIAL else None
        return TrainingInputs(model.model_name, number, self.data, model, used, made)

    def train(self, trainings: Mapping[str, TrainingInputs]) -> dict[str, ModelArtifact]:
        """The models of trainings, by kind of training."""
        environment = self.environment
        trainer = Trainer(environment.train, environment.storage, environment.display)
        stages = [
            training_stage(self.config, inputs, trainer, partial(self._log_history, kind, inputs.round))
            for kind, inputs in trainings.items()
        ]
        artifacts = self.executor.run_all(stages, self._fill_side_by_side)
        return {
            kind: from_stage(each, kind, inputs.round)
            for (kind, inputs), each in zip(trainings.items(), artifacts, strict=True)
        }

    def _fill_side_by_side(self, opened: Sequence[OpenStage[Stage]]) -> None:
        """Train as many models at once as fit on the cluster, those that take longest first."""
        ordered = sorted(opened, key=lambda each: not each.stage.name.startswith(LONGEST))
        in_threads([each.fill for each in ordered], self._parallel_trainings)

    def _log_history(self, kind: str, number: int, artifact: Artifact) -> None:
        training = self.config.training
        before = training.epochs + (number - 1) * training.epochs_per_round if number else 0
        for metrics in artifact.folder.read_json(HISTORY, History):
            values = {f"train/{name}": value for name, value in metrics.items() if name != "epoch"}
            self.environment.tracker.metrics(kind, values, before + int(metrics["epoch"]))

    def training_attack(self, number: int, model: ModelArtifact) -> AttackPlan:
        """The attack on training texts whose results round `number` trains on."""
        attack = self.config.attack
        drawn = sample(self.dataset.train, attack.sample, derive_seed(self.config.seed, "attack", number))
        texts = TextsToAttack("training", drawn, self.dataset.fingerprint, number)
        return plan_attack(self.config, model, texts, attack.name, partial(self._log_shards, model, f"round-{number}"))

    def test_attacks(self, number: int, model: ModelArtifact) -> Target:
        """The attacks to measure a model under: all after the last round, before it the one that training sees."""
        evaluation = self.config.evaluation
        last = number == self.config.training.last_round
        rows = getattr(self.dataset, evaluation.split)
        drawn = sample(rows, evaluation.sample, derive_seed(self.config.seed, "evaluation"))
        texts = TextsToAttack(evaluation.split, drawn, self.dataset.fingerprint)

        def log(name: str, artifact: Artifact) -> None:
            self._log_shards(model, f"{evaluation.split}-{name}-round-{model.round}", artifact)

        if not last:
            return Target(model, texts, (self.config.attack.name,), log)
        return Target(model, texts, evaluation.attacks, log, evaluation.neighbours)

    def _log_shards(self, model: ModelArtifact, name: str, artifact: Artifact) -> None:
        self.environment.tracker.artifact(model.model_name, artifact.folder, MANIFEST, f"shards/{file_name(name)}")

    @property
    def attacker(self) -> Attacker:
        """Runs attacks."""
        environment = self.environment
        groups = [environment.workers] if environment.workers else []
        return Attacker(self.config, self.executor, environment.display, groups, self.failures)
