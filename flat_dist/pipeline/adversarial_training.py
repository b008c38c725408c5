"""Base training, then rounds of attack, training and evaluation (paper, Section 3.4).

Every step is a stage: it reads files, writes files, and the name of its folder is a hash of its config and inputs.
A stage whose folder is complete is not run again, so running the same command again is how anything resumes, and runs
that share a step share its result.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from flat_dist.attack import plan as attack_plan
from flat_dist.attack.pool import run as pool
from flat_dist.config.schema import Config
from flat_dist.config.serialization import to_dict
from flat_dist.data import dataset_stage
from flat_dist.data.datasets import Dataset, sample
from flat_dist.data.hints import dataset_hints
from flat_dist.data.shards import MANIFEST
from flat_dist.evaluation import distributed as distributed_evaluation
from flat_dist.evaluation.result import Result, Test
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models import encoders, vectors
from flat_dist.models.factory import initial
from flat_dist.pipeline import run_folder
from flat_dist.pipeline.results import Findings
from flat_dist.report.summary_table import METHODS
from flat_dist.resources import synonyms
from flat_dist.runtime.progress import Display
from flat_dist.runtime.seeds import derive_seed
from flat_dist.scheduling.worker_group import WorkerGroup
from flat_dist.storage import stage as stages
from flat_dist.storage.folder import Folder
from flat_dist.storage.lock import exclusive_lock
from flat_dist.tracking import mlflow
from flat_dist.tracking.tracker import Tracker
from flat_dist.training import distributed, memory
from flat_dist.training.loop import History

FINE_TUNING_RATE = 5e-4
"""Learning rates above this one unlearn what an encoder was pretrained for."""


def check(config: Config) -> None:
    """Raise UserError for names, places and resources of the user that no run could use, before any work is done."""
    run_folder.check_name(config.run_name)
    Folder(config.storage).check()
    synonyms.check(config.attack.synonyms)
    vectors.check(config.model)
    encoders.check(config.model)
    mlflow.check(config)


def hints(config: Config, dataset: Dataset) -> list[str]:
    """What is allowed, but seldom meant, or would make the results mislead."""
    return [*_rate_hints(config), *dataset_hints(dataset, config.data.max_length)]


def _rate_hints(config: Config) -> list[str]:
    training = config.training
    fast = max(training.learning_rate, training.round_learning_rate)
    if config.model.name not in encoders.TRANSFORMERS or fast <= FINE_TUNING_RATE:
        return []
    return [
        f"hint: a learning rate of {fast:g} suits CNN and LSTM; transformers are fine-tuned at 1e-5 to 1e-4, as "
        "after the preset transformer: --preset sst2,transformer, or rotten_tomatoes,transformer"
    ]


def plan(config: Config, dataset: Dataset) -> list[str]:
    """The steps of a run, in words."""
    training, attack, split = config.training, config.attack, config.evaluation.split
    attacked = min(attack.sample or dataset.train.num_rows, dataset.train.num_rows)
    rows = getattr(dataset, split).num_rows
    tested = min(config.evaluation.sample or rows, rows)
    steps = [
        f"load {dataset.source}: {dataset.train.num_rows} / {dataset.dev.num_rows} / {dataset.test.num_rows} texts"
    ]
    steps.append(f"train base on clean data, {training.epochs} epochs")
    for kind in training.kinds:
        for number in range(1, training.rounds + 1):
            if kind != "base":
                steps.append(f"{kind}, round {number}: attack {attacked} training texts with {attack.name}")
            steps.append(f"{kind}, round {number}: train {training.epochs_per_round} epochs")
            attacks = config.evaluation.attacks if number == training.rounds else (attack.name,)
            steps.append(f"{kind}, round {number}: attack {tested} {split} texts with {', '.join(attacks)}")
    explained = " and ".join(METHODS[name] for name in config.evaluation.explain)
    steps.append(f"explain pairs with {explained}" if explained else "explain nothing")
    steps.append("write results, cards and report, print the table")
    return steps


@dataclass(frozen=True)
class Round:
    """What was measured after a round of training; 0: after that on clean data."""

    number: int
    tests: Sequence[Test]
    results: Sequence[Result]
    """One of each test."""


@dataclass
class Run:
    """One run of the main job.

    Args:
        config: what to run, with hardware resolved.
        storage: folder of the stages.
        dataset: what to train and measure on.
        tracker: where to log.
        display: where to show progress.
        train: trains a stage, as `distributed.train` does.
        worker_group: attack workers that stay, if there are any; training texts are then attacked only for whoever asks
            for the round that trains on them.
    """

    config: Config
    storage: Folder
    dataset: Dataset
    tracker: Tracker
    display: Display
    train: distributed.Train = distributed.train
    worker_group: WorkerGroup | None = None
    contents: Mapping[str, str | None] | None = None
    """As `run_folder.contents`; none: looked up, for which the user's files must be there."""

    def __post_init__(self) -> None:
        self.places = distributed.places(self.config.training, self.display.log_line)
        self.data = dataset_stage.dataset(self.storage, self.dataset, self.display.log_line)
        if self.config.training.device == "cuda":
            self.config, said = memory.fit(checkpoints.load(self._initial(masked=False)).model, self.config)
            self.display.log_line(said)
        self._base: Folder | None = None
        self._shards: dict[str, list[Folder]] = {kind: [] for kind in self.config.training.kinds}

    def run(self) -> Findings:
        """Train, attack and evaluate every kind of training, round by round, and explain the last round's pairs."""
        rounds = list(self.rounds())
        flat = {test.number: test.checkpoint for found in rounds for test in found.tests if test.kind == "flat"}
        masked = [
            (f"flat, round {number}", "flat", folder)
            for number, folder in flat.items()
            if checkpoints.describe(folder)["masked"]
        ]
        last = rounds[-1]
        explained = distributed_evaluation.interpretations(self.config, self.storage, last.tests, self.display)
        results = distributed_evaluation.with_consistency(last.results, explained)
        seen = [result for found in rounds for result in found.results if result.trained_on]
        return Findings(results, last.tests, explained, seen, masked, self._shards)

    def rounds(self) -> Iterator[Round]:
        """Train, attack and measure every kind of training, round by round."""
        training, shards = self.config.training, self._shards
        latest: dict[str, Folder] = {kind: self._start(kind) for kind in training.kinds}
        for kind, folder in latest.items():
            self._log_history(kind, 0, folder)
        for number in range(training.rounds + 1):
            if number:
                latest = self._train_all(number, latest, shards)
            planned = [stage for kind in training.kinds for stage in self._test_attacks(kind, number, latest[kind])]
            trains = {kind: self._train_attack(number + 1, latest[kind]) for kind in self._attacked(number)}
            # One pool for all attacks between two trainings where its workers would have to start again.
            now, later = ((), trains.values()) if self.worker_group else (trains.values(), ())
            self._generate([*(stage for _, stage in planned), *now])
            tests = [test for test, _ in planned]
            for test in tests:
                path = f"shards/{self.config.evaluation.split}-{test.attack}-round-{number}"
                self.tracker.artifact(test.kind, test.shards, MANIFEST, path)
            yield Round(number, tests, self._measure(tests))
            self._generate(later)
            for kind, stage in trains.items():
                shards[kind].append(Folder(stage.job.output))
                self.tracker.artifact(kind, shards[kind][-1], MANIFEST, f"shards/round-{number + 1}")

    def _generate(self, stages: Iterable[pool.AttackStage]) -> None:
        pool.run_attacks(stages, self.config.attack, self.display, group=self.worker_group)

    def _train_all(self, number: int, start: dict[str, Folder], shards: dict[str, list[Folder]]) -> dict[str, Folder]:
        training = self.config.training
        used = {
            kind: all_so_far if training.shards == "accumulate" else all_so_far[-1:]
            for kind, all_so_far in shards.items()
        }
        # As many at once as the cluster has room for: most of a small model's training is Ray Train's start.
        executor = ThreadPoolExecutor(min(self.places, len(start)))
        try:
            futures = {kind: executor.submit(self._train, kind, number, start[kind], used[kind]) for kind in start}
            trained = {kind: future.result() for kind, future in futures.items()}
        finally:
            executor.shutdown(wait=False, cancel_futures=True)
        for kind, folder in trained.items():
            self._log_history(kind, number, folder)
        return trained

    def _attacked(self, number: int) -> list[str]:
        kinds: tuple[str, ...] = self.config.training.kinds if number < self.config.training.rounds else ()
        return [kind for kind in kinds if kind != "base"]

    def _start(self, kind: str) -> Folder:
        if kind == "flat" and self.config.training.init == "scratch":
            return self._train("flat", 0, self._initial(masked=True), [])
        if self._base is None:
            self._base = self._train("base", 0, self._initial(masked=False), [])
        return self._base

    def _contents(self) -> Mapping[str, str | None]:
        if self.contents is None:
            self.contents = run_folder.contents(self.config)
        return self.contents

    def _stage(self, label: str, inputs: Mapping[str, Any]) -> Folder:
        return stages.folder(self.storage, label, inputs)

    def _initial(self, masked: bool) -> Folder:
        data, model, contents = self.config.data, self.config.model, self._contents()
        inputs = {
            "data": self.dataset.fingerprint,
            "lengths": [data.max_length, data.min_frequency],
            "model": {**to_dict(model), **contents},
            "encoder": contents["encoder"] or encoders.fingerprint(model),
            "masked": masked,
            "seed": self.config.seed,
        }
        folder = self._stage("init", inputs)
        if not stages.is_finished(folder, inputs):
            with exclusive_lock(folder, "make the initial weights", self.display.log_line):
                if stages.begin(folder, inputs, self.display.log_line):
                    checkpoint, made_of = initial(self.config, self.dataset, masked)
                    self.display.log_line(made_of)
                    checkpoints.save(checkpoint, folder)
                    stages.commit(folder, inputs, checkpoints.FILES, made_of=made_of)
        return folder

    def _train(self, kind: str, number: int, start: Folder, shards: Sequence[Folder]) -> Folder:
        training = self.config.training
        first = number == 0
        if not first and training.round_clip is not None:
            training = replace(training, clip=training.round_clip)
        job = distributed.TrainingJob(
            name=f"{kind}-{number}",
            kind=kind,
            config=to_dict(replace(self.config, training=training)),
            data=self.data.uri,
            start=start.uri,
            shards=tuple(folder.uri for folder in shards),
            epochs=training.epochs if first else training.epochs_per_round,
            learning_rate=training.learning_rate if first else training.round_learning_rate,
        )
        inputs = self._training_inputs(job)
        folder = self._stage(f"train-{job.name}", inputs)
        if not stages.is_finished(folder, inputs):
            title = f"train {kind}" if first else f"round {number}: train {kind}"
            with exclusive_lock(folder, title, self.display.log_line):
                if stages.begin(folder, inputs, self.display.log_line):  # unless another run has made it
                    self._train_stage(job, folder, title, inputs)
        return folder

    def _train_stage(self, job: distributed.TrainingJob, folder: Folder, title: str, inputs: Mapping[str, Any]) -> None:
        with self.display.stage(title, job.epochs) as bar:
            self.train(job, folder.name, self.storage / "ray_train", folder, bar)
        stages.commit(folder, inputs, (*checkpoints.FILES, distributed.HISTORY))
        (self.storage / "ray_train").remove(folder.name)

    def _log_history(self, kind: str, number: int, folder: Folder) -> None:
        training = self.config.training
        before = training.epochs + (number - 1) * training.epochs_per_round if number else 0
        for metrics in folder.read_json(distributed.HISTORY, History):
            values = {f"train/{name}": value for name, value in metrics.items() if name != "epoch"}
            self.tracker.metrics(kind, values, before + int(metrics["epoch"]))

    def _training_inputs(self, job: distributed.TrainingJob) -> dict[str, Any]:
        training, objective = job.config["training"], job.config["objective"]
        masked = job.kind == "flat"
        idle = {"keep": not job.shards, "mask_learning_rate": not masked}
        used = [name for name in training if name in distributed.MATTERS and not idle.get(name)]
        return {
            "data": self.dataset.fingerprint,
            "start": checkpoints.fingerprint(Folder(job.start)),
            "shards": [Folder(uri).name for uri in job.shards],
            "training": {name: training[name] for name in used},
            "objective": objective if masked else {name: objective[name] for name in ("weighting", "double_softmax")},
            "frozen": job.kind in training["freeze_embeddings"],
            "stage": [job.kind, job.name, job.epochs, job.learning_rate, self.config.seed],
        }

    def _attack(self, checkpoint: Folder, split: str, examples: pa.Table, recipe: str, number: int) -> pool.AttackStage:
        data = self.dataset.fingerprint
        job = attack_plan.attack(self.config, self.storage, checkpoint, examples, data, recipe, number)
        model = checkpoint.name.removeprefix("train-").rpartition("-")[0]
        return pool.AttackStage(f"{recipe} on {model}, {split} texts", job, examples)

    def _train_attack(self, number: int, checkpoint: Folder) -> pool.AttackStage:
        attack = self.config.attack
        examples = sample(self.dataset.train, attack.sample, derive_seed(self.config.seed, "attack", number))
        return self._attack(checkpoint, "training", examples, attack.name, number)

    def _test_attacks(self, kind: str, number: int, checkpoint: Folder) -> list[tuple[Test, pool.AttackStage]]:
        trained_on = self.config.attack.name
        evaluation = self.config.evaluation
        attacks = evaluation.attacks if number == self.config.training.rounds else (trained_on,)
        rows = getattr(self.dataset, evaluation.split)
        examples = sample(rows, evaluation.sample, derive_seed(self.config.seed, "evaluation"))
        planned = [self._attack(checkpoint, evaluation.split, examples, attack, 0) for attack in attacks]
        return [
            (Test(kind, number, checkpoint, stage.job.attack, Folder(stage.job.output)), stage) for stage in planned
        ]

    def _measure(self, tests: Sequence[Test]) -> list[Result]:
        split = self.config.evaluation.split
        accuracies = distributed_evaluation.accuracies(tests, self.data, split, self.config)
        results = distributed_evaluation.results(tests, accuracies, self.config.attack.name)
        for result in results:
            self.tracker.metrics(result.training, result.metrics(split), result.round)
        return results
