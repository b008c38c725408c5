"""Measures models on Ray: accuracy, results of attacks, and consistency of interpretations."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
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
from flat_dist.evaluation.attribution_stage import (
    PAIRS,
    AttributionJob,
    AttributionStage,
    attribution_stage,
    count_errors,
    read_pairs,
    without_errors,
)
from flat_dist.evaluation.attribution_worker import AttributionWorker
from flat_dist.evaluation.attributions import AttributionMethod, choose, methods, summarise
from flat_dist.evaluation.result import Explained, Result, Test
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models.encoders import TRANSFORMERS
from flat_dist.runtime import tasks
from flat_dist.runtime.progress import Display
from flat_dist.scheduling.scheduler import run_stages
from flat_dist.scheduling.stage import check_failures
from flat_dist.scheduling.worker_group import WorkerGroup, ray_group
from flat_dist.storage import stage as stages
from flat_dist.storage.arrow import read_table
from flat_dist.storage.folder import Folder
from flat_dist.storage.lock import exclusive_lock
from flat_dist.training.loop import accuracy


def accuracies(tests: Sequence[Test], data: Folder, split: str, config: Config) -> dict[str, float]:
    """Accuracy of each checkpoint on a split of the dataset in a folder, by the checkpoint's URI."""
    device = config.training.device
    uris = dict.fromkeys(test.checkpoint.uri for test in tests)
    task = _accuracy.options(num_gpus=1 if device == "cuda" else 0)  # on a GPU one at a time
    calls = {uri: partial(task.remote, uri, data.uri, split, device) for uri in uris}
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


def interpretations(
    config: Config, storage: Folder, tests: Sequence[Test], display: Display, group: WorkerGroup | None = None
) -> list[Explained]:
    """Explain pairs of each test with each method that the config asks for. Complete stages are not run again.

    Args:
        config: methods, number of pairs, device, and the share of pairs that may fail.
        storage: folder of the run's stages.
        tests: models under attacks.
        display: shows a bar for each stage.
        group: workers to use instead of new ones that end with the work.

    Raises:
        UserError: the cluster has no room for a worker, or too many pairs could not be explained.
        RuntimeError: a worker could not be started.
    """
    planned = [
        _plan(config, storage, test, method, count)
        for test in tests
        for method, count in methods(config.evaluation, config.seed).items()
    ]
    distinct = {plan.output.uri: plan for plan in planned}  # two tests may be of one model under one attack
    missing = [plan for _, plan in sorted(distinct.items()) if not stages.is_finished(plan.output, plan.inputs)]
    with ExitStack() as locks:
        for plan in missing:  # in the same order in all drivers, so that they cannot deadlock
            locks.enter_context(exclusive_lock(plan.output, plan.title, display.log_line))
        todo = [plan for plan in missing if stages.begin(plan.output, plan.inputs, display.log_line)]
        _explain([_stage(plan, config) for plan in todo], config, display, group)
    tables = {uri: _read(plan, config, display) for uri, plan in distinct.items()}
    return [Explained(plan.test, plan.method, tables[plan.output.uri], plan.output) for plan in planned]


@dataclass
class _Plan:
    """Pairs of a test to explain by one method."""

    test: Test
    method: AttributionMethod
    rows: pa.Table
    """Rows of the attack's shards."""
    output: Folder
    inputs: Mapping[str, Any]

    @property
    def title(self) -> str:
        """What is done, for messages."""
        return f"explain pairs with {self.method.name} of {self.test.kind}, {self.test.attack}"


def _plan(config: Config, storage: Folder, test: Test, method: AttributionMethod, count: int) -> _Plan:
    rows = choose(read_shards(test.shards), config.evaluation.pairs, count, config.seed)
    inputs = {
        "checkpoint": checkpoints.fingerprint(test.checkpoint),
        "attack": test.shards.name,
        "pairs": content_hash(rows["example_id"].to_pylist()),
        "method": method.settings(),
        "versions": {name: metadata.version(name) for name in ("captum", "lime", "scikit-learn", "torch")},
    }
    return _Plan(test, method, rows, stages.folder(storage, f"explain-{method.name}", inputs), inputs)


def _stage(plan: _Plan, config: Config) -> AttributionStage:
    job = AttributionJob(
        checkpoint=plan.test.checkpoint.uri,
        method=plan.method,
        output=plan.output.uri,
        device=config.training.device,
        stall_seconds=config.attack.stall_seconds,
    )
    transformer = checkpoints.describe(plan.test.checkpoint)["model"]["name"] in TRANSFORMERS
    commit = partial(stages.commit, plan.output, plan.inputs, [f"{PAIRS}.arrow"])
    return attribution_stage(plan.title, job, plan.rows, transformer, commit)


def _explain(
    todo: Sequence[AttributionStage], config: Config, display: Display, group: WorkerGroup | None = None
) -> None:
    """Explain all pairs that are missing; on GPUs, each worker has one for itself."""
    device = config.training.device
    group = group or ray_group(AttributionWorker, device, 1.0 if device == "cuda" else 0.0)
    run_stages(todo, [group], "explanation worker", config.attack.max_failures, display)


def _read(plan: _Plan, config: Config, display: Display) -> pa.Table:
    """The explained pairs of a complete stage. Prints how many pairs could not be explained.

    Raises:
        UserError: too many pairs could not be explained.
    """
    pairs = read_pairs(plan.output)
    errors = count_errors(pairs)
    if errors:
        display.log_line(f"{plan.title}: {errors} of {pairs.num_rows} {AttributionStage.FAILED} (column error)")
    counts = errors, pairs.num_rows
    check_failures(plan.title, AttributionStage.FAILED, plan.output.uri, counts, config.attack.max_failures)
    return without_errors(pairs)


@ray.remote(num_cpus=1, max_retries=2)
def _accuracy(checkpoint: str, data: str, split: str, device: str, name: str) -> float:
    torch.set_num_threads(1)
    progress = tasks.ProgressReporter(name)
    loaded = checkpoints.load(Folder(checkpoint), device)
    progress.follow(loaded.model.output)
    return accuracy(loaded.model, encode_clean(read_table(Folder(data), split), loaded.encoder))
