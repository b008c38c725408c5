"""The tables of words in the report: correlations, importance, synonyms and replacements."""

import csv
from collections.abc import Iterable, Sequence
from io import StringIO

import numpy as np

from flat_dist.evaluation import word_importance
from flat_dist.evaluation.substitutions import Replacement
from flat_dist.evaluation.word_importance import Words
from flat_dist.report import paper
from flat_dist.report.figures import SCATTERS
from flat_dist.report.formatting import DASH, fixed, significant
from flat_dist.report.page import Importance
from flat_dist.report.table import Table

EXTREMES = 20
"""Number of most important words, and of least important ones."""

MIN_COUNT = 5
"""Occurrences in the training texts that these words need: training hardly changes the importance of rarer ones."""

WORDS = 2000
"""Maximum number of words in the table of the scatter plots. words.csv has all."""


def correlation_table(importances: Sequence[Importance]) -> Table:
    """Correlations of importance and frequencies, beside those of the paper."""
    published = paper.correlations()
    rows = [
        (
            one.training,
            " – ".join(reversed(SCATTERS[found.pair])) if found.pair in SCATTERS else found.pair,
            fixed(found.r, 3),
            significant(found.p, 3),
            f"{found.n:,}",
            fixed(published.get(found.pair, (None, None))[0], 3),
            significant(published.get(found.pair, (None, None))[1], 3),
        )
        for one in importances
        for found in one.correlations
    ]
    return Table(
        ("model", "correlation of", "r", "p", "words", "r, paper’s\nLSTM", "p, paper’s\nLSTM"), rows, text_columns=2
    )


def word_table(words: Words, which: Iterable[int], title: str = "") -> Table:
    """Importance and frequencies of the words with these indices."""
    rows = [
        (
            words.words[index],
            fixed(words.importance_V[index], 3),
            fixed(words.frequency_V[index], 0),
            fixed(words.replaced_V[index], 0),
        )
        for index in which
    ]
    return Table(("word", "importance", "in training", "replaced"), rows, title=title)


def frequent_table(words: Words) -> Table:
    """The most frequent words."""
    return word_table(words, range(min(WORDS, len(words.words))))


def extreme_tables(words: Words) -> list[Table]:
    """The most and the least important words; nothing if all words are rare."""
    most, least = word_importance.extremes(words, EXTREMES, MIN_COUNT)
    if not most:
        return []
    return [word_table(words, most, "Most important"), word_table(words, least, "Least important")]


def words_csv(words: Words) -> str:
    """All words and their numbers, as CSV."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("word", "importance", "frequency", "replaced"))
    columns = (words.importance_V, words.frequency_V, words.replaced_V)
    for word, importance, *counts in zip(words.words, *(column.tolist() for column in columns), strict=True):
        writer.writerow((word, f"{importance:.6g}", *(f"{count:g}" for count in counts)))
    return text.getvalue()


def spreads(importances: Sequence[Importance]) -> dict[str, np.ndarray]:
    """Differences between synonyms, by model. Models with the same name are numbered."""
    by_model: dict[str, np.ndarray] = {}
    for one in importances:
        values = np.asarray(one.spread, dtype=np.float64)
        if np.isfinite(values).any():
            earlier = sum(name.split(" #")[0] == one.training for name in by_model)
            by_model[f"{one.training} #{earlier + 1}" if earlier else one.training] = values[np.isfinite(values)]
    return by_model


def spread_table(importances: Sequence[Importance]) -> Table:
    """Quantiles of the differences between synonyms."""
    rows = [
        (name, f"{len(values):,}", *(fixed(float(at), 4) for at in np.quantile(values, (0, 0.25, 0.5, 0.75, 1))))
        for name, values in spreads(importances).items()
    ]
    return Table(("model", "words", "minimum", "lower quartile", "median", "upper quartile", "maximum"), rows)


def replacement_table(model: str, replacements: Sequence[Replacement]) -> Table:
    """The words of a model's texts that attacks replaced most often."""
    rows = [
        (
            one.word,
            ", ".join(f"{word} {count}" for word, count in one.substitutes) or DASH,
            f"{one.count:,}",
        )
        for one in replacements
    ]
    return Table(("word", "replaced by", "times"), rows, text_columns=2, title=model)
