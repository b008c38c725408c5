"""Greedy word swaps in the order of word importance, as TextAttack's `GreedyWordSwapWIR` (0.3.11) does them.

A search is a generator: it yields what it wants to know and is sent the answer, so that an engine can put the
questions of many searches into one batch.
"""

import itertools
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from flat_dist.attack.engine.profile import Profile
from flat_dist.attack.engine.tokenized_text import Candidate, TokenizedText

TEXTS_AT_ONCE = 128
"""Texts of one question, at most: a long text has thousands, which must not all be in memory."""


@dataclass(frozen=True, slots=True)
class Score:
    """Question: class probabilities (N, C) of texts."""

    texts: Sequence[str]


@dataclass(frozen=True, slots=True)
class Swap:
    """Question: which candidates may stand in the place of a word? The answer is a list of `Allowed`."""

    original: TokenizedText
    current: TokenizedText
    index: int
    candidates: list[Candidate]


@dataclass(frozen=True, slots=True)
class Allowed:
    """A candidate that passed all constraints, and its similarity where one of them measures that."""

    candidate: Candidate
    similarity: float | None = None


QueryGenerator = Generator[Score | Swap, Any, Any]


@dataclass(frozen=True)
class SearchSettings:
    """What a greedy search depends on, besides the victim."""

    ranking: str
    """delete, unk or weighted-saliency."""
    unknown: str
    """What stands in a word's place while its saliency is measured."""
    indices: Callable[[str], list[int]]
    """Words that may be changed, in the order in which TextAttack lists them: ties are broken by it."""
    candidates: Callable[[str], list[Candidate]]
    """What may stand in the place of a word, before any constraint."""


class LimitError(Exception):
    """Thrown into a search that has taken too long."""


class Search:
    """One text under attack.

    Args:
        settings: how to search.
        text: what to attack.
        label: its class.
        max_queries: texts the victim may be asked about; 0: no limit. A question is cut to what is left.
        profile: where to count the time.
    """

    def __init__(self, settings: SearchSettings, text: str, label: int, max_queries: int, profile: Profile):
        self.settings, self.label, self.max_queries, self.profile = settings, label, max_queries, profile
        with profile.texts:
            self.original = self.current = TokenizedText.read(text)
        self.num_queries = 0
        self.status = "failed"

    @property
    def exhausted(self) -> bool:
        """Whether the victim may not be asked again."""
        return self.num_queries == self.max_queries != 0

    def run(self) -> QueryGenerator:
        """Search; afterwards `current`, `status` and `num_queries` hold the result."""
        try:
            yield from self._run()
        except LimitError:
            self.status = "timeout"

    def _run(self) -> QueryGenerator:
        (score,), (wrong,) = yield from self._ask([self.original.text])
        if wrong:
            self.status = "skipped"
            return
        order = yield from self._order()
        for index in order:
            if self.exhausted:
                break
            allowed = yield from self._allowed(index)
            if not allowed:
                continue
            scores_N, wrong_N = yield from self._ask(self._texts(index, allowed))
            best = int((-scores_N).argsort(kind="stable")[0])
            if not scores_N[best] > score:
                continue
            if wrong_N[best]:
                self._accept(index, allowed[_most_similar(scores_N, wrong_N, allowed)])
                self.status = "successful"
                return
            score = scores_N[best]
            self._accept(index, allowed[best])
        if self.exhausted:
            self.status = "timeout"

    def _accept(self, index: int, allowed: Allowed) -> None:
        with self.profile.texts:
            self.current = self.current.swap(index, allowed.candidate)

    def _ask(self, texts: Iterable[str]) -> QueryGenerator:
        """Scores (N), which are high where the label's probability is low, and whether the class (N) is wrong."""
        left = self.max_queries - self.num_queries if self.max_queries else None
        stream, probabilities = itertools.islice(texts, left), []
        while True:
            with self.profile.texts:
                batch = list(itertools.islice(stream, TEXTS_AT_ONCE))
            if not batch:
                break
            self.num_queries += len(batch)
            probabilities.append((yield Score(batch)))
        if not probabilities:
            return np.empty(0, np.float32), np.empty(0, bool)
        probabilities_NC = np.concatenate(probabilities)
        return 1 - probabilities_NC[:, self.label], probabilities_NC.argmax(1) != self.label

    def _order(self) -> QueryGenerator:
        """Indices of words, the most important first."""
        with self.profile.texts:
            indices = self.settings.indices(self.original.text)
        if self.settings.ranking == "delete":
            scores, _ = yield from self._ask(self.original.without(index) for index in indices)
        else:
            unknown = self.settings.unknown
            scores, _ = yield from self._ask(self.original.with_written(index, unknown) for index in indices)
        if self.settings.ranking == "weighted-saliency":
            scores = _softmax(scores) * (yield from self._best_swaps(indices, len(scores)))
        # Not a stable sort: ties fall as they do in TextAttack.
        return np.array(indices, dtype=int)[(-scores).argsort()]

    def _best_swaps(self, indices: Sequence[int], count: int) -> QueryGenerator:
        """The largest score that a swap of each word reaches (Ren et al. 2019), 0 where there is none."""
        best: list[np.float32 | float] = []
        for index in indices:
            if self.exhausted:
                break
            allowed = yield from self._allowed(index)
            scores, _ = yield from self._ask(self._texts(index, allowed))
            best.append(scores.max() if len(scores) else 0.0)
        return np.array(best + [0.0] * (count - len(best)))

    def _allowed(self, index: int) -> QueryGenerator:
        """Candidates that pass all constraints, in the order of the texts they make."""
        word = self.current.words[index]
        with self.profile.candidates:
            candidates = self.settings.candidates(word)
        if not candidates:
            return []
        allowed = yield Swap(self.original, self.current, index, candidates)
        with self.profile.texts:
            rest = self.current.text[self.current.end(index) :]
            allowed.sort(key=lambda one: one.candidate.written + rest)
        return allowed

    def _texts(self, index: int, allowed: Sequence[Allowed]) -> Iterator[str]:
        return (self.current.with_written(index, one.candidate.written) for one in allowed)


def _softmax(scores: np.ndarray) -> np.ndarray:
    return torch.nn.functional.softmax(torch.from_numpy(scores), dim=0).numpy()


def _most_similar(scores_N: np.ndarray, wrong_N: np.ndarray, allowed: Sequence[Allowed]) -> int:
    """Of the swaps that fool the victim, those before the first, by score, that does not, the most similar."""
    ranked = (-scores_N).argsort(kind="stable")
    fooling = list(itertools.takewhile(lambda position: wrong_N[position], ranked))
    if allowed[fooling[0]].similarity is None:
        return int(fooling[0])
    return int(max(fooling, key=lambda position: allowed[position].similarity or 0.0))
