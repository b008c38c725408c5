"""An experiment: its config, its data, and its results."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from flat_dist.attack.candidate_counts import from_dict, total
from flat_dist.config.schema import WORST, Config
from flat_dist.data import sentence_pairs
from flat_dist.data.datasets import Dataset
from flat_dist.data.labels import printable
from flat_dist.data.shards import read_counts, read_shards
from flat_dist.evaluation.accuracy import predicts_one_class
from flat_dist.evaluation.adversarial_sets import SetResult
from flat_dist.evaluation.annotation import Annotation
from flat_dist.evaluation.diagnosis import below_chance, diagnose
from flat_dist.evaluation.result import AttackedModel, PairAttributions, Result
from flat_dist.evaluation.transfer import Transfer
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models.artifact import ModelArtifact
from flat_dist.pipeline.failures import FailedAttack
from flat_dist.runtime.timeline import Span
from flat_dist.storage.folder import Folder

DISAGREEMENT = 0.02
"""Difference between after-attack accuracies under two forms of scores from which a hint is given."""


@dataclass(frozen=True)
class Source:
    """The data that models are measured on."""

    name: str
    """Name of the dataset, to find the paper's numbers; empty for the user's own data."""
    described: str
    """The dataset in words."""
    fingerprint: str
    split: str
    texts: int
    """Number of texts in the whole split."""
    label_names: Sequence[str]
    words: Sequence[str]
    """Training texts, of pairs the second sentences, from which word frequencies are counted."""


def source(config: Config, dataset: Dataset) -> Source:
    """The split of a dataset that models are measured on."""
    split = config.evaluation.split
    return Source(
        name=config.data.named or "",
        described=dataset.source,
        fingerprint=dataset.fingerprint,
        split=split,
        texts=getattr(dataset, split).num_rows,
        label_names=dataset.label_names,
        words=list(map(sentence_pairs.attacked, dataset.train["text"].to_pylist())),
    )


@dataclass(frozen=True)
class MaskedModel:
    """A model whose word importance the report shows."""

    title: str
    """Its name in the report."""
    model: ModelArtifact


@dataclass(frozen=True)
class ExperimentResults:
    """Everything that was measured."""

    results: Sequence[Result]
    """Those of the last round of each model, one for each attacked model; base has only round 0."""
    attacked: Sequence[AttackedModel]
    explained: Sequence[PairAttributions]
    rounds: Sequence[Result] = ()
    """Those of every round, under the attack that training sees."""
    masked: Sequence[MaskedModel] = ()
    """Models with a word mask, the latest last."""
    shards: Mapping[str, Sequence[Folder]] = field(default_factory=dict)
    """Folders of attacked examples by model name, from which replaced words are counted."""
    failures: Sequence[FailedAttack] = ()
    """Attacks without a result."""
    transfers: Sequence[Transfer] = ()
    """Each model asked about the texts made against each, for each attack; empty for one model."""
    sets: Sequence[SetResult] = ()
    """Each model on each set of adversarial texts from elsewhere."""
    annotation: Annotation | None = None
    """What people said about the adversarial texts; None if nobody was asked."""


@dataclass(frozen=True)
class Experiment:
    """A config and the data that it ran on."""

    config: Config
    settings: Mapping[str, Any]
    """All that the results depend on."""
    source: Source
    processes: Mapping[str, Sequence[Span]] = field(default_factory=dict)
    """What the driver and the workers did, for the report's timeline; empty: it shows none."""


def hints(found: ExperimentResults) -> list[str]:
    """Attacks without a result; warnings about models that predict one class or have their labels mapped wrongly, about
    attacks that all fail or all succeed, and about robustness that is rounding."""
    models = {each.model_name: each for each in found.attacked}
    made = [] if found.sets else [each for each in found.attacked if each.attack != WORST]  # sets are no attacks
    warnings = (
        *map(_one_class, models.values()),
        *map(_below_chance, models.values()),
        *map(_diagnosis, made),
        *map(_saturation, found.results),
    )
    return [f"no result: {each.describe()}" for each in found.failures] + [f"hint: {hint}" for hint in warnings if hint]


def _one_class(attacked: AttackedModel) -> str:
    rows = read_shards(attacked.shards.folder)
    if not predicts_one_class(rows):
        return ""
    scores = next(scores for scores in rows["original_scores"].to_pylist() if scores)
    name = checkpoints.describe(attacked.model.folder)["label_names"][int(np.argmax(scores))]
    return (
        f"{attacked.model_name} predicts {printable(name)} for all {rows.num_rows:,} texts: it has not learned the "
        "classes, and its after-attack accuracy is not reported, because no attack changes its predictions"
    )


def _below_chance(attacked: AttackedModel) -> str:
    said = below_chance(read_shards(attacked.shards.folder))
    return f"{attacked.model_name}: {said}" if said else ""


def _diagnosis(attacked: AttackedModel) -> str:
    folders = [part.shards.folder for part in attacked.parts] or [attacked.shards.folder]
    counts = total([from_dict(read_counts(folder)) for folder in folders])
    said = diagnose(read_shards(attacked.shards.folder), counts)
    return f"{attacked.model_name}, {attacked.attack}: {said}" if said else ""


def _saturation(result: Result) -> str:
    alone, worst = result.after_attack_accuracy_probabilities, result.after_attack_accuracy
    if alone is None or worst is None or alone - worst <= DISAGREEMENT:
        return ""
    said = (
        f"{result.training}, {result.attack}: after-attack accuracy is {100 * alone:.1f} % if the attack sees "
        f"probabilities, but {100 * worst:.1f} % if it also sees margins"
    )
    if not result.saturated:
        return said
    return (
        f"{said}; {100 * result.saturated:.0f} % of the texts have a probability of exactly 1, which hides small "
        "changes from an attack"
    )
