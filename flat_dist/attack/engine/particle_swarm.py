"""Particle swarm optimisation as TextAttack 0.3.11 has it (`ParticleSwarmOptimization`; Zang et al., ACL 2020).

The neighbours of all members that move are asked for together: no draw depends on their scores.

Shape letters: N members, W words of a text.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from flat_dist.attack.engine.population import CROSSED, SWAPPED, Member, PopulationSearch, PopulationSettings
from flat_dist.attack.engine.profile import Profile
from flat_dist.attack.engine.query import Allowed, MoveQuery, QueryGenerator, SwapQueries, SwapQuery
from flat_dist.attack.engine.tokenized_text import TokenizedText
from flat_dist.attack.limits import Limits


@dataclass(frozen=True, kw_only=True)
class SwarmSettings(PopulationSettings):
    """What a particle swarm needs, besides the victim."""

    inertia: tuple[float, float]
    """Of the velocity, in the first and after the last iteration."""
    pull: tuple[float, float]
    """Probability of a move towards a member's own best text in the first iteration, and after the last; that of a move
    towards the best of all is the reverse."""
    max_velocity: float
    retries: int
    """How often a move that breaks a constraint is tried again."""

    def start(self, text: str, label: int, seed: int, limits: Limits, profile: Profile) -> "ParticleSwarm":
        """The search on a text.

        Raises:
            UnusualTextError: the engine cannot split the text into words.
        """
        return ParticleSwarm(self, text, label, seed, limits, profile)


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The texts that differ from a member in one word."""

    allowed: Sequence[Sequence[Allowed]]
    """Of each word (W)."""
    scores: Sequence[np.ndarray]
    wrong: Sequence[np.ndarray]


