"""How an attack's time is spent, and what becomes of its candidates."""

import time
from collections.abc import Mapping
from types import TracebackType

from flat_dist.attack.candidate_counts import CandidateCounts


class Span:
    """Adds up the seconds spent inside `with span:`."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.seconds += time.perf_counter() - self._start


COMPONENTS = ("victim", "encoder", "tags", "candidates", "text objects")
"""Components of an attack: the victim, the sentence encoder, part-of-speech tags, candidate words, building texts."""


class Profile:
    """Seconds by component; the rest is what no component counts. And counts of candidates."""

    def __init__(self) -> None:
        self.counts = CandidateCounts()
        self.total = Span()
        self.victim, self.encoder, self.tags, self.candidates, self.texts = self._spans = tuple(
            Span() for _ in COMPONENTS
        )

    def seconds(self) -> dict[str, float]:
        """Seconds of each component, and the rest."""
        spent = {name: span.seconds for name, span in zip(COMPONENTS, self._spans, strict=True)}
        return spent | {"rest": max(self.total.seconds - sum(spent.values()), 0.0)}


def describe(seconds: Mapping[str, float]) -> str:
    """Seconds and shares of the total, largest first."""
    total = sum(seconds.values()) or 1.0
    ranked = sorted(seconds.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {spent:.1f} s ({spent / total:.0%})" for name, spent in ranked)
