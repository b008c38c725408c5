"""Measures checkpoints on Ray: accuracy, what attacks left of it, and how consistent interpretations are.

Explaining pairs is a stage, which one driver at a time works on: units of similar pairs are spread over the cluster,
each is written as it comes, and a stage that was interrupted goes on after the last of them.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import metadata
from typing import Any

import pyarrow as pa
import ray
import torch

from flat_dist.config.schema import Config
from flat_dist.config.serialization import content_hash
from flat_dist.data.batches import encode_clean
from flat_dist.data.shards import read_shards
from flat_dist.evaluation.accuracy import after_attack
from flat_dist.evaluation.attributions import SCHEMA, AttributionMethod, choose, explain, methods, summarise
from flat_dist.evaluation.result import Explained, Result, Test
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models.checkpoint import Checkpoint
from flat_dist.models.encoders import TRANSFORMERS
from flat_dist.runtime import tasks
from flat_dist.runtime.progress import Bar, Display
from flat_dist.storage import stage as stages
from flat_dist.storage.arrow import PART, Part, read_table, valid_parts, write_part, write_table
from flat_dist.storage.folder import Folder
from flat_dist.storage.lock import exclusive_lock
from flat_dist.training.loop import accuracy

PAIRS = "pairs"
"""The table of a finished explanation."""

UNIT, TRANSFORMER_UNIT = 32, 2
"""Pairs of a unit, which is what is lost when a worker dies; a transformer's take a hundred times as long."""


def accuracies(tests: Sequence[Test], data: Folder, split: str, config: Config) -> dict[str, float]:
    """Accuracy of each checkpoint on a split of the dataset in a folder, by the checkpoint's URI."""
    device = config.training.device
    uris = dict.fromkeys(test.checkpoint.uri for test in tests)
    calls = {uri: partial(_on(device, _accuracy).remote, uri, data.uri, split, device) for uri in uris}
    found = dict(tasks.results("accuracy", calls, config.attack.stall_seconds))
    return {uri: found[uri] for uri in uris}


def results(tests: Sequence[Test], accuracies: Mapping[str, float], trained_on: str | None) -> list[Result]:
    """What each attack left of each model's accuracy.

    Args:
        tests: models under attacks, whose rows are there.
        accuracies: on the whole split, by the checkpoint's URI; where it is missing, that on the attacked texts.
        trained_on: the attack that training saw; None where that is not known.
    """
    found = []
    for test in tests:
        summary = after_attack(read_shards(test.shards))
        result = Result(
            training=test.kind,
            round=test.number,
            attack=test.attack,
            trained_on=None if trained_on is None else test.attack == trained_on,
            accuracy=accuracies.get(test.checkpoint.uri, summary.standard_accuracy),
            after_attack_accuracy=summary.after_attack_accuracy,
            attack_success_rate=summary.attack_success_rate,
            mean_queries=summary.mean_queries,
            words_changed=summary.words_changed,
            n=summary.n,
        )
        found.append(result)
    return found