class ParticleSwarm(PopulationSearch):
    """The attack on one text; the arguments are those of `PopulationSearch`."""

    def __init__(self, settings: SwarmSettings, text: str, label: int, seed: int, limits: Limits, profile: Profile):
        super().__init__(settings, text, label, seed, limits, profile)
        self.settings = settings

    def _search(self, start: Member) -> QueryGenerator:
        settings, words = self.settings, len(start.text.words)
        neighbours = yield from self._neighbours([start])
        choose = self._best_swaps(start, neighbours[start.text.text])
        population = [choose(draw) for draw in self.random.random_sample(settings.size)]
        velocities_NW = np.repeat(
            self.random.uniform(-settings.max_velocity, settings.max_velocity, settings.size)[:, None], words, axis=1
        )
        best = max(population, key=_score)
        if self.exhausted or best.wrong:
            return best
        own_best = list(population)
        for iteration in range(settings.iterations):
            self._accelerate(velocities_NW, population, own_best, best, iteration)
            population = yield from self._move(population, own_best, best, velocities_NW, iteration)
            population = yield from self._measure(population)
            top = max(population, key=_score, default=best)
            if self.exhausted or top.wrong:
                return top
            population = yield from self._mutate(population)
            top = max(population, key=_score)
            if self.exhausted or top.wrong:
                return top
            own_best = [max(pair, key=_score) for pair in zip(own_best, population, strict=True)]
            best = max(best, top, key=_score)
        return best

    def _accelerate(
        self,
        velocities_NW: np.ndarray,
        population: Sequence[Member],
        own_best: Sequence[Member],
        best: Member,
        iteration: int,
    ) -> None:
        """Words that differ from the best texts gain velocity, in place."""
        first, last = self.settings.inertia
        inertia = (first - last) * (self.settings.iterations - iteration) / self.settings.iterations + last
        ids: dict[str, int] = {}
        number = [[ids.setdefault(word, len(ids)) for word in member.text.words] for member in (*population, *own_best)]
        here_NW, own_NW = np.array(number).reshape(2, len(population), -1)
        best_W = np.array([ids.setdefault(word, len(ids)) for word in best.text.words])
        pull_NW = self._away(here_NW != own_NW) + self._away(here_NW != best_W)
        velocities_NW[:] = inertia * velocities_NW + (1 - inertia) * pull_NW

    def _away(self, different: np.ndarray) -> np.ndarray:
        return np.where(different, self.settings.max_velocity, -self.settings.max_velocity)

    def _move(
        self,
        population: Sequence[Member],
        own_best: Sequence[Member],
        best: Member,
        velocities_NW: np.ndarray,
        iteration: int,
    ) -> QueryGenerator:
        """The members, some of them nearer to their own best texts and to the best of all."""
        (first, last), progress = self.settings.pull, iteration / self.settings.iterations
        towards_own, towards_best = first - progress * (first - last), last + progress * (first - last)
        moved = []
        for member, own, velocity_W in zip(population, own_best, velocities_NW, strict=True):
            turn_W = 1 / (1 + np.exp(-velocity_W))
            for probability, target in ((towards_own, own), (towards_best, best)):
                if self.random.random_sample() < probability:
                    member = yield from self._turn(target, member, turn_W)
            moved.append(member)
        return moved

    def _turn(self, source: Member, target: Member, turn_W: np.ndarray) -> QueryGenerator:
        """`source` with random words of `target`; `source` itself if no try keeps the constraints."""
        for _ in range(self.settings.retries + 1):
            turned = (self.random.random_sample(len(turn_W)) < turn_W).tolist()
            words = tuple(
                new if turn else old
                for old, new, turn in zip(source.text.words, target.text.words, turned, strict=True)
            )
            if words == source.text.words:
                return source
            with self.profile.texts:
                text = source.text.with_words(words)
            if source.kind != SWAPPED or not self.settings.constrained or (yield self._moved(source.text, text)):
                indices = frozenset(index for index, turn in enumerate(turned) if turn)
                modified = (source.modified - indices) | (target.modified & indices)
                kind = SWAPPED if source.kind == SWAPPED else CROSSED
                return Member(text, modified, kind, np.nan, False)
        return source

    def _moved(self, source: TokenizedText, text: TokenizedText) -> MoveQuery:
        # TextAttack takes the first of a set of indices, which is not always the smallest.
        changed = {index for index, pair in enumerate(zip(source.words, text.words, strict=True)) if len(set(pair)) > 1}
        return MoveQuery(self.original, source, text, next(iter(changed)))

    def _measure(self, population: Sequence[Member]) -> QueryGenerator:
        """The members with their scores; only as many as queries are left."""
        kept = population[: self._count(len(population))]
        scores_N, wrong_N = yield from self._values([member.text.text for member in kept])
        scored = zip(kept, scores_N.tolist(), wrong_N.tolist(), strict=True)
        return [
            self._keep_best(Member(member.text, member.modified, member.kind, score, wrong))
            for member, score, wrong in scored
        ]

    def _mutate(self, population: Sequence[Member]) -> QueryGenerator:
        """The members, some with a word changed: the more words are changed already, the fewer."""
        draws: dict[int, float] = {}
        for number, member in enumerate(population):
            different = sum(map(str.__ne__, self.original.words, member.text.words))
            ratio = float(different) / len(self.original.words)
            if self.random.random_sample() < 1 - 2 * ratio:
                draws[number] = self.random.random_sample()
        neighbours = yield from self._neighbours([population[number] for number in draws])
        mutated = list(population)
        for number, draw in draws.items():
            member = population[number]
            mutated[number] = self._best_swaps(member, neighbours[member.text.text])(draw)
            if self.exhausted:
                break
        return mutated

    def _neighbours(self, members: Sequence[Member]) -> QueryGenerator:
        """Neighbours of distinct texts, by text. Those that no query is left for are missing."""
        distinct = list({member.text.text: member for member in members}.values())
        with self.profile.candidates:
            candidates = self.settings.candidates.of_texts([member.text for member in distinct])
        places = []
        for number, member in enumerate(distinct):
            for index, some in enumerate(candidates[number]):
                if self._may_change(member, index):
                    self._propose(index, some)
                    places += [(number, index)] if some else []
        if self.settings.constrained and places:
            swaps = [SwapQuery(self.original, distinct[n].text, i, candidates[n][i]) for n, i in places]
            answers = yield SwapQueries(swaps)
        else:
            answers = [[Allowed(candidate) for candidate in candidates[n][i]] for n, i in places]
        allowed: list[list[list[Allowed]]] = [[[] for _ in member.text.words] for member in distinct]
        for (number, index), some in zip(places, answers, strict=True):
            allowed[number][index] = self._in_order(distinct[number], index, some)
        distinct = self._within_limit(members, distinct, allowed)
        scores_N, wrong_N = yield from self._score(self._neighbour_texts(distinct, allowed))
        allowed = allowed[: len(distinct)]
        ends = np.cumsum([len(some) for words in allowed for some in words])[:-1]
        scores, wrong = iter(np.split(scores_N, ends)), iter(np.split(wrong_N, ends))
        return {
            member.text.text: Neighbours(words, [next(scores) for _ in words], [next(wrong) for _ in words])
            for member, words in zip(distinct, allowed, strict=True)
        }

    def _within_limit(
        self, members: Sequence[Member], distinct: list[Member], allowed: Sequence[Sequence[list[Allowed]]]
    ) -> list[Member]:
        """The distinct members up to the one whose neighbours use up the queries."""
        if not self.max_queries:
            return distinct
        sizes = {member.text.text: sum(map(len, words)) for member, words in zip(distinct, allowed, strict=True)}
        used = np.cumsum([sizes[member.text.text] for member in members])
        reached = int(np.searchsorted(used, self.max_queries - self.num_queries)) + 1
        return distinct[: len({member.text.text for member in members[:reached]})]

    def _neighbour_texts(self, members: Sequence[Member], allowed: Sequence[Sequence[list[Allowed]]]) -> Iterator[str]:
        for member, words in zip(members, allowed, strict=False):
            for index, some in enumerate(words):
                for one in some:
                    yield member.text.with_replacement(index, one.candidate.replacement)

    def _best_swaps(self, member: Member, neighbours: Neighbours) -> Callable[[float], Member]:
        """Count the neighbours of a member. The result chooses among the best swap of each word for a draw in [0, 1):
        with probabilities proportional to their gain, or all alike if none gains."""
        best, gains = [], []
        for index, some in enumerate(neighbours.allowed):
            counted = self._count(len(some)) if some else 0
            if not counted:
                best.append(-1)
                gains.append(0.0)
                continue
            scores = neighbours.scores[index][:counted].astype(np.float64)
            best.append(int(scores.argmax()))
            gains.append(scores[best[-1]] - member.score)
        gains_W = np.maximum(gains, 0)
        total = gains_W.sum()
        cumulative_W = (gains_W / total if total else np.ones(len(gains)) / len(gains)).cumsum()
        cumulative_W /= cumulative_W[-1]

        def choose(draw: float) -> Member:
            index = int(cumulative_W.searchsorted(draw, side="right"))
            if best[index] < 0:
                return member
            chosen = neighbours.allowed[index][best[index]].candidate
            score, wrong = neighbours.scores[index][best[index]], neighbours.wrong[index][best[index]]
            return self._swapped(member, index, chosen, score, wrong)

        return choose


def _score(member: Member) -> float:
    return member.score
