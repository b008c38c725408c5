"""Measures attributions on Ray against plain loops over captum and lime, which take one text and class at a time."""

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import torch
from captum.attr import IntegratedGradients

from flat_dist.benchmarks import common
from flat_dist.config.errors import UserError
from flat_dist.config.schema import Config, Interpretation
from flat_dist.data import datasets
from flat_dist.data.batches import to_batch
from flat_dist.data.datasets import sample
from flat_dist.data.pairs import Pairs
from flat_dist.evaluation import distributed
from flat_dist.evaluation.attribution_worker import AttributionWorker
from flat_dist.evaluation.attributions import AttributionMethod
from flat_dist.evaluation.integrated_gradients import BASELINE
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models.artifact import ModelArtifact, open_checkpoint
from flat_dist.models.checkpoint import Checkpoint
from flat_dist.pipeline.adversarial_sets import attacked_by
from flat_dist.runtime import cluster, hardware
from flat_dist.runtime.progress import Display
from flat_dist.scheduling.worker_group import WarmWorkers, WorkerGroup
from flat_dist.storage.folder import Folder
from flat_dist.storage.stage import Executor

TURNS = 2


def compare(config: Config, folder: str | None, count: int, name: Interpretation, display: Display) -> dict[str, Any]:
    """Seconds of both, and the largest difference between their attributions.

    Args:
        config: data, model and settings of the attributions.
        folder: a checkpoint to explain, instead of training one.
        count: number of pairs: test texts, and copies in which the longest word is that of the next text.
        name: ig or lime.
        display: shows the progress.

    Raises:
        UserError: the test split has fewer texts.
    """
    dataset = datasets.load(config.data)
    if dataset.test.num_rows < count:
        raise UserError(f"{dataset.source} has {dataset.test.num_rows} test texts: lower --examples")
    settings = replace(config.evaluation, explain=(name,), pairs="all", ig_pairs=0, lime_pairs=0)
    config = replace(config, evaluation=settings)
    with (
        cluster.connected(),
        tempfile.TemporaryDirectory() as scratch,
        common.with_weights(config) as (config, weights),
    ):
        config, _ = hardware.resolve(config, cluster.machine())
        checkpoint = common.victim(config, dataset, folder, display)
        victim = Folder(scratch) / "victim"
        checkpoints.save(checkpoint, victim)
        pairs = _pairs(sample(dataset.test, count, config.seed))
        measured = _compare(config, open_checkpoint(victim, "victim"), checkpoint, pairs, scratch, display)
    return {
        "method": name,
        "model": checkpoint.config.name,
        "weights": folder or weights,
        "examples": count,
        **measured,
    }


def _pairs(examples: pa.Table) -> Pairs:
    texts = examples["text"].to_pylist()
    longest = [max(text.split(" "), key=len) for text in texts]
    copies = (
        text.replace(word, other) for text, word, other in zip(texts, longest, longest[1:] + longest[:1], strict=True)
    )
    return Pairs("bench", examples, tuple(copies))


def _compare(
    config: Config,
    model: ModelArtifact,
    checkpoint: Checkpoint,
    pairs: Pairs,
    scratch: str,
    display: Display,
) -> dict[str, Any]:
    torch.set_num_threads(1)
    texts = [*pairs.originals["text"].to_pylist(), *pairs.adversarials]
    seconds: dict[str, list[float]] = {"ours": [], "naive": []}
    differences = []
    workers = int(ray.cluster_resources()["CPU"])
    group = WarmWorkers(AttributionWorker).group(workers) if config.training.device == "cpu" else None
    _ours(config, model, pairs, str(Path(scratch) / "first"), display, group)  # starts the workers
    with display.stage("explain pairs, ours and naive", 2 * TURNS) as bar:
        for turn in range(TURNS):
            began = time.perf_counter()
            explained, method = _ours(config, model, pairs, str(Path(scratch) / str(turn)), display, group)
            seconds["ours"].append(time.perf_counter() - began)
            bar.advance(1)
            began = time.perf_counter()
            naive = [NAIVE[method.name](checkpoint, text, method) for text in texts]
            seconds["naive"].append(time.perf_counter() - began)
            bar.advance(1)
            ours = [row for side in ("original", "perturbed") for row in explained[f"{side}_attributions"].to_pylist()]
            differences += [float(np.abs(np.array(a) - b).max()) for a, b in zip(ours, naive, strict=True)]
    ours_s, naive_s = statistics.median(seconds["ours"]), statistics.median(seconds["naive"])
    return {
        "texts": len(texts),
        "settings": method.settings(),
        "workers": workers,
        "naive_s": round(naive_s, 2),
        "ours_s": round(ours_s, 2),
        "speedup": round(naive_s / ours_s, 2),
        "max_difference": max(differences),
    }


def _ours(
    config: Config, model: ModelArtifact, pairs: Pairs, storage: str, display: Display, group: WorkerGroup | None
) -> tuple[pa.Table, AttributionMethod]:
    config = replace(config, storage=storage)
    executor = Executor(Folder(storage), display.log_line)
    attacked = attacked_by(config, [model], pairs, executor)
    (explained,) = distributed.explain_pairs(config, executor, attacked, display, group)
    return explained.pairs, explained.method


def _captum(checkpoint: Checkpoint, text: str, method: AttributionMethod) -> np.ndarray:
    """Integrated gradients of one text, class by class (C, words)."""
    model, batch = checkpoint.model, to_batch([checkpoint.encoder.encode(text)]).to(checkpoint.device)
    embedded_1TD = model.embed(batch.ids_BT).detach()
    is_word_1T1 = model.words(batch.ids_BT, batch.real_BT).unsqueeze(-1)
    start_1TD = torch.where(is_word_1T1, BASELINE * embedded_1TD, embedded_1TD)

    def probabilities(embedded_STD: torch.Tensor) -> torch.Tensor:
        return model.classify(embedded_STD, batch.real_BT.expand(len(embedded_STD), -1)).softmax(-1)

    captum = IntegratedGradients(probabilities)
    by_class = [
        captum.attribute(embedded_1TD, start_1TD, target=label, n_steps=method.steps).sum(-1)[0]
        for label in range(len(checkpoint.label_names))
    ]
    pieces_CT = torch.stack(by_class).detach().cpu().numpy()
    return np.stack([pieces_CT[:, start:end].sum(1) for start, end in checkpoint.encoder.spans(text)], axis=1)


def _lime(checkpoint: Checkpoint, text: str, method: AttributionMethod) -> np.ndarray:
    """LIME's weights of one text (C, words)."""
    words = checkpoint.encoder.words(text)
    labels = range(len(checkpoint.label_names))
    explanation = method.lime.explainer().explain_instance(
        " ".join(words),
        lambda texts: checkpoint.probabilities(texts).numpy(),
        labels=labels,
        num_features=len(words),
        num_samples=method.lime.samples,
    )
    return np.array([[weight for _, weight in sorted(explanation.local_exp[label])] for label in labels])


NAIVE: dict[str, Callable[[Checkpoint, str, AttributionMethod], np.ndarray]] = {"ig": _captum, "lime": _lime}
"""The naive way to explain one text, as the package's documentation shows it."""
