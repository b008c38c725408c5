"""Greedy word swaps in the order of word importance, as TextAttack's `GreedyWordSwapWIR` (0.3.11) does them."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from flat_dist.attack.engine.profile import Profile
from flat_dist.attack.engine.query import Allowed, Blank, FillQuery, QueryGenerator, Search, SwapQuery, WordPieces
from flat_dist.attack.engine.tokenized_text import Candidate, TokenizedText, UnusualTextError, parsed
from flat_dist.attack.limits import Limits
from flat_dist.attack.word_order import WordScores
from flat_dist.data.sentence_pairs import is_pair


@dataclass(frozen=True)
class GreedySettings:
    """What a greedy search needs, besides the victim."""

    ranking: str
    """delete, unk or weighted-saliency."""
    unknown: str
    """Token that replaces a word while its saliency is measured."""
    indices: Callable[[str], list[int]]
    """Indices of words that may be changed, in TextAttack's order, which breaks ties."""
    candidates: Callable[[str], list[Candidate]]
    """Candidates for the place of a word, before any constraint."""
    from_original: bool = False
    """Whether a text's score is the drop of the label's score from the original text (margins), or from 1
    (probabilities)."""
    word_scores: WordScores | None = None
    """The order of an attack that knows the model; None: words are ordered by queries, as `ranking` says."""
    gap: Callable[[TokenizedText, int], Blank | WordPieces] | None = None
    """What a masked language model is asked for a word's candidates; None: they do not depend on the text."""

    def start(self, text: str, label: int, seed: int, limits: Limits, profile: Profile) -> "GreedySearch":
        """The search on a text; nothing is drawn, so the seed has no effect.

        Raises:
            UnusualTextError: the engine cannot split the text into words, or a masked language model would have to read
                a pair of sentences.
        """
        return GreedySearch(self, text, label, limits, profile)


class GreedySearch(Search):
    """The attack on one text; the arguments are those of `Search`."""

    def __init__(self, settings: GreedySettings, text: str, label: int, limits: Limits, profile: Profile):
        super().__init__(text, label, settings.from_original, limits, profile)
        self.settings = settings
        if settings.gap and is_pair(text):
            raise UnusualTextError(text)

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

    def _order(self) -> QueryGenerator:
        """Indices of words, most important first."""
        with self.profile.texts:
            indices = self.settings.indices(self.original.text)
        known = self.settings.word_scores
        scores = self._known_scores(known, indices) if known else (yield from self._queried_scores(indices))
        # Not a stable sort: TextAttack breaks ties so.
        return np.array(indices, dtype=int)[(-scores).argsort()]

    def _known_scores(self, word_scores: WordScores, indices: Sequence[int]) -> np.ndarray:
        with self.profile.victim:
            spans = [(self.original.starts[index], self.original.end(index)) for index in indices]
            return word_scores(self.original.text, spans, self.label)

    def _queried_scores(self, indices: Sequence[int]) -> QueryGenerator:
        """Scores of words from the victim's answers."""
        if self.settings.ranking == "delete":
            scores, _ = yield from self._ask(self.original.without(index) for index in indices)
        else:
            unknown = self.settings.unknown
            scores, _ = yield from self._ask(self.original.with_replacement(index, unknown) for index in indices)
        if self.settings.ranking == "weighted-saliency":
            scores = _softmax(scores) * (yield from self._best_swaps(indices, len(scores)))
        return scores

    def _best_swaps(self, indices: Sequence[int], count: int) -> QueryGenerator:
        """The largest score of each word's swaps (Ren et al. 2019); 0 if there are none."""
        best: list[np.floating | float] = []
        for index in indices:
            if self.exhausted:
                break
            allowed = yield from self._allowed(index)
            scores, _ = yield from self._ask(self._texts(index, allowed))
            best.append(scores.max() if len(scores) else 0.0)
        return np.array(best + [0.0] * (count - len(best)))

    def _allowed(self, index: int) -> QueryGenerator:
        """Candidates that pass all constraints, in the order of the resulting texts."""
        candidates = yield from self._candidates(index)
        if not candidates:
            return []
        allowed = yield SwapQuery(self.original, self.current, index, candidates)
        with self.profile.texts:
            rest = self.current.text[self.current.end(index) :]
            allowed.sort(key=lambda one: one.candidate.replacement + rest)
        return allowed

    def _candidates(self, index: int) -> QueryGenerator:
        """Candidates before any constraint."""
        word, gap = self.current.words[index], self.settings.gap
        if gap is None:
            with self.profile.candidates:
                candidates = self.settings.candidates(word)
        else:
            (words,) = yield FillQuery([gap(self.current, index)])
            candidates = [parsed(other) for other in words if other != word]
        self._propose(index, candidates)
        return candidates

    def _texts(self, index: int, allowed: Sequence[Allowed]) -> Iterator[str]:
        return (self.current.with_replacement(index, one.candidate.replacement) for one in allowed)


def _softmax(scores: np.ndarray) -> np.ndarray:
    return torch.nn.functional.softmax(torch.Tensor(scores), dim=0).numpy()  # in float32, as TextAttack does


def _most_similar(scores_N: np.ndarray, wrong_N: np.ndarray, allowed: Sequence[Allowed]) -> int:
    """The most similar of the swaps that fool the victim and rank above all swaps that do not."""
    ranked = (-scores_N).argsort(kind="stable")
    fooling = list(itertools.takewhile(lambda position: wrong_N[position], ranked))
    if allowed[fooling[0]].similarity is None:
        return int(fooling[0])
    return int(max(fooling, key=lambda position: allowed[position].similarity or 0.0))
