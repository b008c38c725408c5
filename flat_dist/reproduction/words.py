"""Global importance of words: Table 9, and Figures 4 and 5."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from flat_dist.config.schema import Config
from flat_dist.data.shards import read_shards
from flat_dist.evaluation.result import AttackedModel
from flat_dist.evaluation.word_importance import Words, correlations, synonym_spread, words_of
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models.artifact import ModelArtifact
from flat_dist.report import figures, paper
from flat_dist.reproduction.cards import Correlated
from flat_dist.resources import assets, synonyms
from flat_dist.runtime.seeds import derive_seed
from flat_dist.storage.folder import Folder

SPREAD_WORDS, SPREAD_SYNONYMS = 1000, 10
"""Maximum number of words, and of synonyms of each (paper, Figure 5)."""

QUARTILES = (0, 0.25, 0.5, 0.75, 1)


def importance_of(model: ModelArtifact, train_texts: Sequence[str], attacked: Sequence[Any] = ()) -> Words:
    """The words of the training texts, with their importance, and how often attacks replaced them.

    Args:
        model: FLAT's.
        train_texts: cleaned texts.
        attacked: rows of `flat_dist.data.shards.SCHEMA`.
    """
    return words_of(train_texts, attacked, checkpoints.load(model.folder))


def attacked_tables(training: Sequence[Folder], attacked: AttackedModel) -> tuple[list[Any], str]:
    """The attacked texts in which replaced words are counted, and what they are.

    Those of training, as in the paper; of a model that was trained without attacks those of the test.
    """
    if training:
        return [read_shards(folder) for folder in training], "attacked training texts"
    return [read_shards(attacked.shards.folder)], "attacked test texts, because training made no attack"


def table_9(words: Words) -> dict[str, Correlated]:
    """The correlations, by pair, beside those of the paper."""
    published = paper.correlations()
    return {one.pair: Correlated(one.r, one.p, one.n, *published[one.pair]) for one in correlations(words)}


def scatter_pictures(words: Words, name: str) -> dict[str, bytes]:
    """Figure 4 as PNG files, by name."""
    return {f"{name}-{chart.name}": chart.png for chart in figures.scatters(words, correlations(words))}


def spreads_of(models: Mapping[str, Words], config: Config) -> dict[str, np.ndarray]:
    """Mean absolute difference of importance between words and their synonyms, for each sampled word (Figure 5).

    Args:
        models: words of models with the same vocabulary, by name.
        config: source of synonyms, and seed of the sample.
    """
    neighbours = synonyms.neighbours(config.attack.synonyms, assets.prepare())
    seed = derive_seed(config.seed, "spread")
    return {
        name: synonym_spread(words, neighbours, SPREAD_WORDS, SPREAD_SYNONYMS, seed) for name, words in models.items()
    }


def quartiles(spread: np.ndarray) -> list[float]:
    """Minimum, quartiles and maximum; empty without words."""
    return [round(float(value), 6) for value in np.quantile(spread, QUARTILES)] if len(spread) else []
