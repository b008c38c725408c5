"""Base training, then rounds of attack, training and evaluation (paper, Section 3.4).

Every step is a stage: it reads files, writes files, and the name of its folder is a hash of its config and inputs.
A stage whose folder is complete is not run again, so running the same command again is how anything resumes, and runs
that share a step share its result.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from typing import Any

import ray
import torch

from flat_dist import assets
from flat_dist.attack import pool
from flat_dist.attack.resources import provenance
from flat_dist.config import Config, content_hash, to_dict
from flat_dist.data.batches import Encoder, encode_clean
from flat_dist.data.datasets import Dataset, sample
from flat_dist.data.shards import read_shards
from flat_dist.data.storage import Folder
from flat_dist.data.tables import read_table, write_table
from flat_dist.data.text import Vocabulary, tokenize
from flat_dist.evaluation.accuracy import after_attack
from flat_dist.evaluation.explain import changed_pairs, explain_pairs
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models.checkpoint import Checkpoint
from flat_dist.models.vectors import initial_vectors
from flat_dist.progress import Display
from flat_dist.seeds import derive_seed
from flat_dist.tracking.mlflow import Tracker
from flat_dist.tracking.report import Result
from flat_dist.training import distributed
from flat_dist.training.loop import accuracy

STAGE_VERSION = 1
"""Raised when a change of the code makes the results of older stages wrong."""

DONE = "stage.json"
"""Written last into a stage's folder, with what went into it; stages with a manifest of their own need none."""


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
        self.data = self._write_dataset()
        self._base: Folder | None = None

    def run(self) -> list[Result]:
        """Train, attack and evaluate every kind of training; returns the table of the last round."""
        final = {kind: self._run_kind(kind) for kind in self.config.training.kinds}
        return self._explain([result for results in final.values() for result in results])

    def _run_kind(self, kind: str) -> list[tuple[Result, Folder, Folder]]:
        training = self.config.training
        checkpoint, shards = self._start(kind), []
        results = self._evaluate(kind, 0, checkpoint)
        for number in range(1, training.rounds + 1):
            if kind != "base":
                examples = sample(
                    self.dataset.train, self.config.attack.sample, derive_seed(self.config.seed, "attack", number)
                )
                title = f"round {number}: attack {kind} with {self.config.attack.name}"
                shards.append(self._attack(title, checkpoint, examples, self.config.attack.name, number))
            used = shards if training.shards == "accumulate" else shards[-1:]
            checkpoint = self._train(kind, number, checkpoint, used)
            results = self._evaluate(kind, number, checkpoint)
        return results

    def _start(self, kind: str) -> Folder:
        if kind == "flat" and self.config.training.init == "scratch":
            return self._train("flat", 0, self._initial(masked=True), [])
        if self._base is None:
            self._base = self._train("base", 0, self._initial(masked=False), [])
        return self._base

    def _stage(self, label: str, inputs: Mapping[str, Any]) -> Folder:
        return self.storage / "stages" / f"{label}-{content_hash({'version': STAGE_VERSION, **inputs})}"

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
            "masked": masked,
            "seed": self.config.seed,
        }
        folder = self._stage("init", inputs)
        if not folder.exists(DONE):
            texts = (tokenize(text) for text in self.dataset.train["text"].to_pylist())
            encoder = Encoder(Vocabulary.build(texts, data.min_frequency), data.max_length)
            torch.manual_seed(derive_seed(self.config.seed, "init"))
            network = checkpoints.build(model, len(encoder.vocabulary), len(self.dataset.label_names), masked)
            vectors, found = initial_vectors(model, encoder.vocabulary.words, derive_seed(self.config.seed, "vectors"))
            network.embedding.weight.data.copy_(torch.from_numpy(vectors))
            self.display.say(f"vocabulary: {len(encoder.vocabulary)} words, {found} with pretrained vectors")
            checkpoints.save(Checkpoint(network, model, encoder, self.dataset.label_names), folder)
            folder.write_json(DONE, inputs)
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
        for metrics in folder.read_json(distributed.HISTORY):
            step = int(metrics["epoch"]) + (0 if first else training.epochs + (number - 1) * training.epochs_per_round)
            self.tracker.metrics(kind, {f"train/{name}": value for name, value in metrics.items()}, step)
        return folder

    def _training_inputs(self, job: distributed.TrainingJob) -> dict[str, Any]:
        training, objective = to_dict(self.config.training), to_dict(self.config.objective)
        used = ("batch_size", "clip", "select", "workers") + (("keep",) if job.shards else ())
        masked = job.kind == "flat"
        return {
            "data": self.dataset.fingerprint,
            "start": checkpoints.fingerprint(Folder(job.start)),
            "shards": [Folder(uri).name for uri in job.shards],
            "training": {name: training[name] for name in used},
            "objective": objective if masked else {name: objective[name] for name in ("weighting", "double_softmax")},
            "frozen": job.kind in training["freeze_embeddings"],
            "stage": [job.kind, job.name, job.epochs, job.learning_rate, self.config.seed],
        }

    def _attack(self, title: str, checkpoint: Folder, examples: Any, recipe: str, number: int) -> Folder:
        identity = {
            "recipe": recipe,
            "resources": provenance(recipe, self.config.attack.synonyms, assets.prepare()),
            "checkpoint": checkpoints.fingerprint(checkpoint),
            "seed": self.config.seed,
            "versions": {name: metadata.version(name) for name in ("textattack", "torch", "nltk")},
        }
        attacked = content_hash([examples["example_id"].to_pylist(), self.dataset.fingerprint])
        inputs = {**identity, "examples": attacked, "unit_size": self.config.attack.unit_size, "round": number}
        folder = self._stage(f"attack-{recipe}", inputs)
        job = pool.AttackJob(
            recipe=recipe,
            checkpoint=checkpoint.uri,
            synonyms=self.config.attack.synonyms,
            output=folder.uri,
            round_number=number,
            seed=self.config.seed,
            device=self.config.attack.device,
            identity=identity,
        )
        with self.display.stage(title, examples.num_rows) as bar:
            pool.generate(job, examples, self.config.attack, bar)
        return folder

    def _evaluate(self, kind: str, number: int, checkpoint: Folder) -> list[tuple[Result, Folder, Folder]]:
        trained_on = self.config.attack.name
        last = number == self.config.training.rounds
        attacks = self.config.evaluation.attacks if last else (trained_on,)
        examples = sample(self.dataset.test, self.config.evaluation.sample, derive_seed(self.config.seed, "evaluation"))
        clean = ray.get(_accuracy.remote(checkpoint.uri, self.data.uri, "test"))
        self.tracker.metrics(kind, {"test/accuracy": clean}, number)
        results = []
        for attack in attacks:
            title = f"round {number}: test {kind} against {attack}"
            shards = self._attack(title, checkpoint, examples, attack, 0)
            summary = after_attack(read_shards(shards))
            result = Result(
                training=kind,
                round=number,
                attack=attack,
                trained_on=attack == trained_on,
                accuracy=clean,
                after_attack_accuracy=summary.after_attack_accuracy,
                attack_success_rate=summary.attack_success_rate,
                mean_queries=summary.mean_queries,
                words_changed=summary.words_changed,
                n=summary.n,
            )
            self._log(result, number)
            results.append((result, checkpoint, shards))
        return results

    def _explain(self, results: Sequence[tuple[Result, Folder, Folder]]) -> list[Result]:
        evaluation = self.config.evaluation
        pending = {
            _explain.remote(checkpoint.uri, shards.uri, evaluation.explain, evaluation.steps): position
            for position, (_, checkpoint, shards) in enumerate(results)
        }
        explained = [result for result, _, _ in results]
        with self.display.stage("integrated gradients of pairs", len(pending)) as bar:
            while pending:
                (done,), _ = ray.wait(list(pending), num_returns=1)
                position = pending.pop(done)
                explained[position] = replace(explained[position], **ray.get(done))
                self._log(explained[position], explained[position].round)
                bar.advance(1)
        return explained

    def _log(self, result: Result, number: int) -> None:
        numbers = {name: value for name, value in asdict(result).items() if isinstance(value, float)}
        values = {f"test/{result.attack}/{name}": value for name, value in numbers.items() if name != "accuracy"}
        self.tracker.metrics(result.training, values, number)


@ray.remote(num_cpus=1, max_retries=2)
def _accuracy(checkpoint: str, data: str, split: str) -> float:
    torch.set_num_threads(1)
    loaded = checkpoints.load(Folder(checkpoint))
    return accuracy(loaded.model, encode_clean(read_table(Folder(data), split), loaded.encoder))


@ray.remote(num_cpus=1, max_retries=2)
def _explain(checkpoint: str, shards: str, count: int, steps: int) -> dict[str, Any]:
    torch.set_num_threads(1)
    pairs = changed_pairs(read_shards(Folder(shards)))
    pairs = pairs[: count or len(pairs)]
    if not pairs:
        return {}
    measured, _ = explain_pairs(checkpoints.load(Folder(checkpoint)), pairs, steps)
    return {"kendall_tau": measured.kendall_tau, "top5_intersection": measured.top_5, "pairs": measured.pairs}
