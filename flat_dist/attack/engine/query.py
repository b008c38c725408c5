"""What a search asks the engine, and what all searches share.

A search is a generator: it yields queries and is sent the answers, so that an engine can answer the queries of many
searches in one batch.
"""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from flat_dist.attack.engine.profile import Profile
from flat_dist.attack.engine.tokenized_text import Candidate, TokenizedText
from flat_dist.attack.limits import Limits
from flat_dist.data.sentence_pairs import attacked

TEXTS_AT_ONCE = 128
"""Maximum number of texts in a query: a long text has thousands of variants, too many to keep in memory."""


@dataclass(frozen=True, slots=True)
class ScoreQuery:
    """Query for the scores of the classes (N, C) of texts."""

    texts: Sequence[str]


class CloseCandidates(list[Candidate]):
    """Candidates whose word vectors are close enough to that of the word."""

    too_far = 0
    """Number of those whose vectors are not."""


@dataclass(frozen=True, slots=True)
class SwapQuery:
    """Query for the candidates that may replace a word; the answer is a list of `Allowed`."""

    original: TokenizedText
    current: TokenizedText
    index: int
    candidates: list[Candidate]


@dataclass(frozen=True, slots=True)
class SwapQueries:
    """Several swap queries at once; the answer is a list with the answer of each."""

    swaps: Sequence[SwapQuery]


@dataclass(frozen=True, slots=True)
class MoveQuery:
    """Query whether a text with several words changed keeps the constraints; the answer is True or False."""

    original: TokenizedText
    source: TokenizedText
    """The text before the change."""
    moved: TokenizedText
    index: int
    """The changed word that a sentence encoder's window is around."""

    @property
    def items(self) -> tuple[TokenizedText]:
        """The text."""
        return (self.moved,)


@dataclass(frozen=True, slots=True)
class Blank:
    """A text with a mask token: the model's most probable words for its place."""

    text: str
    count: int
    """Maximum number of words."""
    confidence: float
    """Smallest probability of a word."""


@dataclass(frozen=True, slots=True)
class WordPieces:
    """A word of a text, whose pieces the model replaces without masking them."""

    text: str
    masked: str
    """The text with a mask token in the place of the word."""
    word: str
    count: int
    """Alternatives for each piece, and maximum number of words."""
    first: bool
    """Whether it is the first word of the text."""


@dataclass(frozen=True, slots=True)
class FillQuery:
    """Query of a masked language model; the answer is a list of words for each item."""

    items: Sequence[Blank | WordPieces]


@dataclass(frozen=True, slots=True)
class Allowed:
    """A candidate that passed all constraints, and its similarity if a constraint measures it."""

    candidate: Candidate
    similarity: float | None = None


class OtherQuery(Protocol):
    """A query that only some searches have, with what they ask about."""

    @property
    def items(self) -> Sequence[Any]:
        """What is asked about; at least one."""


Query = ScoreQuery | SwapQuery | SwapQueries | OtherQuery

QueryGenerator = Generator[Query, Any, Any]


class LimitError(Exception):
    """An example has used up its time."""


class Search(ABC):
    """The attack on one text.

    Args:
        text: the text to attack.
        label: its class.
        from_original: whether a text's score is the drop of the label's score from the original text (margins), or from
            1 (probabilities).
        limits: on victim queries. The last query is cut to the rest.
        profile: counts the time of each component.
    """

    replaces_only = True
    """Whether the text keeps its number of words."""

    def __init__(self, text: str, label: int, from_original: bool, limits: Limits, profile: Profile):
        self.label, self.profile = label, profile
        with profile.texts:
            self.original = self.current = TokenizedText.parse(text)
        self.fixed_words = self.original.words_before(len(text) - len(attacked(text)))
        """Words of the first sentence of a pair, which are not changed."""
        self.max_queries = limits.queries(len(self.original.words))
        self.num_queries = 0
        self.status = "failed"
        self._start: Any = None if from_original else 1
        """The label's score from which drops are measured; None until the original text is scored."""
        self._tried: set[int] = set()
        """Words that have been asked for candidates."""

    @property
    def exhausted(self) -> bool:
        """Whether all victim queries are used up."""
        return self.num_queries == self.max_queries != 0

    def run(self) -> QueryGenerator:
        """Search; `current`, `status` and `num_queries` then hold the result."""
        try:
            yield from self._run()
        except LimitError:
            self.status = "timeout"

    @abstractmethod
    def _run(self) -> QueryGenerator: ...

    def _propose(self, index: int, candidates: Sequence[Candidate]) -> None:
        """Count the candidates of a word, before constraints on the whole text."""
        counts, too_far = self.profile.counts, getattr(candidates, "too_far", 0)
        counts.propose(len(candidates), too_far)
        if index not in self._tried:
            self._tried.add(index)
            counts.words += 1
            if not (candidates or too_far):
                counts.without += 1
                counts.name_without(self.original.words[index])

    def _ask(self, texts: Iterable[str]) -> QueryGenerator:
        """Drops of the label's score (N); and whether the predicted class (N) is wrong. Each text is counted."""
        left = self.max_queries - self.num_queries if self.max_queries else None
        return (yield from self._score(itertools.islice(texts, left), counted=True))

    def _score(self, texts: Iterable[str], counted: bool = False) -> QueryGenerator:
        """As `_ask`, for all texts; counted or not."""
        stream, answers = iter(texts), []
        while True:
            with self.profile.texts:
                batch = list(itertools.islice(stream, TEXTS_AT_ONCE))
            if not batch:
                break
            if counted:
                self.num_queries += len(batch)
            answers.append((yield ScoreQuery(batch)))
        if not answers:
            return np.empty(0, np.float32), np.empty(0, bool)
        scores_NC = np.concatenate(answers)
        if self._start is None:
            self._start = scores_NC[0, self.label]
        return self._start - scores_NC[:, self.label], scores_NC.argmax(1) != self.label


class Settings(Protocol):
    """What a kind of search needs, besides the victim."""

    def start(self, text: str, label: int, seed: int, limits: Limits, profile: Profile) -> Search:
        """The search on a text.

        Raises:
            UnusualTextError: the engine cannot split the text into words.
        """
