"""What was run on which data, and what was measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from flat_dist.config.schema import Config
from flat_dist.data.datasets import Dataset
from flat_dist.data.labels import printable
from flat_dist.data.shards import read_shards
from flat_dist.evaluation.result import AttackedModel, PairAttributions, Result
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models.artifact import ModelArtifact
from flat_dist.storage.folder import Folder

FEW = 10
"""Texts below which a model may predict one class for all by chance."""


@dataclass(frozen=True)
class Source:
    """The data that was measured on."""

    name: str
    """As the config names it, to look the paper's numbers up."""
    described: str
    """In words."""
    fingerprint: str
    split: str
    texts: int
    """In the whole split."""
    label_names: Sequence[str]
    words: Sequence[str]
    """Texts whose words' frequency is counted: those trained on."""


def source(config: Config, dataset: Dataset) -> Source:
    """The split of a dataset that is measured on, with the words of its training texts."""
    split = config.evaluation.split
    return Source(
        name=config.data.named or "",
        described=dataset.source,
        fingerprint=dataset.fingerprint,
        split=split,
        texts=getattr(dataset, split).num_rows,
        label_names=dataset.label_names,
        words=dataset.train["text"].to_pylist(),
    )


@dataclass(frozen=True)
class MaskedModel:
    """A model whose word importance the report shows."""

    title: str
    """What the report calls it."""
    model: ModelArtifact


@dataclass(frozen=True)
class ExperimentResults:
    """What was measured of some models."""

    results: Sequence[Result]
    """Those of the last round, one for each attacked model."""
    attacked: Sequence[AttackedModel]
    explained: Sequence[PairAttributions]
    rounds: Sequence[Result] = ()
    """Those of every round, under the attack that training sees."""
    masked: Sequence[MaskedModel] = ()
    """Models with a word mask, the latest last."""
    shards: Mapping[str, Sequence[Folder]] = field(default_factory=dict)
    """Folders of attacked examples by model name, from which replaced words are counted."""


@dataclass(frozen=True)
class Experiment:
    """What was run, on which data."""

    config: Config
    settings: Mapping[str, Any]
    """All that the results depend on."""
    source: Source


def hints(found: ExperimentResults) -> list[str]:
    """What the results hide: models that predict one class for all texts."""
    lines = []
    for attacked in {each.model_name: each for each in found.attacked}.values():
        rows = read_shards(attacked.shards.folder)
        predicted = {int(np.argmax(scores)) for scores in rows["original_scores"].to_pylist() if scores}
        if len(predicted) == 1 and rows.num_rows >= FEW and len(set(rows["label"].to_pylist())) > 1:
            name = checkpoints.describe(attacked.model.folder)["label_names"][predicted.pop()]
            lines.append(
                f"hint: {attacked.model_name} predicts {printable(name)} for all {rows.num_rows:,} texts: it has not "
                "learned the classes"
            )
    return lines
