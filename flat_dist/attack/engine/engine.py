"""Advances many attacks together: TextAttack's results, with their questions put into large batches.

Each attack is a search that asks about texts and candidate words. The engine collects the questions of all searches it
has begun, answers them batch by batch, and lets the searches go on. No answer depends on what shares its batch.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from lru import LRU

from flat_dist.attack.engine.profile import Profile
from flat_dist.attack.engine.search import Allowed, LimitError, QueryGenerator, Score, Search, SearchSettings, Swap
from flat_dist.attack.limits import Limits

Filter = Callable[[Sequence[Swap], Sequence[list[Allowed]]], list[list[Allowed]]]
"""A constraint: for each question, the candidates that pass, of those that other constraints let through."""


class Victim(Protocol):
    """What an engine attacks."""

    def encode(self, text: str) -> tuple[int, ...]:
        """What the model sees of a text."""

    def predict(self, ids: Sequence[tuple[int, ...]], batch_size: int) -> torch.Tensor:
        """Class probabilities (N, C), on the CPU; none depends on what else is in the batch."""


@dataclass
class _ActiveSearch:
    """A search that has begun."""

    number: int
    search: Search
    asking: QueryGenerator = field(init=False)
    question: Score | Swap | None = field(init=False)
    seconds: float = 0.0
    error: Exception | None = None

    def __post_init__(self) -> None:
        self.asking = self.search.run()
        self.resume(None)

    def resume(self, answer: Any) -> None:
        """Send the answer, and get the next question; None when the search has ended."""
        self._step(self.asking.send, answer)

    def stop(self, error: Exception) -> None:
        """Raise an error where the search waits for its answer."""
        self._step(self.asking.throw, error)

    def _step(self, step: Callable[[Any], Score | Swap], value: Any) -> None:
        self.question = None
        try:
            self.question = step(value)
        except StopIteration:
            pass
        except Exception as error:  # One example's failure is no other's.
            self.error = error


class Engine:
    """Greedy attacks on one victim.

    Args:
        settings: how to search.
        filters: the constraints on candidates.
        victim: what is attacked.
        limits: how much at once.
        profile: where the time is counted.
    """

    def __init__(
        self, settings: SearchSettings, filters: Sequence[Filter], victim: Victim, limits: Limits, profile: Profile
    ):
        self.settings, self.filters, self.victim, self.limits, self.profile = settings, filters, victim, limits, profile
        self._predictions: LRU = LRU(limits.cache_size)

    def attack(self, examples: Iterable[tuple[str, int]]) -> Iterator[tuple[int, Search | None, Exception | None]]:
        """Attack texts with labels.

        Returns:
            For each, as soon as it is done: its number, the search that has ended, and what went wrong with it.
        """
        waiting = enumerate(examples)
        active: list[_ActiveSearch] = []
        while True:
            for number, (text, label) in waiting:
                try:
                    search = Search(self.settings, text, label, self.limits.max_queries, self.profile)
                except Exception as error:  # One example's failure is no other's.
                    yield number, None, error
                    continue
                active.append(_ActiveSearch(number, search))
                if len(active) >= self.limits.concurrent:
                    break
            if not active:
                return
            self._answer(active, Swap, self._allowed)
            self._answer(active, Score, self._scores)
            yield from ((one.number, one.search, one.error) for one in active if one.question is None)
            active = [one for one in active if one.question is not None]

    def _answer(
        self, active: Sequence[_ActiveSearch], kind: type, answer: Callable[[Sequence[Any]], Sequence[Any]]
    ) -> None:
        asking = [one for one in active if isinstance(one.question, kind)]
        if not asking:
            return
        began = time.perf_counter()
        try:
            answers = answer([one.question for one in asking])
        except Exception as error:  # One by one, to find out whose question it was.
            if len(asking) > 1:
                for one in asking:
                    self._answer([one], kind, answer)
            else:
                asking[0].stop(error)
            return
        each = (time.perf_counter() - began) / sum(_size(one.question) for one in asking)
        for one, reply in zip(asking, answers, strict=True):
            one.seconds += each * _size(one.question)
            if 0 < self.limits.max_seconds < one.seconds:
                one.stop(LimitError())
            else:
                one.resume(reply)

    def _allowed(self, swaps: Sequence[Swap]) -> list[list[Allowed]]:
        allowed = [[Allowed(candidate) for candidate in swap.candidates] for swap in swaps]
        for passes in self.filters:
            allowed = passes(swaps, allowed)
        return allowed

    def _scores(self, questions: Sequence[Score]) -> list[np.ndarray]:
        with self.profile.victim:
            seen = [[self.victim.encode(text) for text in question.texts] for question in questions]
            known: dict[tuple[int, ...], np.ndarray] = {}
            new: dict[tuple[int, ...], None] = {}
            for ids in (ids for texts in seen for ids in texts):
                if ids in self._predictions:
                    known[ids] = self._predictions[ids]
                else:
                    new[ids] = None
            rows = self.victim.predict(list(new), self.limits.batch_size).numpy()
            for ids, row in zip(new, rows, strict=True):
                known[ids] = self._predictions[ids] = row.copy()  # a view would keep the whole batch alive
            return [np.stack([known[ids] for ids in texts]) for texts in seen]


def _size(question: Score | Swap | None) -> int:
    return len(question.candidates if isinstance(question, Swap) else question.texts) if question else 0
