"""Base training, then rounds of attack, training and evaluation (paper, Section 3.4).

Every step is a stage: it reads files, writes files, and the name of its folder is a hash of its config and inputs.
A stage whose folder is complete is not run again, so running the same command again is how anything resumes, and runs
that share a step share its result.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any

import pyarrow as pa
import ray
import torch

from flat_dist import hardware, stages
from flat_dist.attack import pool, synonyms
from flat_dist.config import Config, to_dict
from flat_dist.data.batches import encode_clean
from flat_dist.data.datasets import Dataset, sample
from flat_dist.data.shards import read_shards
from flat_dist.data.storage import Folder
from flat_dist.data.tables import read_table, write_table
from flat_dist.evaluation.accuracy import after_attack
from flat_dist.evaluation.explain import changed_pairs, explain_pairs
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models import encoders, vectors
from flat_dist.models.initial import initial
from flat_dist.progress import Display
from flat_dist.seeds import derive_seed
from flat_dist.stages import DONE
from flat_dist.tracking.mlflow import Tracker
from flat_dist.tracking.report import Result
from flat_dist.training import distributed
from flat_dist.training.loop import accuracy

FINE_TUNING_RATE = 5e-4
"""Learning rates above this one unlearn what an encoder was pretrained for."""


def check(config: Config) -> None:
    """Raise UserError for the user's own resources that no run could use, before any work is done."""
    synonyms.check(config.attack.synonyms)
    vectors.check(config.model)
    encoders.check(config.model)
    Folder(config.storage)


def hints(config: Config) -> list[str]:
    """What is allowed, but seldom meant."""
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
    training, attack = config.training, config.attack
    attacked = min(attack.sample or dataset.train.num_rows, dataset.train.num_rows)
    tested = min(config.evaluation.sample or dataset.test.num_rows, dataset.test.num_rows)
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
            steps.append(f"{kind}, round {number}: attack {tested} test texts with {', '.join(attacks)}")
    steps.append("explain pairs with integrated gradients, print the table")
    return steps


