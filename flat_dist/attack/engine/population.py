"""What searches with a population share: a text that is a member, its neighbours, and random draws in NumPy's order.

TextAttack draws from NumPy's global generator. Here each search has its own, with the same seed, and draws from it in
the same order; so a text has the same result in any company.

Shape letters: N members, W words of a text.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from lru import LRU

from flat_dist.attack.engine.profile import Profile
from flat_dist.attack.engine.query import Allowed, QueryGenerator, Search, SwapQueries, SwapQuery
from flat_dist.attack.engine.tokenized_text import Candidate, TokenizedText
from flat_dist.attack.limits import Limits

UNCHANGED, CROSSED, SWAPPED = range(3)
"""How a text came about. TextAttack's caches tell these apart: such texts have 2, 4 and 5 attributes."""

KNOWN_TEXTS = 2048
"""Scores of texts that a search keeps."""


NO_WEIGHTS = np.empty(0)

LANGUAGE_MODEL = "language model"
"""What the constraint that keeps the first candidates is called in counts."""


class CandidateSource(Protocol):
    """What may take the place of words, before constraints on the whole text."""

    def of_texts(self, texts: Sequence[TokenizedText]) -> list[list[list[Candidate]]]:
        """For each text and each of its words."""

    def at(self, text: TokenizedText, index: int) -> list[Candidate]:
        """For one word of a text."""


@dataclass(frozen=True, kw_only=True)
class PopulationSettings:
    """What a search with a population needs, besides the victim."""

    size: int
    """Members of the population."""
    iterations: int
    """Maximum number of generations."""
    candidates: CandidateSource
    indices: Callable[[str], list[int]]
    """Indices of words of the original text that may be changed, in TextAttack's order."""
    is_fixed: Callable[[str], bool]
    """Whether a word never changes, such as a stop word."""
    once: bool
    """Whether a word that has been changed stays as it is."""
    constrained: bool
    """Whether the engine has constraints on the candidates."""
    kept: int = 0
    """Candidates of a word that are kept, the first; of all words together, as many as these are. 0: all."""
    remembered: int = 0
    """Pairs of texts whose check TextAttack caches, if a candidate passes or not according to the others. 0: none."""
    from_original: bool = False
    """As in `Search`."""


@dataclass(frozen=True, slots=True)
class Member:
    """A text of the population, with its score."""

    text: TokenizedText
    modified: frozenset[int]
    """Indices of changed words."""
    kind: int
    """`UNCHANGED`, `CROSSED` or `SWAPPED`."""
    score: float
    wrong: bool
    """Whether the victim's prediction is wrong."""
    weights_W: np.ndarray = field(default_factory=lambda: NO_WEIGHTS)
    """How likely each word is to be changed next."""


