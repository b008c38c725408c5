"""Base training, then rounds of attack, training and evaluation (paper, Section 3.4).

    base = train(initial model, clean data)
    repeat for each kind of training: attack its latest model, train it on the attacked examples, evaluate it

Each step is a stage (`flat_dist.storage.stage`): what is complete is not run again.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

from flat_dist.attack.plan import AttackPlan, TextsToAttack, plan_attack
from flat_dist.attack.pool.run import run_attacks
from flat_dist.config.schema import Config
from flat_dist.data.dataset_stage import dataset_stage
from flat_dist.data.datasets import Dataset, sample
from flat_dist.data.shards import MANIFEST
from flat_dist.evaluation import distributed as evaluations
from flat_dist.evaluation.result import AttackedModel, Result
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models.artifact import ModelArtifact, from_stage
from flat_dist.models.factory import initial_stage
from flat_dist.pipeline import run_folder
from flat_dist.pipeline.experiment import ExperimentResults, MaskedModel
from flat_dist.pipeline.results import log_accuracies
from flat_dist.runtime.progress import Display
from flat_dist.runtime.seeds import derive_seed
from flat_dist.scheduling.worker_group import WorkerGroup
from flat_dist.storage.folder import Folder
from flat_dist.storage.stage import Artifact, Executor, OpenStage, Stage
from flat_dist.tracking.tracker import Tracker
from flat_dist.training import distributed, memory
from flat_dist.training.job import HISTORY, Train
from flat_dist.training.stage import Trainer, TrainingInputs, training_stage
from flat_dist.training.state import History


@dataclass(frozen=True)
class Round:
    """What was measured after a round of training; round 0 is the training on clean data."""

    number: int
    attacked: Sequence[AttackedModel]
    results: Sequence[Result]
    """One for each attacked model."""


@dataclass(frozen=True)
class Environment:
    """Where a run works: everything that no result depends on."""

    storage: Folder
    tracker: Tracker
    display: Display
    train: Train = distributed.train
    """Trains a stage, as `distributed.train` does."""
    workers: WorkerGroup | None = None
    """Attack workers that stay warm. Training texts are then attacked only when the next round is asked for."""
    contents: Mapping[str, str | None] | None = None
    """As `run_folder.contents`; None: computed, for which the user's files must be on this machine."""


