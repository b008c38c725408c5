"""The paper's claims about FLAT, counted over cells: where is it above adv and base?

Shapes: S seeds, N texts of the split.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from flat_dist.evaluation.significance import Interval, bootstrap, compare
from flat_dist.report.paper import Numbers
from flat_dist.report.summary_table import METHODS
from flat_dist.reproduction.cards import Card
from flat_dist.reproduction.cells import FIRST_SEED
from flat_dist.reproduction.outcomes import decode, decode_pairs
from flat_dist.reproduction.published import ALL_CELLS, CellKey, published_cell
from flat_dist.runtime.seeds import derive_seed

Quantity = Literal["accuracy", "after_attack", "tau", "top_5"]

SIGNIFICANT = 0.05
"""p below which a difference counts as significant."""


@dataclass(frozen=True)
class Claim:
    """FLAT against another kind of training."""

    title: str
    quantity: Quantity
    other: str
    method: str = ""
    """Of explanations: ig or lime."""
    allowed: float = 0.0
    """FLAT may be worse by so much, in the unit of the quantity; 0: it must be better."""

    def holds(self, difference: float) -> bool:
        """Whether a difference, FLAT minus the other one, is as claimed."""
        return difference >= -self.allowed if self.allowed else difference > 0

    def published(self, numbers: Mapping[str, Numbers]) -> float | None:
        """The paper's difference; None where it has no numbers."""
        this, other = (self._published(numbers[name]) for name in ("flat", self.other))
        return None if this is None or other is None else round(this - other, 6)

    def _published(self, numbers: Numbers) -> float | None:
        if self.quantity == "accuracy":
            return numbers.accuracy
        if self.quantity == "after_attack":
            return numbers.after_attack_accuracy
        return (numbers.kendall_tau if self.quantity == "tau" else numbers.top_5).get(self.method)

    def values(self, card: Card, training: str) -> np.ndarray | None:
        """The number of each text of a model (N), NaN where it was not measured; None where none was."""
        trained = card.measured.trainings[training]
        if self.quantity == "accuracy":
            return decode(trained.right)
        attacked = trained.attacks[card.cell.attack]
        if self.quantity == "after_attack":
            return decode(attacked.outcomes) if attacked.outcomes else None
        explained = attacked.explained.get(self.method)
        if explained is None:
            return None
        return decode_pairs(explained.taus if self.quantity == "tau" else explained.tops, len(trained.right))


QUANTITIES: Mapping[Quantity, str] = {"tau": "Kendall’s tau", "top_5": "top-5"}
"""Quantities of explanations, and their names."""

CLAIMS = (
    *(Claim(f"after-attack accuracy above {other}", "after_attack", other) for other in ("adv", "base")),
    *(
        Claim(f"{name} ({heading}) above {other}", quantity, other, method)
        for method, heading in METHODS.items()
        for quantity, name in QUANTITIES.items()
        for other in ("adv", "base")
    ),
    Claim("accuracy within one point of base", "accuracy", "base", allowed=0.01),
)
"""What the paper says of FLAT (Tables 2, 3 and 8)."""


@dataclass(frozen=True)
class Difference:
    """FLAT minus another kind of training: the mean over seeds of the mean over texts that both were measured on."""

    mean: float
    interval: Interval
    """Bootstrap interval over seeds and texts."""
    p_values: Sequence[float]
    """By seed: of the exact McNemar test; for numbers of explanations of the exact sign test."""


def differences(cards: Sequence[Card], claims: Sequence[Claim] = CLAIMS) -> dict[Claim, Difference]:
    """The differences of claims over the seeds of a cell.

    A claim is left out where a seed has no text that both models were measured on. All differences of a resample have
    the same texts and seeds.
    """
    known = {claim: rows for claim in claims if (rows := _pairs(claim, cards)) is not None}
    if not known:
        return {}
    values_KSN = np.stack([[this - other for this, other in rows] for rows in known.values()])
    intervals = bootstrap(values_KSN, derive_seed(FIRST_SEED, "bootstrap"))
    means_K = np.nanmean(values_KSN, axis=2).mean(axis=1).tolist()
    return {
        claim: Difference(mean, interval, [compare(this, other, interval).p_value for this, other in rows])
        for (claim, rows), mean, interval in zip(known.items(), means_K, intervals, strict=True)
    }


def _pairs(claim: Claim, cards: Sequence[Card]) -> list[tuple[np.ndarray, np.ndarray]] | None:
    """Values (N) of FLAT and of the other model, by seed; None where a seed has no text for both, or other data."""
    rows = []
    for card in cards:
        this, other = claim.values(card, "flat"), claim.values(card, claim.other)
        if this is None or other is None or np.isnan(this - other).all():
            return None
        rows.append((this, other))
    return rows if len({len(this) for this, _ in rows}) == 1 else None  # seeds on different data


@dataclass(frozen=True)
class Count:
    """How often a claim holds. `of` is the number of cells that have the numbers."""

    holds: int
    of: int
    certain: int = 0
    """The interval excludes a difference that breaks the claim."""
    significant: int | None = None
    """It holds, and p is below `SIGNIFICANT` in every seed; None of a claim that FLAT is not much worse, which the test
    says nothing about."""


def count(claim: Claim, differences: Iterable[Difference | None]) -> Count:
    """How often a claim holds in measured cells."""
    known = [one for one in differences if one is not None]
    held = [one for one in known if claim.holds(one.mean)]
    return Count(
        holds=len(held),
        of=len(known),
        certain=sum(claim.holds(one.interval.low) for one in known),
        significant=None if claim.allowed else sum(max(one.p_values) < SIGNIFICANT for one in held),
    )


def count_published(claim: Claim, keys: Iterable[CellKey] = ALL_CELLS) -> Count:
    """How often a claim holds in cells of the paper."""
    known = [found for key in keys if (found := claim.published(published_cell(key))) is not None]
    return Count(holds=sum(map(claim.holds, known)), of=len(known))
