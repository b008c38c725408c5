"""The report of a run: one self-contained page, and its pictures as files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from flat_dist.data.storage import Folder
from flat_dist.evaluation.analysis import Correlation, Replacement, Words
from flat_dist.tracking import figures, pages, pairs, sheets
from flat_dist.tracking.figures import Picture
from flat_dist.tracking.table import Result
from flat_dist.tracking.typeset import percent


@dataclass(frozen=True)
class Saliency:
    """What one model made of original/adversarial pairs by one method."""

    training: str
    """Name of the model: base, adv, flat, or the name of a checkpoint."""
    attack: str
    method: str
    """ig or lime."""
    pairs: pa.Table
    """Rows of `flat_dist.evaluation.explain.SCHEMA`."""


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


def write(folder: Folder, page: Page) -> None:
    """Write index.html, and each picture as figures/<name>.png, into the folder; words.csv where words have importance.

    index.html is written last. It needs no other file, and the same page gives the same bytes.
    """
    groups = _pictures(page)
    for picture in (picture for group in groups.values() for picture in group):
        (folder / "figures").write(f"{picture.name}.png", picture.png)
    if page.importances:
        folder.write("words.csv", sheets.words_csv(page.importances[-1].words).encode("utf-8", "replace"))
    folder.write("index.html", _render(page, groups))


def _pictures(page: Page) -> dict[str, list[Picture]]:
    """Pictures by section of the page."""
    spreads = sheets.spreads(page.importances)
    latest = page.importances[-1] if page.importances else None
    return {
        "rounds": figures.rounds(page.rounds) if page.rounds else [],
        "top_k": figures.top_k(sheets.by_attack(page.results)),
        "scatters": figures.scatters(latest.words, latest.correlations) if latest and latest.words.words else [],
        "spread": [figures.spread(spreads)] if spreads else [],
    }


def _render(page: Page, groups: Mapping[str, Sequence[Picture]]) -> bytes:
    return pages.render(
        "report.html",
        page=page,
        summary=_summary(page),
        drawn=groups,
        sheets=sheets.all_of(page),
        paper_note=sheets.paper_note(page),
        pairs=pairs.payload(page.saliencies, page.label_names),
        cards=sheets.cards(page.cards),
        seen=sheets.SEEN,
    )


def _summary(page: Page) -> str:
    """What came out under the first attack, in one line."""
    results = sheets.by_attack(page.results)
    if not results:
        return ""
    first = [row for row in results if row.attack == results[0].attack]
    kept = ", ".join(f"{row.training} {percent(row.after_attack_accuracy)}\u00a0%" for row in first)
    return f"Accuracy after {first[0].attack}, of {first[0].n:,} texts: {kept}."