@dataclass
class AdversarialTraining:
    """One run of the main job: the stages of all kinds of training.

    Args:
        config: what to run, with hardware resolved.
        dataset: what to train and measure on.
        environment: where to work.
    """

    config: Config
    dataset: Dataset
    environment: Environment
    _shards: dict[str, list[Artifact]] = field(default_factory=dict)
    """Attacked training examples of each kind of training, oldest round first."""

    def run(self) -> ExperimentResults:
        """Train, attack and evaluate every kind of training, round by round, and explain the last round's pairs."""
        rounds = list(self.rounds())
        last = rounds[-1]
        explained = evaluations.explain_pairs(self.config, self.executor, last.attacked, self.environment.display)
        flat = {each.round: each.model for found in rounds for each in found.attacked if each.model_name == "flat"}
        return ExperimentResults(
            results=evaluations.with_consistency(last.results, explained),
            attacked=last.attacked,
            explained=explained,
            rounds=[result for found in rounds for result in found.results if result.trained_on],
            masked=[
                MaskedModel(f"flat, round {number}", model)
                for number, model in flat.items()
                if checkpoints.describe(model.folder)["masked"]
            ],
            shards={training: [each.folder for each in shards] for training, shards in self._shards.items()},
        )

    def rounds(self) -> Iterator[Round]:
        """Train, attack and measure every kind of training, round by round."""
        self._prepare()
        training = self.config.training
        latest = self._train({kind: self._clean_training(kind) for kind in training.kinds})
        for number in range(training.rounds + 1):
            if number:
                latest = self._train({kind: self._round_training(number, kind, latest[kind]) for kind in latest})
            tests = [plan for model in latest.values() for plan in self._test_attacks(number, model)]
            next_shards = [self._training_attack(number + 1, latest[kind]) for kind in self._attacked_kinds(number)]
            # One pool runs all attacks between two trainings, unless its workers stay warm anyway.
            together, later = ([], next_shards) if self.environment.workers else (next_shards, [])
            shards = self._attack([*tests, *together])
            attacked = [
                AttackedModel(plan.model, plan.job.attack, each) for plan, each in zip(tests, shards, strict=False)
            ]
            yield Round(number, attacked, self._measure(attacked))
            for plan, each in zip(next_shards, shards[len(tests) :] or self._attack(later), strict=True):
                self._shards.setdefault(plan.model.model_name, []).append(each)

    @cached_property
    def executor(self) -> Executor:
        """Runs the stages."""
        return Executor(self.environment.storage, self.environment.display.log_line)

    @cached_property
    def _places(self) -> int:
        """Trainings that fit on the cluster at once."""
        return distributed.places(self.config.training, self.environment.display.log_line)

    @cached_property
    def _data(self) -> Artifact:
        return self.executor.run(dataset_stage(self.dataset))

    @cached_property
    def _contents(self) -> Mapping[str, str | None]:
        return self.environment.contents or run_folder.contents(self.config)

    def _prepare(self) -> None:
        """Wait for a place to train, and choose a micro-batch that fits into the memory of a GPU."""
        display, _ = self.environment.display, self._places
        if self.config.training.device == "cuda":
            model = checkpoints.load(self._initial(masked=False).folder).model
            self.config, message = memory.fit(model, self.config)
            display.log_line(message)

    def _initial(self, masked: bool) -> Artifact:
        log_line = self.environment.display.log_line
        return self.executor.run(initial_stage(self.config, self.dataset, masked, self._contents, log_line))

    def _clean_training(self, kind: str) -> TrainingInputs:
        """The training before the first attack: base's, which the other kinds share, or FLAT's own."""
        own = kind == "flat" and self.config.training.init == "scratch"
        return TrainingInputs("flat" if own else "base", 0, self._data, self._initial(masked=own))

    def _round_training(self, number: int, kind: str, model: ModelArtifact) -> TrainingInputs:
        shards = self._shards.get(kind, [])
        used = shards if self.config.training.shards == "accumulate" else shards[-1:]
        return TrainingInputs(kind, number, self._data, model, used)

    def _train(self, trainings: Mapping[str, TrainingInputs]) -> dict[str, ModelArtifact]:
        """The models of trainings, by kind of training."""
        environment = self.environment
        trainer = Trainer(environment.train, environment.storage, environment.display)
        stages = [
            training_stage(self.config, inputs, trainer, partial(self._log_history, kind, inputs.round))
            for kind, inputs in trainings.items()
        ]
        artifacts = self.executor.run_all(stages, self._fill_side_by_side)
        return {
            kind: replace(from_stage(each), model_name=kind) for kind, each in zip(trainings, artifacts, strict=True)
        }

    def _fill_side_by_side(self, opened: Sequence[OpenStage[Stage]]) -> None:
        """Train as many models at once as fit on the cluster: most of a small one's time is Ray Train's start."""
        threads = ThreadPoolExecutor(min(self._places, len(opened)))
        try:
            futures = [threads.submit(each.fill) for each in opened]
            for future in futures:
                future.result()
        finally:
            threads.shutdown(wait=False, cancel_futures=True)

    def _log_history(self, kind: str, number: int, artifact: Artifact) -> None:
        training = self.config.training
        before = training.epochs + (number - 1) * training.epochs_per_round if number else 0
        for metrics in artifact.folder.read_json(HISTORY, History):
            values = {f"train/{name}": value for name, value in metrics.items() if name != "epoch"}
            self.environment.tracker.metrics(kind, values, before + int(metrics["epoch"]))

    def _attacked_kinds(self, number: int) -> list[str]:
        """Kinds of training whose models are attacked after a round, for the next one."""
        kinds = self.config.training.kinds if number < self.config.training.rounds else ()
        return [kind for kind in kinds if kind != "base"]

    def _training_attack(self, number: int, model: ModelArtifact) -> AttackPlan:
        attack = self.config.attack
        drawn = sample(self.dataset.train, attack.sample, derive_seed(self.config.seed, "attack", number))
        texts = TextsToAttack("training", drawn, self.dataset.fingerprint, number)
        return self._plan_attack(model, texts, attack.name, f"shards/round-{number}")

    def _test_attacks(self, number: int, model: ModelArtifact) -> list[AttackPlan]:
        evaluation = self.config.evaluation
        last = number == self.config.training.rounds
        rows = getattr(self.dataset, evaluation.split)
        drawn = sample(rows, evaluation.sample, derive_seed(self.config.seed, "evaluation"))
        texts = TextsToAttack(evaluation.split, drawn, self.dataset.fingerprint)
        attacks = evaluation.attacks if last else (self.config.attack.name,)
        paths = {attack: f"shards/{evaluation.split}-{attack}-round-{number}" for attack in attacks}
        return [self._plan_attack(model, texts, attack, path) for attack, path in paths.items()]

    def _plan_attack(self, model: ModelArtifact, texts: TextsToAttack, attack: str, path: str) -> AttackPlan:
        def log(artifact: Artifact) -> None:
            self.environment.tracker.artifact(model.model_name, artifact.folder, MANIFEST, path)

        return plan_attack(self.config, model, texts, attack, log)

    def _attack(self, plans: Sequence[AttackPlan]) -> list[Artifact]:
        environment = self.environment
        groups = [environment.workers] if environment.workers else []
        return run_attacks(plans, self.config.attack, self.executor, environment.display, groups)

    def _measure(self, attacked: Sequence[AttackedModel]) -> list[Result]:
        split = self.config.evaluation.split
        accuracies = evaluations.accuracies(attacked, self._data.folder, split, self.config)
        results = evaluations.results(attacked, accuracies, self.config.attack.name)
        log_accuracies(self.environment.tracker, results, split)
        return results