def with_consistency(results: Sequence[Result], explained: Sequence[Explained]) -> list[Result]:
    """The results, with the consistency of what was explained."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for one in explained:
        found.setdefault((one.test.kind, one.test.attack), {})[one.method.name] = summarise(one.pairs)
    return [replace(result, interpretations=found.get((result.training, result.attack), {})) for result in results]


def interpretations(config: Config, storage: Folder, tests: Sequence[Test], display: Display) -> list[Explained]:
    """Explain pairs of each test with each method that the config asks for; what is finished is not done again."""
    planned = [
        _plan(config, storage, test, method, count)
        for test in tests
        for method, count in methods(config.evaluation, config.seed).items()
    ]
    distinct = {stage.output.uri: stage for stage in planned}  # two tests may be of one model under one attack
    missing = [stage for _, stage in sorted(distinct.items()) if not stages.is_finished(stage.output, stage.inputs)]
    with ExitStack() as locks:
        for stage in missing:  # in order of their names, so that no two drivers wait for each other
            what = f"explain pairs with {stage.method.name} of {stage.test.kind}, {stage.test.attack}"
            locks.enter_context(exclusive_lock(stage.output, what, display.log_line))
        todo = [stage for stage in missing if stages.begin(stage.output, stage.inputs, display.log_line)]
        if todo:
            with display.stage("explain pairs", sum(stage.rows.num_rows for stage in todo)) as bar:
                _run(todo, config, bar)
    return [
        Explained(stage.test, stage.method, read_table(stage.output, PAIRS, SCHEMA), stage.output) for stage in planned
    ]


@dataclass
class _Stage:
    """Pairs of a test to explain by one method."""

    test: Test
    method: AttributionMethod
    rows: pa.Table
    """Rows of the attack's shards."""
    output: Folder
    inputs: Mapping[str, Any]
    units: list[list[int]] = field(default_factory=list)
    """Numbers of the rows of each unit, once it is open."""
    parts: dict[int, Part] = field(default_factory=dict)
    """Units that are there."""

    @property
    def whole(self) -> bool:
        """Whether no unit is missing."""
        return len(self.parts) == len(self.units)

    def open(self) -> None:
        """Make units of rows of similar length, whose explanations share most of their work, and find finished ones."""
        words = [text.count(" ") for text in self.rows["original_text"].to_pylist()]
        order = sorted(range(len(words)), key=lambda row: -words[row])
        transformer = checkpoints.describe(self.test.checkpoint)["model"]["name"] in TRANSFORMERS
        size = TRANSFORMER_UNIT if transformer else UNIT
        self.units = [order[start : start + size] for start in range(0, len(order), size)]
        ids = self.rows["example_id"].to_pylist()

        def belongs(number: int, pairs: pa.Table) -> bool:
            unit = self.units[number] if number < len(self.units) else []
            return bool(unit) and pairs["pair_id"].to_pylist() == [ids[row] for row in unit]

        self.parts = {part.number: part for part in valid_parts(self.output, SCHEMA, belongs)}

    def keep(self, number: int, pairs: pa.Table) -> None:
        """Write a unit."""
        self.parts[number] = write_part(self.output, number, pairs)

    def finish(self) -> None:
        """Put the units together in the order of the rows."""
        parts = [self.parts[number].table for number in range(len(self.units))]
        places = [row for unit in self.units for row in unit]
        pairs = pa.concat_tables([SCHEMA.empty_table(), *parts])
        write_table(
            self.output, PAIRS, pairs.take(pa.array(sorted(range(len(places)), key=places.__getitem__), pa.int64()))
        )
        stages.commit(self.output, self.inputs, [f"{PAIRS}.arrow"])
        for name in self.output.names():
            if PART.fullmatch(name):
                self.output.delete(name)


def _plan(config: Config, storage: Folder, test: Test, method: AttributionMethod, count: int) -> _Stage:
    rows = choose(read_shards(test.shards), config.evaluation.pairs, count, config.seed)
    inputs = {
        "checkpoint": checkpoints.fingerprint(test.checkpoint),
        "attack": test.shards.name,
        "pairs": content_hash(rows["example_id"].to_pylist()),
        "method": method.settings(),
        "versions": {name: metadata.version(name) for name in ("captum", "lime", "scikit-learn", "torch")},
    }
    return _Stage(test, method, rows, stages.folder(storage, f"explain-{method.name}", inputs), inputs)


def _run(todo: Sequence[_Stage], config: Config, bar: Bar) -> None:
    device = config.training.device
    calls = {}
    for place, stage in enumerate(todo):
        stage.open()
        for number, unit in enumerate(stage.units):
            if number in stage.parts:
                bar.advance(len(unit))
                continue
            arguments = stage.test.checkpoint.uri, stage.rows.take(unit), stage.method, device
            calls[place, number] = partial(_on(device, _explain).remote, *arguments)
        if stage.whole:
            stage.finish()
    for (place, number), pairs in tasks.results("explain pairs", calls, config.attack.stall_seconds):
        stage = todo[place]
        stage.keep(number, pairs)
        bar.advance(len(stage.units[number]), f"{stage.method.name} of {stage.test.kind}, {stage.test.attack}")
        if stage.whole:
            stage.finish()


def _on(device: str, function: Any) -> Any:
    """A measurement on the device of training; on a GPU one at a time."""
    return function.options(num_gpus=1 if device == "cuda" else 0)


@ray.remote(num_cpus=1, max_retries=2)
def _accuracy(checkpoint: str, data: str, split: str, device: str, name: str) -> float:
    loaded = _load(checkpoint, device, name)
    return accuracy(loaded.model, encode_clean(read_table(Folder(data), split), loaded.encoder))


@ray.remote(num_cpus=1, max_retries=2)
def _explain(checkpoint: str, rows: pa.Table, method: AttributionMethod, device: str, name: str) -> pa.Table:
    return explain(_load(checkpoint, device, name), rows.to_pylist(), method)


def _load(checkpoint: str, device: str, name: str) -> Checkpoint:
    """A checkpoint whose answers are the progress of a task of that name."""
    torch.set_num_threads(1)
    beat = tasks.Beat(name)
    loaded = checkpoints.load(Folder(checkpoint), device)
    beat.follow(loaded.model.output)
    return loaded
