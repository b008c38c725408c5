"""Runs many attacks at once: the results are TextAttack's, the queries are answered in large batches.

Each attack is a search that yields queries about texts and candidate words. The engine collects the queries of all
active searches, answers them in batches, and resumes the searches. No answer depends on the other queries of its batch.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import torch
from lru import LRU

from flat_dist.attack.engine.profile import Profile
from flat_dist.attack.engine.query import (
    Allowed,
    LimitError,
    Query,
    QueryGenerator,
    ScoreQuery,
    Search,
    Settings,
    SwapQueries,
    SwapQuery,
)
from flat_dist.attack.limits import Limits


class Filter(Protocol):
    """A constraint on candidates."""

    name: str
    """What it is called in counts."""

    def __call__(self, swaps: Sequence[SwapQuery], allowed: Sequence[list[Allowed]]) -> list[list[Allowed]]:
        """For each query, those of the allowed candidates that pass."""


Answer = Callable[[Sequence[Any]], Sequence[Any]]
"""Answers of queries of one kind."""


class Victim(Protocol):
    """The model under attack."""

    def encode(self, text: str) -> tuple[int, ...]:
        """Input ids of a text."""

    def predict(self, ids: Sequence[tuple[int, ...]], batch_size: int) -> torch.Tensor:
        """Scores of the classes (N, C), on the CPU; no row depends on the other rows."""


@dataclass
class _ActiveSearch:
    """A search, its pending query, and the seconds that its queries took."""

    number: int
    search: Search
    generator: QueryGenerator = field(init=False)
    query: Query | None = field(init=False)
    seconds: float = 0.0
    error: Exception | None = None

    def __post_init__(self) -> None:
        self.generator = self.search.run()
        self.resume(None)

    def resume(self, answer: Any) -> None:
        """Send an answer and take the next query, which is None when the search has ended."""
        self._step(self.generator.send, answer)

    def fail(self, error: Exception) -> None:
        """Raise an error in the search."""
        self._step(self.generator.throw, error)

    def _step(self, step: Callable[[Any], Query], value: Any) -> None:
        self.query = None
        try:
            self.query = step(value)
        except StopIteration:
            pass
        except Exception as error:  # must not fail other examples
            self.error = error


class Engine:
    """Attacks on one victim.

    Args:
        settings: of the searches.
        filters: constraints on candidates.
        victim: the model under attack.
        limits: batch sizes, and limits per example.
        profile: counts the time of each component.
        answers: how queries of other kinds are answered, by kind.
    """

    def __init__(
        self,
        settings: Settings,
        filters: Sequence[Filter],
        victim: Victim,
        limits: Limits,
        profile: Profile,
        answers: Mapping[type, Answer] = MappingProxyType({}),
    ):
        self.settings, self.filters, self.victim, self.limits, self.profile = settings, filters, victim, limits, profile
        self.answers = answers
        self._predictions: LRU = LRU(limits.cache_size)

    def attack(self, examples: Iterable[tuple[str, int, int]]) -> Iterator[tuple[int, Search | None, Exception | None]]:
        """Attack texts with labels and seeds.

        Returns:
            For each text, in the order in which they finish: its number, its finished search, and its error, if any.
        """
        waiting = enumerate(examples)
        active: list[_ActiveSearch] = []
        while True:
            for number, (text, label, seed) in waiting:
                try:
                    search = self.settings.start(text, label, seed, self.limits, self.profile)
                except Exception as error:  # must not fail other examples
                    yield number, None, error
                    continue
                active.append(_ActiveSearch(number, search))
                if len(active) >= self.limits.concurrent:
                    break
            if not active:
                return
            for kind, answer in self.answers.items():
                self._answer(active, kind, answer)
            self._answer(active, SwapQuery, self._allowed)
            self._answer(active, SwapQueries, self._allowed_in_many)
            self._answer(active, ScoreQuery, self._scores)
            yield from ((one.number, one.search, one.error) for one in active if one.query is None)
            active = [one for one in active if one.query is not None]

    def _answer(self, active: Sequence[_ActiveSearch], kind: type, answer: Answer) -> None:
        pending = [one for one in active if isinstance(one.query, kind)]
        if not pending:
            return
        start = time.perf_counter()
        try:
            answers = answer([one.query for one in pending])
        except Exception as error:  # answer one by one, to find the query that fails
            if len(pending) > 1:
                for one in pending:
                    self._answer([one], kind, answer)
            else:
                pending[0].fail(error)
            return
        each = (time.perf_counter() - start) / sum(_size(one.query) for one in pending)
        for one, reply in zip(pending, answers, strict=True):
            one.seconds += each * _size(one.query)
            if 0 < self.limits.max_seconds < one.seconds:
                one.fail(LimitError())
            else:
                one.resume(reply)

    def _allowed(self, swaps: Sequence[SwapQuery]) -> list[list[Allowed]]:
        allowed = [[Allowed(candidate) for candidate in swap.candidates] for swap in swaps]
        left = sum(map(len, allowed))
        for passes in self.filters:
            allowed = passes(swaps, allowed)
            before, left = left, sum(map(len, allowed))
            self.profile.counts.rejected[passes.name] += before - left
        return allowed

    def _allowed_in_many(self, queries: Sequence[SwapQueries]) -> list[list[list[Allowed]]]:
        answers = iter(self._allowed([swap for query in queries for swap in query.swaps]))
        return [[next(answers) for _ in query.swaps] for query in queries]

    def _scores(self, queries: Sequence[ScoreQuery]) -> list[np.ndarray]:
        with self.profile.victim:
            ids_of_texts = [[self.victim.encode(text) for text in query.texts] for query in queries]
            known: dict[tuple[int, ...], np.ndarray] = {}
            new: dict[tuple[int, ...], None] = {}
            for ids in (ids for texts in ids_of_texts for ids in texts):
                if ids in self._predictions:
                    known[ids] = self._predictions[ids]
                else:
                    new[ids] = None
            rows = self.victim.predict(list(new), self.limits.batch_size).numpy()
            for ids, row in zip(new, rows, strict=True):
                known[ids] = self._predictions[ids] = row.copy()  # a view would keep the whole batch in memory
            return [np.stack([known[ids] for ids in texts]) for texts in ids_of_texts]


def _size(query: Query | None) -> int:
    if isinstance(query, SwapQueries):
        return sum(_size(swap) for swap in query.swaps)
    if isinstance(query, SwapQuery):
        return len(query.candidates)
    return len(query.texts if isinstance(query, ScoreQuery) else query.items) if query else 0
