"""Genetic algorithms as TextAttack 0.3.11 has them: `AlzantotGeneticAlgorithm` and `ImprovedGeneticAlgorithm`.

TextAttack's parents are drawn with probabilities proportional to exp(-score / temperature): members with low scores are
preferred, unlike in the papers. This is kept.

Shape letters: N members, W words of a text.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from flat_dist.attack.engine.population import (
    CROSSED,
    SWAPPED,
    Member,
    PopulationSearch,
    PopulationSettings,
)
from flat_dist.attack.engine.profile import Profile
from flat_dist.attack.engine.query import Allowed, QueryGenerator
from flat_dist.attack.limits import Limits

REPLACEMENT_SHARE = 0.1
"""Share of the smallest number of candidates that a word without candidates has as its weight, at least 1."""


@dataclass(frozen=True, kw_only=True)
class GeneticSettings(PopulationSettings):
    """What a genetic search needs, besides the victim."""

    temperature: float
    """Of the draw of parents."""
    replacements: int = 0
    """How often a word may be changed, in the improved algorithm (Wang et al. 2019); 0: Alzantot et al. 2018."""

    def start(self, text: str, label: int, seed: int, limits: Limits, profile: Profile) -> "GeneticSearch":
        """The search on a text.

        Raises:
            UnusualTextError: the engine cannot split the text into words.
        """
        return GeneticSearch(self, text, label, seed, limits, profile)


class GeneticSearch(PopulationSearch):
    """The attack on one text; the arguments are those of `PopulationSearch`."""

    def __init__(self, settings: GeneticSettings, text: str, label: int, seed: int, limits: Limits, profile: Profile):
        super().__init__(settings, text, label, seed, limits, profile)
        self.settings = settings

    def _search(self, start: Member) -> QueryGenerator:
        improved = self.settings.replacements
        population = yield from (self._swap_each_word(start) if improved else self._swap_random_words(start))
        for _ in range(self.settings.iterations):
            population = sorted(population, key=lambda member: member.score, reverse=True)
            if self.exhausted or population[0].wrong:
                break
            population = [population[0], *(yield from self._children(population))]
        return population[0]

    def _swap_random_words(self, start: Member) -> QueryGenerator:
        """The first population of Alzantot et al.: words with more candidates are changed more often."""
        allowed = yield from self._allowed_at(start, self.settings.indices(start.text.text))
        counts_W = np.zeros(len(start.text.words))
        for index, some in allowed.items():
            counts_W[index] = len(some)
        weights_W = np.maximum(counts_W, max(1, int(counts_W.min() * REPLACEMENT_SHARE)))
        population = []
        for _ in range(self.settings.size):
            population.append((yield from self._perturb(replace(start, weights_W=weights_W))))
        return population

    def _swap_each_word(self, start: Member) -> QueryGenerator:
        """The first population of Wang et al.: each word is changed in one member. The first word is a random one,
        because TextAttack takes its index, 0, for none."""
        words = len(start.text.words)
        start = replace(start, weights_W=np.full(words, self.settings.replacements))
        population = [(yield from self._perturb(start))]
        allowed = yield from self._allowed_at(start, range(1, words))
        texts = (text for index, some in allowed.items() for text in self._texts(start, index, some))
        left = self.max_queries - self.num_queries if self.max_queries else None
        scores_N, wrong_N = yield from self._score(itertools.islice(texts, left))
        position = 0
        for index in range(1, words):
            some = allowed.get(index, [])
            here = slice(position, position + len(some))
            member = self._better(start, index, some, scores_N[here], wrong_N[here])
            if member is None and some and not self.exhausted:
                self._count((words - 1) * len(some))  # TextAttack asks again for each word of the text
            population.append(member or start)
            position += len(some)
        return population[: self.settings.size]

    def _better(
        self, member: Member, index: int, allowed: Sequence[Allowed], scores_N: np.ndarray, wrong_N: np.ndarray
    ) -> Member | None:
        """Count the swaps of a word, and make the best if it raises the score."""
        counted = self._count(len(allowed))
        if not counted:
            return None
        rises_N = scores_N[:counted].astype(np.float32) - np.float32(member.score)
        best = int(rises_N.argmax())
        if not rises_N[best] > 0:
            return None
        return self._change(member, index, allowed[best], scores_N[best], wrong_N[best])

    def _change(self, member: Member, index: int, allowed: Allowed, score: float, wrong: bool) -> Member:
        weights_W = member.weights_W.copy()
        weights_W[index] = weights_W[index] - 1 if self.settings.replacements else 0
        return replace(self._swapped(member, index, allowed.candidate, score, wrong), weights_W=weights_W)

    def _perturb(self, member: Member) -> QueryGenerator:
        """The member with a random word changed for the better, or as it is if no word that is drawn can be."""
        weights_W = member.weights_W.copy()
        for _ in range(np.count_nonzero(weights_W)):
            index = int(self._draw(weights_W / np.sum(weights_W), 1)[0])
            allowed = yield from self._allowed(member, index)
            if not allowed:
                continue
            scores_N, wrong_N = yield from self._values(self._texts(member, index, allowed))
            better = self._better(member, index, allowed, scores_N, wrong_N)
            if better is not None:
                return better
            weights_W[index] = 0
            if self.exhausted:
                break
        return member

    def _children(self, population: Sequence[Member]) -> QueryGenerator:
        probabilities_N = self._parent_probabilities(population)
        first, second = (self._draw(probabilities_N, len(population) - 1) for _ in range(2))
        children = []
        for one, other in zip(first.tolist(), second.tolist(), strict=True):
            child = yield from self._crossover(population[one], population[other])
            if self.exhausted:
                break
            children.append((yield from self._perturb(child)))
            if self.exhausted:
                break
        return children

    def _parent_probabilities(self, population: Sequence[Member]) -> np.ndarray:
        logits_N = -torch.Tensor([member.score for member in population]) / self.settings.temperature
        weights_N = logits_N.exp()
        probabilities_N = weights_N / weights_N.sum()
        # Margins can be so far apart that TextAttack divides infinity by infinity.
        return (probabilities_N if probabilities_N.isfinite().all() else logits_N.softmax(0)).numpy()

    def _crossover(self, one: Member, other: Member) -> QueryGenerator:
        """The first parent with words of the second: random words, or in the improved algorithm all after a cut."""
        words = len(one.text.words)
        if self.settings.replacements:
            from_other_W = np.arange(words) >= self.random.randint(0, words)
        else:
            from_other_W = self.random.random_sample(words) < 0.5
        pairs = zip(one.text.words, other.text.words, from_other_W.tolist(), strict=True)
        chosen = [second if replaced else first for first, second, replaced in pairs]
        replaced = frozenset(i for i, (old, new) in enumerate(zip(one.text.words, chosen, strict=True)) if old != new)
        with self.profile.texts:
            text = one.text.with_words(chosen)
        self._count(1)
        (score,), (wrong,) = yield from self._values([text.text])
        child = Member(
            text=text,
            modified=(one.modified - replaced) | (other.modified & replaced),
            kind=SWAPPED if SWAPPED in (one.kind, other.kind) else CROSSED,
            score=float(score),
            wrong=bool(wrong),
            weights_W=np.where(from_other_W, other.weights_W, one.weights_W),
        )
        return self._keep_best(child)
