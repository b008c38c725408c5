"""What becomes of an attack's candidates: how many there are, and how many of them each constraint rejects."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

PREFIX = "candidates: "
"""Before the names of counts, where they are among other numbers that add up."""

WORDS_NAMED = 8
"""Words without candidates that are named."""


@dataclass
class CandidateCounts:
    """Counts over texts that a model classifies correctly. An attack that asks twice about a word counts its candidates
    twice; words count once a text."""

    words: int = 0
    """Words that the attack wanted to change."""
    without: int = 0
    """Those of them for which nothing is proposed, before any constraint."""
    candidates: int = 0
    """Proposed for these words, and checked."""
    rejected: Counter[str] = field(default_factory=Counter)
    """Candidates that each constraint rejects, in the order in which they are asked; a rejected candidate is not shown
    to the next one."""
    fixed: Counter[str] = field(default_factory=Counter)
    """Words that each constraint keeps from being changed, such as stop words."""
    words_without: dict[str, None] = field(default_factory=dict)
    """Some words without candidates; only in the process that counts."""

    @property
    def passed(self) -> int:
        """Candidates that pass all constraints."""
        return self.candidates - self.rejected.total()

    def propose(self, proposed: int, too_far: int = 0) -> None:
        """Count the candidates of a word: those left by the word embedding distance, and those that it rejects."""
        self.candidates += proposed + too_far
        if too_far:
            self.rejected[WORD_DISTANCE] += too_far

    def name_without(self, word: str) -> None:
        """Note a word without candidates."""
        if len(self.words_without) < WORDS_NAMED:
            self.words_without[word] = None

    def flat(self) -> dict[str, float]:
        """The counts as numbers that add up, by name."""
        named = {name: getattr(self, name) for name in TOTALS}
        for kind in KINDS:
            named |= {f"{kind}/{name}": count for name, count in getattr(self, kind).items()}
        return {PREFIX + name: count for name, count in named.items()}

    def to_dict(self) -> dict[str, Any]:
        """The counts as plain values."""
        return {name: getattr(self, name) for name in TOTALS} | {kind: dict(getattr(self, kind)) for kind in KINDS}


WORD_DISTANCE = "word embedding distance"
TOTALS = ("words", "without", "candidates")
KINDS = ("fixed", "rejected")


def from_flat(numbers: Mapping[str, float]) -> CandidateCounts:
    """The counts among numbers that add up."""
    found = CandidateCounts()
    for name, number in numbers.items():
        kind, slash, part = name.removeprefix(PREFIX).partition("/")
        if not name.startswith(PREFIX):
            continue
        if slash:
            getattr(found, kind)[part] += round(number)
        else:
            setattr(found, kind, round(number))
    return found


def from_dict(values: Mapping[str, Any]) -> CandidateCounts:
    """The inverse of `CandidateCounts.to_dict`."""
    words, without, candidates = (values.get(name, 0) for name in TOTALS)
    rejected, fixed = (Counter[str](values.get(kind, {})) for kind in ("rejected", "fixed"))
    return CandidateCounts(words, without, candidates, rejected, fixed)


def total(counts: Iterable[CandidateCounts]) -> CandidateCounts:
    """The sum of counts."""
    numbers: dict[str, float] = {}
    for one in counts:
        for name, number in one.flat().items():
            numbers[name] = numbers.get(name, 0) + number
    return from_flat(numbers)
