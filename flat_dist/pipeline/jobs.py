"""The work of `flat-dist train`, `attack` and `evaluate`, for the command line and for `flat_dist.api`.

Each function connects to Ray, works, and leaves Ray again. Running one again with the same arguments continues what was
interrupted, and repeats no finished step.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from flat_dist.attack.checks import check_attacks, check_curve
from flat_dist.attack.plan import TextsToAttack, plan_attack
from flat_dist.attack.pool.run import run_attacks
from flat_dist.config.schema import Config, Split
from flat_dist.config.serialization import content_hash
from flat_dist.config.validation import validate
from flat_dist.data import datasets
from flat_dist.data.datasets import Dataset
from flat_dist.data.hints import dataset_hints
from flat_dist.data.pairs import Pairs
from flat_dist.evaluation import annotation_sheet
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models.artifact import ModelArtifact, open_checkpoint
from flat_dist.pipeline import (
    adversarial_sets,
    evaluation,
    experiment,
    finished,
    own_models,
    results,
    run_folder,
    sheets,
)
from flat_dist.pipeline.adversarial_training import AdversarialTraining
from flat_dist.pipeline.experiment import Experiment, ExperimentResults, Source
from flat_dist.pipeline.plan import check_classes, hints
from flat_dist.pipeline.run_worker import run_workers, trainer
from flat_dist.pipeline.stages import Environment, RunStages
from flat_dist.resources import synonym_file
from flat_dist.runtime import cluster, hardware
from flat_dist.runtime.progress import Display
from flat_dist.runtime.seeds import derive_seed
from flat_dist.storage.folder import Folder
from flat_dist.storage.lock import exclusive_lock
from flat_dist.storage.stage import Executor
from flat_dist.tracking import mlflow


@dataclass(frozen=True)
class Finished:
    """A run or an evaluation that has ended."""

    config: Config
    """As it ran: what was `auto` has its value."""
    folder: Folder
    """Results, cards and the report."""
    found: ExperimentResults


def train(config: Config, dataset: Dataset, display: Display) -> Finished:
    """Train, attack and evaluate: the main job.

    Args:
        config: one that `flat_dist.pipeline.plan.check` accepts.
        dataset: what to train and evaluate on.
        display: shows the progress; it is opened here.

    Raises:
        UserError: the run's folder belongs to another config, or a server cannot be reached.
    """
    driver = display.timeline.driver
    check_classes(config, dataset)
    run_folder.check(config, run_folder.identity(config, dataset.fingerprint))
    mlflow.check_server(config)
    with ExitStack() as ray_and_display:
        with driver.phase("start"):
            ray_and_display.enter_context(cluster.connected())
        ray_and_display.enter_context(display)
        config, described = hardware.resolve(config, cluster.machine(config.hardware, display.log_line))
        workers = run_workers(config)  # they start while this process goes on
        for line in (described, *datasets.describe(dataset), *hints(config, dataset)):
            display.log_line(line)
        settings = run_folder.identity(config, dataset.fingerprint)
        name = run_folder.run_name(config, settings)
        folder = Folder(config.storage) / name
        run_folder.open_folder(folder, settings)
        with (
            exclusive_lock(folder, "this run", log_line=display.log_line),
            mlflow.tracked(config, name, settings, folder, display.log_line) as tracker,
        ):
            environment = Environment(Folder(config.storage), tracker, display, trainer(config, workers), workers)
            stages = RunStages(config, dataset, environment)
            found = AdversarialTraining(stages).run()
            with driver.phase("write"):
                processes = display.timeline.processes() if config.profile else {}
                source = experiment.source(config, dataset)
                results.publish(folder, Experiment(config, settings, source, processes), found, tracker)
        if not found.failures:
            finished.record(folder, config, stages.executor.used, experiment.hints(found))
    return Finished(config, folder, found)


def attack(config: Config, checkpoint: Folder, dataset: Dataset, display: Display) -> Folder:
    """Attack a checkpoint on the split and sample of `config.evaluation`, with `config.attack`.

    Args:
        config: a valid one.
        checkpoint: the model to attack.
        dataset: with the classes of the model.
        display: shows the progress; it is opened here.

    Returns:
        The folder of the shards, rows of `flat_dist.data.shards.SCHEMA`.

    Raises:
        UserError: the attack cannot run, or the classes differ.
    """
    Folder(config.storage).check()
    synonym_file.check(config.attack.synonyms)
    runners = check_attacks([config.attack.name], config.attack, [config.attack.scores], dataset.pairs)
    own_models.check_uses(checkpoint, [config.attack.name])
    datasets.check_classes(dataset, checkpoints.load(checkpoint).label_names, checkpoint.uri)
    own_models.check_pairs(checkpoint, dataset.pairs)
    split: Split = config.evaluation.split
    draw = derive_seed(config.seed, "evaluation")
    examples = datasets.sample(getattr(dataset, split), config.evaluation.sample, draw)
    with cluster.connected(), display:
        config, described = hardware.resolve(config, cluster.machine(config.hardware, display.log_line))
        length = checkpoints.describe(checkpoint)["max_length"]
        for line in (described, *runners, *datasets.describe(dataset), *dataset_hints(dataset, length, split)):
            display.log_line(line)
        texts = TextsToAttack(split, examples, dataset.fingerprint)
        plan = plan_attack(config, open_checkpoint(checkpoint), texts, config.attack.name)
        (shards,) = run_attacks([plan], config.attack, Executor(Folder(config.storage), display.log_line), display)
    return shards.folder


def check_evaluation(config: Config) -> None:
    """Check the config of an evaluation, before any work.

    Raises:
        UserError: it has a value that no evaluation can use.
    """
    validate(config)
    run_folder.check_name(config.run_name)
    Folder(config.storage).check()
    synonym_file.check(config.attack.synonyms)
    mlflow.check(config)
    check_curve(config)


@dataclass(frozen=True)
class Evaluation:
    """Checkpoints, and what to measure them on."""

    config: Config
    """One that `check_evaluation` accepts."""
    models: Sequence[ModelArtifact]
    data: Dataset | Sequence[Pairs]
    """Texts to attack, or sets of adversarial texts that exist."""
    trained_on: str | None = None
    """The attack that training saw; None where that is not known."""
    messages: Sequence[str] = ()
    """Lines to log."""
    annotate: int = 0
    """Pairs to write as a blind sheet for people."""
    annotated: Sequence[str] = field(default=())
    """Filled sheets."""

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Those of all models."""
        return evaluation.label_names(self.models)

    @property
    def source(self) -> Source:
        """The data, for the report."""
        if isinstance(self.data, Dataset):
            return experiment.source(self.config, self.data)
        return adversarial_sets.sets_source(self.data, self.classes)

    def settings(self) -> dict[str, Any]:
        """All that the results depend on."""
        measured: dict[str, Any]
        if isinstance(self.data, Dataset):
            split = self.config.evaluation.split
            measured = {"data": self.data.fingerprint, "split": split, "trained_on": self.trained_on}
        else:
            measured = {"adversarial": {one.name: one.fingerprint for one in self.data}}
        return evaluation.settings(self.config, self.models, measured)

    def _check(self) -> list[str]:
        """Lines to log about the data and the attacks.

        Raises:
            UserError: they do not fit the models.
        """
        adversarial = not isinstance(self.data, Dataset)
        for model in self.models:
            attacks = () if adversarial else self.config.evaluation.attacks
            own_models.check_uses(model.folder, attacks, self.config.evaluation.explain)
        if not isinstance(self.data, Dataset):
            return []
        config, first = self.config, self.models[0].folder
        runners = check_attacks(config.evaluation.attacks, config.attack, config.evaluation.scores, self.data.pairs)
        datasets.check_classes(self.data, self.classes, first.uri)
        for model in self.models:
            own_models.check_pairs(model.folder, self.data.pairs)
        length = checkpoints.describe(first)["max_length"]
        return [*runners, *datasets.describe(self.data), *dataset_hints(self.data, length, config.evaluation.split)]

    def run(self, display: Display) -> Finished:
        """Measure the models, and write results, cards and the report.

        Args:
            display: shows the progress; it is opened here.

        Raises:
            UserError: an attack cannot run, the classes differ, the folder belongs to another evaluation, or a server
                cannot be reached.
        """
        messages, settings = [*self.messages, *self._check()], self.settings()
        config, name = self.config, self.config.run_name or f"evaluate-{content_hash(settings)}"
        folder = Folder(config.storage) / name
        run_folder.check_folder(folder, settings)
        mlflow.check_server(config)
        sheets_folder = folder / results.ANNOTATION
        judged = annotation_sheet.read_sheets(sheets_folder, self.annotated) if self.annotated else None
        with cluster.connected(), display:
            config, described = hardware.resolve(config, cluster.machine(config.hardware, display.log_line))
            workers = run_workers(config) if isinstance(self.data, Dataset) else None
            for line in (described, *messages):
                display.log_line(line)
            run_folder.open_folder(folder, settings)
            with (
                exclusive_lock(folder, "this run", log_line=display.log_line),
                mlflow.tracked(config, name, settings, folder, display.log_line) as tracker,
            ):
                executor = Executor(Folder(config.storage), display.log_line)
                environment = evaluation.Environment(tracker, display, executor, workers)
                if isinstance(self.data, Dataset):
                    found = evaluation.on_dataset(config, self.models, self.data, self.trained_on, environment)
                else:
                    found = adversarial_sets.on_sets(config, self.models, self.data, environment)
                found = replace(found, annotation=judged)
                if self.annotate:
                    sheets.write(sheets_folder, found, self.classes, self.annotate, config.seed, display.log_line)
                results.publish(folder, Experiment(config, settings, self.source), found, tracker)
        return Finished(config, folder, found)