class PopulationSearch(Search):
    """A search with a population; subclasses implement `_search`.

    Args:
        settings: of the search.
        text: the text to attack.
        label: its class.
        seed: of the draws.
        limits: on victim queries.
        profile: counts the time of each component.
    """

    def __init__(
        self, settings: PopulationSettings, text: str, label: int, seed: int, limits: Limits, profile: Profile
    ):
        super().__init__(text, label, settings.from_original, limits, profile)
        self.population_settings = settings
        self.random = np.random.RandomState(seed % 2**32)
        self._passed: LRU | None = LRU(settings.remembered) if settings.remembered else None
        self._known: LRU = LRU(KNOWN_TEXTS)
        self._best_score = -np.inf

    def _run(self) -> QueryGenerator:
        (score,), (wrong,) = yield from self._ask([self.original.text])
        if wrong:
            self.status = "skipped"
            return
        if not self.original.words:  # TextAttack fails on such texts
            return
        start = Member(self.original, frozenset(), UNCHANGED, float(score), False)
        final = yield from self._search(start)
        self.current = final.text
        self.status = "successful" if final.wrong else "timeout" if self.exhausted else "failed"

    def _search(self, start: Member) -> QueryGenerator:
        """The member that is the result."""
        raise NotImplementedError

    def _draw(self, probabilities: np.ndarray, count: int) -> np.ndarray:
        """Indices (count,), as `numpy.random.choice` draws them."""
        cumulative = probabilities.astype(np.float64).cumsum()
        cumulative /= cumulative[-1]
        return cumulative.searchsorted(self.random.random_sample(count), side="right")

    def _count(self, texts: int) -> int:
        """Count queries; returns how many of them are within the limit."""
        counted = min(texts, self.max_queries - self.num_queries) if self.max_queries else texts
        self.num_queries += counted
        return counted

    def _keep_best(self, member: Member) -> Member:
        """Note a member as the best so far if it is; this is the result of a search without enough time."""
        if member.score > self._best_score:
            self._best_score, self.current = member.score, member.text
        return member

    def _swapped(self, member: Member, index: int, candidate: Candidate, score: float, wrong: bool) -> Member:
        with self.profile.texts:
            text = member.text.swap(index, candidate)
        modified = member.modified | {index}
        changed = replace(member, text=text, modified=modified, kind=SWAPPED, score=float(score), wrong=bool(wrong))
        return self._keep_best(changed)

    def _may_change(self, member: Member, index: int) -> bool:
        settings = self.population_settings
        if index < self.fixed_words or (settings.once and index in member.modified):
            return False
        return not settings.is_fixed(member.text.words[index])

    def _allowed(self, member: Member, index: int) -> QueryGenerator:
        """Candidates for a word that pass all constraints, in the order of the resulting texts."""
        if not self._may_change(member, index):
            return []
        with self.profile.candidates:
            candidates = self.population_settings.candidates.at(member.text, index)
        if self._passed is None or not candidates:
            self._propose(index, candidates)
        if not candidates or not self.population_settings.constrained:
            allowed = [Allowed(candidate) for candidate in candidates]
        elif self._passed is None:
            allowed = self._keep_first([(yield SwapQuery(self.original, member.text, index, candidates))])[0]
        else:
            allowed = yield from self._allowed_by_memory(self._passed, member, index, candidates)
        return self._in_order(member, index, allowed)

    def _allowed_by_memory(
        self, passed: LRU, member: Member, index: int, candidates: Sequence[Candidate]
    ) -> QueryGenerator:
        """As TextAttack's cache answers: what it has forgotten is compared anew, without the candidates it knows."""
        key = member.text.text, member.kind, index
        known, new = [], []
        for candidate in candidates:
            if (*key, candidate.replacement) not in passed:
                new.append(candidate)
            elif passed[(*key, candidate.replacement)]:
                known.append(Allowed(candidate))
        self._propose(index, new)
        found = self._keep_first([(yield SwapQuery(self.original, member.text, index, new))])[0] if new else []
        self._remember(passed, [(member, index, new, found)])
        return known + found

    def _keep_first(self, allowed: Sequence[list[Allowed]]) -> list[list[Allowed]]:
        """The first of the candidates of one or more words: as many as if each word had at most `kept`."""
        kept = self.population_settings.kept
        left = sum(min(len(some), kept) for some in allowed) if kept else sum(map(len, allowed))
        first = []
        for some in allowed:
            first.append(some[:left])
            left -= len(first[-1])
        if kept:
            self.profile.counts.rejected[LANGUAGE_MODEL] += sum(map(len, allowed)) - sum(map(len, first))
        return first

    @staticmethod
    def _remember(passed: LRU, checked: Sequence[tuple[Member, int, Sequence[Candidate], Sequence[Allowed]]]) -> None:
        for member, index, candidates, _ in checked:
            for candidate in candidates:
                passed[member.text.text, member.kind, index, candidate.replacement] = False
        for member, index, _, found in checked:
            for one in found:
                passed[member.text.text, member.kind, index, one.candidate.replacement] = True

    def _allowed_at(self, member: Member, indices: Sequence[int]) -> QueryGenerator:
        """As `_allowed`, for several words at once: a dictionary by index, without words that have none."""
        with self.profile.candidates:
            found = self.population_settings.candidates.of_texts([member.text])[0]
        may_change = [index for index in indices if self._may_change(member, index)]
        for index in may_change:
            self._propose(index, found[index])
        places = [index for index in may_change if found[index]]
        if self.population_settings.constrained and places:
            swaps = [SwapQuery(self.original, member.text, index, found[index]) for index in places]
            answers = self._keep_first((yield SwapQueries(swaps)))
        else:
            answers = [[Allowed(candidate) for candidate in found[index]] for index in places]
        if self._passed is not None:
            self._remember(self._passed, [(member, i, found[i], a) for i, a in zip(places, answers, strict=True)])
        ordered = {index: self._in_order(member, index, some) for index, some in zip(places, answers, strict=True)}
        return {index: some for index, some in ordered.items() if some}

    def _in_order(self, member: Member, index: int, allowed: list[Allowed]) -> list[Allowed]:
        with self.profile.texts:
            rest = member.text.text[member.text.end(index) :]
            return sorted(allowed, key=lambda one: one.candidate.replacement + rest)

    def _texts(self, member: Member, index: int, allowed: Sequence[Allowed]) -> list[str]:
        with self.profile.texts:
            return [member.text.with_replacement(index, one.candidate.replacement) for one in allowed]

    def _values(self, texts: Sequence[str]) -> QueryGenerator:
        """Scores (N) and whether predictions (N) are wrong, uncounted; what is known is not asked for."""
        found = {text: self._known[text] for text in texts if text in self._known}
        new = [text for text in dict.fromkeys(texts) if text not in found]
        if new:
            scores_N, wrong_N = yield from self._score(new)
            for text, score, wrong in zip(new, scores_N.tolist(), wrong_N.tolist(), strict=True):
                self._known[text] = found[text] = score, wrong
        values = [found[text] for text in texts]
        return np.array([score for score, _ in values]), np.array([wrong for _, wrong in values], dtype=bool)
