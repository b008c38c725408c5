"""The numbers of cells about growing data, over seeds and texts.

Shapes: K quantities, S seeds, N texts of the split.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np

from flat_dist.config.schema import ADVERSARIAL
from flat_dist.evaluation.significance import Interval, bootstrap, interval_of_share
from flat_dist.report.formatting import percent
from flat_dist.report.paper import DATASETS, MODELS
from flat_dist.reproduction.cards import Card
from flat_dist.reproduction.cells import FIRST_SEED
from flat_dist.reproduction.claim_tables import Groups
from flat_dist.reproduction.growing import SOURCES, row_of
from flat_dist.reproduction.outcomes import decode
from flat_dist.runtime.seeds import derive_seed

LINES = tuple(product(SOURCES, ADVERSARIAL))
"""The models of each round: source of adversarial texts, and kind of training."""

NAMES: Mapping[str, str] = {**DATASETS, "customer_reviews": "customer reviews"}
"""Datasets of these cells, and others, as titles have them."""


@dataclass(frozen=True)
class Measure:
    """A share, or a difference of two: its mean over texts, then over seeds."""

    mean: float
    interval: Interval

    @property
    def text(self) -> str:
        """In percent, with the interval."""
        return f"{percent(self.mean)} ({percent(self.interval.low)} to {percent(self.interval.high)})"


def measure(values: Mapping[str, np.ndarray]) -> dict[str, Measure]:
    """Means of values (S, N) with bootstrap intervals; NaN where a text was not measured."""
    if not values:
        return {}
    values_KSN = np.stack(list(values.values()))
    means_K = np.nanmean(values_KSN, axis=2).mean(axis=1).tolist()
    intervals = bootstrap(values_KSN, derive_seed(FIRST_SEED, "bootstrap"))
    return {name: Measure(*found) for name, *found in zip(values, means_K, intervals, strict=True)}


@dataclass(frozen=True)
class Growth:
    """The cards of all seeds of a cell, on the same texts."""

    cards: Sequence[Card]

    @property
    def title(self) -> str:
        """What was trained, on what, and against which attack."""
        cell = self.cards[0].cell
        return f"{NAMES[cell.dataset]}, {MODELS[cell.model]}, {cell.attack}"

    @property
    def picture(self) -> str:
        """Name of the figure."""
        return "-".join(self.cards[0].cell.group)

    @property
    def seeds(self) -> str:
        """Number of seeds."""
        return f"{len(self.cards)} seed{'s' * (len(self.cards) > 1)}"

    @cached_property
    def last(self) -> int:
        """The last round that all seeds have."""
        return min(max(one.round for one in card.measured.trainings.values()) for card in self.cards)

    @cached_property
    def after(self) -> dict[str, np.ndarray]:
        """Whether each text is right after the attack (S, N), by row; without models that predict one class."""
        return self._values(lambda card, row: card.measured.trainings[row].attacks[card.cell.attack].outcomes)

    @cached_property
    def right(self) -> dict[str, np.ndarray]:
        """Whether each text is right without an attack (S, N), by row."""
        return self._values(lambda card, row: card.measured.trainings[row].right)

    def _values(self, letters: Callable[[Card, str], str]) -> dict[str, np.ndarray]:
        rounds = range(1, self.last + 1)
        rows = ["base", *(row_of(kind, source, number) for number in rounds for source, kind in LINES)]
        known = [row for row in rows if all(row in card.measured.trainings for card in self.cards)]
        found = {row: [letters(card, row) for card in self.cards] for row in known}
        return {row: np.stack([decode(each) for each in own]) for row, own in found.items() if all(own)}

    @cached_property
    def shares(self) -> dict[str, Measure]:
        """After-attack accuracy by row."""
        return {
            row: Measure(one.mean, interval_of_share(self.after[row], one.interval))
            for row, one in measure(self.after).items()
        }

    def seconds(self, row: str) -> float | None:
        """Seconds of workers behind a model, the mean over seeds; None where they are not known."""
        known = [seconds for card in self.cards if (seconds := card.measured.spent[row].seconds) is not None]
        return sum(known) / len(known) if len(known) == len(self.cards) else None


def growths(groups: Groups) -> list[Growth]:
    """The cells about growing data, in the order of the page. Seeds on other data than the first one are left out."""
    found = []
    for (use, *_), cards in groups.items():
        if use == "growing":
            found.append(Growth([one for one in cards if one.measured.texts == cards[0].measured.texts]))
    return found
