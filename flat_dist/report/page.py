"""The contents of the report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from flat_dist.evaluation.adversarial_sets import SetResult
from flat_dist.evaluation.annotation import Annotation
from flat_dist.evaluation.attack_margins import AttackMargins
from flat_dist.evaluation.result import Result
from flat_dist.evaluation.substitutions import Replacement
from flat_dist.evaluation.transfer import Transfer
from flat_dist.evaluation.word_importance import Correlation, Words
from flat_dist.runtime.timeline import Span


@dataclass(frozen=True)
class Saliency:
    """Attributions of original/adversarial pairs, for one model and one method."""

    training: str
    """Name of the model: a kind of training, or the name of a checkpoint."""
    attack: str
    method: str
    """ig or lime."""
    pairs: pa.Table
    """Rows of `flat_dist.evaluation.attributions.SCHEMA`."""
    first_sentences: Mapping[str, str] = field(default_factory=dict)
    """Of texts that are pairs of sentences: the first one, which is fixed, by the id of the row."""


@dataclass(frozen=True)
class Importance:
    """The global word importance of one masked model."""

    training: str
    words: Words
    correlations: Sequence[Correlation]
    spread: np.ndarray
    """For each sampled word, the mean absolute difference between its importance and its synonyms'."""
    synonyms: str
    """Description of the source of the synonyms, and of the number of words and synonyms."""


@dataclass(frozen=True)
class Page:
    """The contents of the report. The page leaves out empty parts."""

    title: str
    facts: Mapping[str, str]
    """How the numbers were computed: dataset, model, attack, resources, seeds, versions, hardware; name and value."""
    dataset: str
    """Name of the dataset, such as sst2, imdb or rotten_tomatoes_sample, to find the paper's numbers."""
    model: str
    """cnn, lstm, bert, deberta, minilm or encoder."""
    label_names: Sequence[str]
    split: str
    """The evaluated split."""
    texts: int
    """Number of texts in the split; accuracy is over all of them."""
    results: Sequence[Result]
    """Results of the last round of each model, under each attack; base has only round 0."""
    rounds: Sequence[Result] = ()
    """Results of all rounds, from 0, under the attack used in training; base has only round 0."""
    margins: Sequence[AttackMargins] = ()
    """Of the attack used in training, while it sees probabilities: one for each model."""
    saliencies: Sequence[Saliency] = ()
    importances: Sequence[Importance] = ()
    """One for each model with a mask, the latest last."""
    replacements: Mapping[str, Sequence[Replacement]] = field(default_factory=dict)
    """The words that attacks replaced most often, by the name of the attacked model."""
    transfers: Sequence[Transfer] = ()
    """Each model asked about the texts made against each, for each attack."""
    sets: Sequence[SetResult] = ()
    """Each model on each set of adversarial texts from elsewhere."""
    annotation: Annotation | None = None
    """What people said about the adversarial texts."""
    cards: Sequence[Mapping[str, Any]] = ()
    """The JSON card of each result."""
    processes: Mapping[str, Sequence[Span]] = field(default_factory=dict)
    """What the driver and the workers did, by name of the process."""
