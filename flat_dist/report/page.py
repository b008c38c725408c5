"""What the report shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from flat_dist.evaluation.result import Result
from flat_dist.evaluation.word_importance import Correlation, Replacement, Words


@dataclass(frozen=True)
class Saliency:
    """What one model made of original/adversarial pairs by one method."""

    training: str
    """Name of the model: base, adv, flat, or the name of a checkpoint."""
    attack: str
    method: str
    """ig or lime."""
    pairs: pa.Table
    """Rows of `flat_dist.evaluation.attributions.SCHEMA`."""


@dataclass(frozen=True)
class Importance:
    """The global word importance of one masked model."""

    training: str
    words: Words
    correlations: Sequence[Correlation]
    spread: np.ndarray
    """For each of a sample of words, the mean absolute difference of its importance to that of its synonyms."""
    synonyms: str
    """Where the synonyms came from, and how many words and synonyms were drawn, in words."""


@dataclass(frozen=True)
class Page:
    """What the report shows. Whatever is empty is left out of it."""

    title: str
    facts: Mapping[str, str]
    """How the numbers were made: dataset, model, attack, resources, seeds, versions, hardware; name and value."""
    dataset: str
    """Name of the dataset, to look the paper's numbers up: sst2, imdb, ag_news, trec, rotten_tomatoes_sample, ..."""
    model: str
    """cnn, lstm, bert, deberta, minilm or encoder."""
    label_names: Sequence[str]
    split: str
    """That was measured on."""
    texts: int
    """In the whole split, which accuracy is taken over."""
    results: Sequence[Result]
    """The last round's: each model under each attack."""
    rounds: Sequence[Result] = ()
    """Every round's, 0 among them, under the attack that training sees."""
    saliencies: Sequence[Saliency] = ()
    importances: Sequence[Importance] = ()
    """Masked models, the latest last."""
    replacements: Mapping[str, Sequence[Replacement]] = field(default_factory=dict)
    """What attacks changed most, by the name of the model attacked."""
    cards: Sequence[Mapping[str, Any]] = ()
    """The JSON card of each result."""
