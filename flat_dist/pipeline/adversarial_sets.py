"""Evaluates checkpoints on adversarial texts that people have logged elsewhere, instead of attacks."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from flat_dist.config.schema import Config
from flat_dist.config.serialization import content_hash
from flat_dist.data.alignment import find_swaps
from flat_dist.data.pairs import Pairs
from flat_dist.data.shards import MANIFEST, Record, to_table, write_manifest, write_shard
from flat_dist.evaluation import distributed, text_tasks
from flat_dist.evaluation.adversarial_sets import PREFIX, SetResult, set_results
from flat_dist.evaluation.comparison import with_comparisons
from flat_dist.evaluation.result import AttackedModel, Result
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models.artifact import ModelArtifact
from flat_dist.models.checkpoint import Checkpoint
from flat_dist.pipeline.evaluation import Environment, explain
from flat_dist.pipeline.experiment import ExperimentResults, Source
from flat_dist.storage.folder import Folder
from flat_dist.storage.stage import Executor, Output, Stage


def on_sets(
    config: Config, models: Sequence[ModelArtifact], sets: Sequence[Pairs], environment: Environment
) -> ExperimentResults:
    """Measure models on sets of adversarial texts: accuracy before and after the change, and consistency.

    Sets with originals also have the results of an attack, as if one had made them.
    """
    attacked = [attacked_by(config, models, one, environment.executor) for one in sets]
    found = [
        result
        for one, group in zip(sets, attacked, strict=True)
        for result in set_results(one.name, one.layout, group, config.seed)
    ]
    compared = [each for one, group in zip(sets, attacked, strict=True) if one.has_originals for each in group]
    results = with_comparisons(distributed.results(compared, {}, None, _classes(models)), compared, {}, config.seed)
    results = text_tasks.with_validity(config, environment.executor, results, compared)
    explained = explain(config, compared, results, environment)
    return replace(explained, sets=[_with_tau(one, explained.results) for one in found])


def _classes(models: Sequence[ModelArtifact]) -> tuple[str, ...]:
    return tuple(checkpoints.describe(models[0].folder)["label_names"])


def _with_tau(found: SetResult, results: Sequence[Result]) -> SetResult:
    taus = {
        method: consistency.common.kendall_tau
        for result in results
        if (result.training, result.attack) == (found.model, found.adversarial_set)
        for method, consistency in result.interpretations.items()
    }
    return replace(found, kendall_tau=taus)


def attacked_by(
    config: Config, models: Sequence[ModelArtifact], pairs: Pairs, executor: Executor
) -> list[AttackedModel]:
    """Each model with its predictions for a set, as if an attack had made it."""
    return [
        AttackedModel(model, pairs.name, executor.run(_set_stage(pairs, model, config.attack.device)))
        for model in models
    ]


def _set_stage(pairs: Pairs, model: ModelArtifact, device: str) -> Stage:
    """The stage that predicts a set, and writes it as an attack's shards."""
    identity = {
        "recipe": pairs.name,
        "file": Path(pairs.file).name,
        "layout": pairs.layout,
        "pairs": pairs.fingerprint,
        "checkpoint": model.fingerprint,
    }

    def fill(folder: Folder) -> Output:
        table = _predict(pairs, checkpoints.load(model.folder, device), identity)
        shard = write_shard(folder, 0, table)
        write_manifest(folder, [shard], identity, {})
        return Output([shard.name], records=[MANIFEST])

    return Stage(name="adversarial-set", title=f"predict {pairs.name} with {model.label}", inputs=identity, fill=fill)


def _predict(pairs: Pairs, checkpoint: Checkpoint, identity: Mapping[str, str]) -> pa.Table:
    """Rows of `flat_dist.data.shards.SCHEMA`. Without originals, their text and scores are null."""
    rows = pairs.originals.to_pylist()
    adversarial = checkpoint.probabilities(pairs.adversarials).tolist()
    original: list[list[float] | None] = [None] * len(rows)
    if pairs.has_originals:
        original = checkpoint.probabilities([row["text"] for row in rows]).tolist()
    records = []
    for row, other, before, after in zip(rows, pairs.adversarials, original, adversarial, strict=True):
        skipped = before is not None and _wrong(before, row)
        status = "skipped" if skipped else "successful" if _wrong(after, row) else "failed"
        swaps = find_swaps(row["text"], other) if pairs.has_originals else ()
        records.append(Record(row["example_id"], row["label"], row["text"], other, status, swaps, num_queries=None))
    return to_table(records, original, adversarial, 0, identity)


def _wrong(scores: Sequence[float], row: Mapping[str, Any]) -> bool:
    return max(range(len(scores)), key=scores.__getitem__) != row["label"]


def sets_source(sets: Sequence[Pairs], label_names: Sequence[str]) -> Source:
    """The adversarial texts as the data that models are measured on."""
    words = [text for one in sets if one.has_originals for text in one.originals["text"].to_pylist()]
    fingerprints = {one.name: one.fingerprint for one in sets}
    return Source(
        name="",
        described=", ".join(one.describe() for one in sets),
        fingerprint=sets[0].fingerprint if len(sets) == 1 else content_hash(fingerprints),
        split=PREFIX,
        texts=sum(one.originals.num_rows for one in sets),
        label_names=label_names,
        words=words,
    )