@dataclass
class Run:
    """One run of the main job."""

    config: Config
    storage: Folder
    dataset: Dataset
    tracker: Tracker
    display: Display

    def __post_init__(self) -> None:
        self.places = distributed.places(self.config.training)
        self.data = self._write_dataset()
        if self.config.training.device == "cuda":
            self.config, said = hardware.fit(checkpoints.load(self._initial(masked=False)).model, self.config)
            self.display.say(said)
        self._base: Folder | None = None

    def run(self) -> list[Result]:
        """Train, attack and evaluate every kind of training, round by round; returns the table of the last round."""
        training = self.config.training
        latest = {kind: self._start(kind) for kind in training.kinds}
        for kind, folder in latest.items():
            self._log_history(kind, 0, folder)
        shards: dict[str, list[Folder]] = {kind: [] for kind in training.kinds}
        for number in range(training.rounds + 1):
            if number:
                latest = self._train_all(number, latest, shards)
            # One pool for all attacks between two trainings: its workers take long to start.
            tests = [stage for kind in training.kinds for stage in self._test_attacks(kind, number, latest[kind])]
            trains = {kind: self._train_attack(number + 1, latest[kind]) for kind in self._attacked(number)}
            pool.generate([*(test.stage for test in tests), *trains.values()], self.config.attack, self.display)
            for kind, stage in trains.items():
                shards[kind].append(Folder(stage.job.output))
                self.tracker.artifacts(kind, shards[kind][-1], f"shards/round-{number + 1}")
            for test in tests:
                self.tracker.artifacts(test.kind, test.shards, f"shards/test-{test.attack}-round-{number}")
            results = self._measure(tests)
        return self._explain(tests, results)

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
        kinds = self.config.training.kinds if number < self.config.training.rounds else ()
        return [kind for kind in kinds if kind != "base"]

    def _start(self, kind: str) -> Folder:
        if kind == "flat" and self.config.training.init == "scratch":
            return self._train("flat", 0, self._initial(masked=True), [])
        if self._base is None:
            self._base = self._train("base", 0, self._initial(masked=False), [])
        return self._base

    def _stage(self, label: str, inputs: Mapping[str, Any]) -> Folder:
        return stages.folder(self.storage, label, inputs)

    def _write_dataset(self) -> Folder:
        folder = self._stage("data", {"fingerprint": self.dataset.fingerprint})
        if not folder.exists(DONE):
            for split in ("train", "dev", "test"):
                write_table(folder, split, getattr(self.dataset, split))
            description = {name: getattr(self.dataset, name) for name in ("fingerprint", "label_names", "source")}
            folder.write_json(DONE, description)
        return folder

    def _initial(self, masked: bool) -> Folder:
        data, model = self.config.data, self.config.model
        inputs = {
            "data": self.dataset.fingerprint,
            "lengths": [data.max_length, data.min_frequency],
            "model": to_dict(model),
            "encoder": encoders.fingerprint(model),
            "masked": masked,
            "seed": self.config.seed,
        }
        folder = self._stage("init", inputs)
        if not folder.exists(DONE):
            checkpoint, made_of = initial(self.config, self.dataset, masked)
            self.display.say(made_of)
            checkpoints.save(checkpoint, folder)
            folder.write_json(DONE, {**inputs, "made_of": made_of})
        return folder

    def _train(self, kind: str, number: int, start: Folder, shards: Sequence[Folder]) -> Folder:
        training = self.config.training
        first = number == 0
        job = distributed.TrainingJob(
            name=f"{kind}-{number}",
            kind=kind,
            config=to_dict(self.config),
            data=self.data.uri,
            start=start.uri,
            shards=tuple(folder.uri for folder in shards),
            epochs=training.epochs if first else training.epochs_per_round,
            learning_rate=training.learning_rate if first else training.round_learning_rate,
        )
        inputs = self._training_inputs(job)
        folder = self._stage(f"train-{job.name}", inputs)
        if not folder.exists(DONE):
            title = f"train {kind}" if first else f"round {number}: train {kind}"
            with self.display.stage(title, job.epochs) as bar:
                distributed.train(job, folder.name, self.storage / "ray_train", folder, bar)
            folder.write_json(DONE, inputs)
            (self.storage / "ray_train").remove(folder.name)
        return folder

    def _log_history(self, kind: str, number: int, folder: Folder) -> None:
        training = self.config.training
        before = training.epochs + (number - 1) * training.epochs_per_round if number else 0
        for metrics in folder.read_json(distributed.HISTORY):
            values = {f"train/{name}": value for name, value in metrics.items() if name != "epoch"}
            self.tracker.metrics(kind, values, before + int(metrics["epoch"]))

    def _training_inputs(self, job: distributed.TrainingJob) -> dict[str, Any]:
        training, objective = to_dict(self.config.training), to_dict(self.config.objective)
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

    def _attack(self, checkpoint: Folder, split: str, examples: pa.Table, recipe: str, number: int) -> pool.Stage:
        job = stages.attack(self.config, self.storage, checkpoint, examples, self.dataset.fingerprint, recipe, number)
        model = checkpoint.name.removeprefix("train-").rpartition("-")[0]
        return pool.Stage(f"{recipe} on {model}, {split} texts", job, examples)

    def _train_attack(self, number: int, checkpoint: Folder) -> pool.Stage:
        attack = self.config.attack
        examples = sample(self.dataset.train, attack.sample, derive_seed(self.config.seed, "attack", number))
        return self._attack(checkpoint, "training", examples, attack.name, number)

    def _test_attacks(self, kind: str, number: int, checkpoint: Folder) -> list["_Test"]:
        trained_on = self.config.attack.name
        attacks = self.config.evaluation.attacks if number == self.config.training.rounds else (trained_on,)
        examples = sample(self.dataset.test, self.config.evaluation.sample, derive_seed(self.config.seed, "evaluation"))
        return [
            _Test(kind, number, checkpoint, self._attack(checkpoint, "test", examples, attack, 0)) for attack in attacks
        ]

    def _measure(self, tests: Sequence["_Test"]) -> list[Result]:
        accuracies = {
            test.checkpoint.uri: self._remote(_accuracy, test.checkpoint.uri, self.data.uri) for test in tests
        }
        results = []
        for test in tests:
            summary = after_attack(read_shards(test.shards))
            result = Result(
                training=test.kind,
                round=test.number,
                attack=test.attack,
                trained_on=test.attack == self.config.attack.name,
                accuracy=ray.get(accuracies[test.checkpoint.uri]),
                after_attack_accuracy=summary.after_attack_accuracy,
                attack_success_rate=summary.attack_success_rate,
                mean_queries=summary.mean_queries,
                words_changed=summary.words_changed,
                n=summary.n,
            )
            self._log(result)
            results.append(result)
        return results

    def _explain(self, tests: Sequence["_Test"], results: Sequence[Result]) -> list[Result]:
        evaluation, explained = self.config.evaluation, list(results)
        pending = {
            self._remote(_explain, test.checkpoint.uri, test.shards.uri, evaluation.explain, evaluation.steps): position
            for position, test in enumerate(tests)
        }
        with self.display.stage("integrated gradients of pairs", len(pending)) as bar:
            while pending:
                (done,), _ = ray.wait(list(pending), num_returns=1)
                position = pending.pop(done)
                explained[position] = replace(explained[position], **ray.get(done))
                self._log(explained[position])
                bar.advance(1)
        return explained

    def _remote(self, function: Any, *arguments: Any) -> ray.ObjectRef:
        """Call a measurement on the device of training; on a GPU one at a time."""
        device = self.config.training.device
        return function.options(num_gpus=1 if device == "cuda" else 0).remote(*arguments, device)

    def _log(self, result: Result) -> None:
        self.tracker.metrics(result.training, {"test/accuracy": result.accuracy}, result.round)
        numbers = {name: value for name, value in asdict(result).items() if isinstance(value, float)}
        values = {f"test/{result.attack}/{name}": value for name, value in numbers.items() if name != "accuracy"}
        self.tracker.metrics(result.training, values, result.round)


@dataclass(frozen=True)
class _Test:
    """A model of one kind and round, and an attack on it."""

    kind: str
    number: int
    checkpoint: Folder
    stage: pool.Stage

    @property
    def attack(self) -> str:
        return self.stage.job.recipe

    @property
    def shards(self) -> Folder:
        return Folder(self.stage.job.output)


@ray.remote(num_cpus=1, max_retries=2)
def _accuracy(checkpoint: str, data: str, device: str) -> float:
    torch.set_num_threads(1)
    loaded = checkpoints.load(Folder(checkpoint), device)
    return accuracy(loaded.model, encode_clean(read_table(Folder(data), "test"), loaded.encoder))


@ray.remote(num_cpus=1, max_retries=2)
def _explain(checkpoint: str, shards: str, count: int, steps: int, device: str) -> dict[str, Any]:
    torch.set_num_threads(1)
    pairs = changed_pairs(read_shards(Folder(shards)))
    pairs = pairs[: count or len(pairs)]
    if not pairs:
        return {}
    measured, _ = explain_pairs(checkpoints.load(Folder(checkpoint), device), pairs, steps)
    return {"kendall_tau": measured.kendall_tau, "top5_intersection": measured.top_5, "pairs": measured.pairs}
