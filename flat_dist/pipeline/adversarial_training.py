"""Base training, then rounds of attack, training and evaluation (paper, Section 3.4).

    base = train(initial model, clean data), or the user's own classifier as it is
    repeat for each other kind of training: attack its latest model, train it on the attacked examples, evaluate it

Base is trained once. It is evaluated after round 0, and again, under all attacks, beside the last round of the others.

Each step is a stage (`flat_dist.storage.stage`): what is complete is not run again.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from flat_dist.config.schema import ADVERSARIAL
from flat_dist.evaluation import distributed as evaluations
from flat_dist.evaluation.comparison import with_comparisons
from flat_dist.evaluation.result import AttackedModel, Result
from flat_dist.evaluation.text_tasks import with_validity
from flat_dist.models import checkpoint as checkpoints
from flat_dist.pipeline.experiment import ExperimentResults, MaskedModel
from flat_dist.pipeline.results import log_accuracies
from flat_dist.pipeline.stages import RunStages
from flat_dist.runtime.timeline import Recorder
from flat_dist.storage.folder import Folder
from flat_dist.storage.stage import Artifact
from flat_dist.training.stage import TrainingInputs


@dataclass(frozen=True)
class Round:
    """What was measured after a round of training; round 0 is the training on clean data."""

    number: int
    attacked: Sequence[AttackedModel]
    results: Sequence[Result]
    """One for each attacked model."""
    correct: Mapping[str, np.ndarray]
    """Whether each text of the split is classified correctly, by the checkpoint's URI."""


@dataclass
class AdversarialTraining:
    """One run of the main job."""

    stages: RunStages
    every_round: bool = True
    """Whether models are measured after every round, or after the last one alone."""
    _shards: dict[str, list[Artifact]] = field(default_factory=lambda: defaultdict(list))
    """Attacked training examples of each kind of training, oldest round first."""

    def run(self) -> ExperimentResults:
        """Train, attack and evaluate every kind of training, round by round, and explain the last models' pairs."""
        rounds = list(self.rounds())
        last = rounds[-1]
        stages = self.stages
        display, driver = stages.environment.display, self._driver
        with driver.phase("explain"):
            explained = evaluations.explain_pairs(
                stages.config, stages.executor, last.attacked, display, stages.environment.workers
            )
        by_round = {
            (result.training, result.round): result for found in rounds for result in found.results if result.trained_on
        }
        flat = {each.round: each.model for found in rounds for each in found.attacked if each.model_name == "flat"}
        with driver.phase("evaluate"):
            valid = with_validity(stages.config, stages.executor, last.results, last.attacked)
        compared = with_comparisons(valid, last.attacked, last.correct, stages.config.seed)
        return ExperimentResults(
            results=evaluations.with_consistency(stages.config, compared, explained),
            attacked=last.attacked,
            explained=explained,
            rounds=list(by_round.values()),
            masked=[
                MaskedModel(f"flat, round {number}", model)
                for number, model in flat.items()
                if checkpoints.describe(model.folder)["masked"]
            ],
            shards=self.attacked_texts(),
            failures=tuple(stages.failures),
        )

    def attacked_texts(self) -> dict[str, list[Folder]]:
        """Folders of the attacked training texts so far, by kind of training, oldest round first."""
        return {training: [each.folder for each in shards] for training, shards in self._shards.items()}

    def rounds(self) -> Iterator[Round]:
        """Train, attack and measure every kind of training, round by round."""
        stages = self.stages
        with self._driver.phase("data"):
            stages.prepare()
        kinds, last = stages.config.training.kinds, stages.config.training.last_round
        trained_further = [kind for kind in kinds if kind != "base"]
        with self._driver.phase("train"):
            latest = stages.first_models(kinds)
        for number in range(last + 1):
            if number:
                inputs: dict[str, TrainingInputs] = {
                    kind: stages.round_training(number, latest[kind], self._shards[kind]) for kind in trained_further
                }
                with self._driver.phase("train"):
                    latest |= stages.train(inputs)
            measured = kinds if number == last else self._measured_before_last(number)
            targets = [stages.test_attacks(number, latest[kind]) for kind in measured]
            attacks_next = stages.trains_on_attacks and number < last
            attacked_next = [kind for kind in kinds if kind in ADVERSARIAL and attacks_next]
            for_training = [stages.training_attack(number + 1, latest[kind]) for kind in attacked_next]
            # One pool runs all attacks between two trainings, unless its workers stay warm anyway.
            together = not stages.environment.workers
            with self._driver.phase("attack"):
                attacked, new_shards = stages.attacker.measure(targets, for_training if together else ())
            yield self._measure(number, attacked)
            with self._driver.phase("attack"):
                new_shards = new_shards if together else stages.attacker.run(for_training)
            for kind, rows in zip(attacked_next, new_shards, strict=True):
                self._shards[kind].append(rows)

    @property
    def _driver(self) -> Recorder:
        return self.stages.environment.display.timeline.driver

    def _measured_before_last(self, number: int) -> Sequence[str]:
        """The kinds of training to measure after a round that is not the last one: base is trained once."""
        kinds = self.stages.config.training.kinds
        return [kind for kind in kinds if self.every_round and (not number or kind != "base")]

    def _measure(self, number: int, attacked: Sequence[AttackedModel]) -> Round:
        config = self.stages.config
        split = config.evaluation.split
        with self._driver.phase("evaluate"):
            predicted = evaluations.predictions(attacked, self.stages.data.folder, split, config)
        correct = {uri: one.right for uri, one in predicted.items()}
        results = evaluations.results(attacked, predicted, config.attack.name, self.stages.dataset.label_names)
        log_accuracies(self.stages.environment.tracker, results, split)
        return Round(number, attacked, results, correct)
