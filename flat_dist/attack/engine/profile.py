"""Where the time of an attack goes."""

import time
from collections.abc import Mapping
from types import TracebackType


class Span:
    """Adds up the seconds spent inside `with span:`."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.seconds += time.perf_counter() - self._began


COMPONENTS = ("victim", "encoder", "tags", "candidates", "text objects")
"""What an attack spends its time on: the model attacked, the sentence encoder, part-of-speech tags, the words that may
stand in a word's place, and building texts."""


class Profile:
    """Seconds by component; what is in none of them is the rest."""

    def __init__(self) -> None:
        self.whole = Span()
        self.victim, self.encoder, self.tags, self.candidates, self.texts = self._spans = tuple(
            Span() for _ in COMPONENTS
        )

    def seconds(self) -> dict[str, float]:
        """Seconds of each component, and the rest."""
        spent = {name: span.seconds for name, span in zip(COMPONENTS, self._spans, strict=True)}
        return spent | {"rest": max(self.whole.seconds - sum(spent.values()), 0.0)}


def describe(seconds: Mapping[str, float]) -> str:
    """Seconds and shares of the whole, the largest first."""
    whole = sum(seconds.values()) or 1.0
    ranked = sorted(seconds.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {spent:.1f} s ({spent / whole:.0%})" for name, spent in ranked)
