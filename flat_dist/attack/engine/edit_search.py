"""Greedy edits: in each step, the best replacement, insertion or merge at any place, as TextAttack's `GreedySearch`
(0.3.11) finds it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from flat_dist.attack.engine.edits import Edit, EditQuery, Kind, SimilarEdits, edited, mergeable, trimmed
from flat_dist.attack.engine.profile import Profile
from flat_dist.attack.engine.query import Blank, FillQuery, QueryGenerator, Search
from flat_dist.attack.engine.tokenized_text import TokenizedText, UnusualTextError, parsed
from flat_dist.attack.limits import Limits
from flat_dist.data.sentence_pairs import is_pair

EDITS_AT_ONCE = 512
"""Maximum number of edits in a query: each needs its own list of words for a moment."""


@dataclass(frozen=True)
class Gaps:
    """What the masked language model is asked for one kind of edit."""

    kind: Kind
    count: int
    """Maximum number of words at a place."""
    confidence: float
    """Smallest probability of a word."""


@dataclass(frozen=True)
class EditSettings:
    """What the search needs, besides the victim and the masked language model."""

    gaps: Sequence[Gaps]
    """Kinds of edits, in the order in which equal texts count."""
    mask: str
    """The mask token."""
    stopwords: frozenset[str]
    """Words that are not replaced. They may be merged, and others may be inserted before them."""
    tags: Callable[[tuple[str, ...]], Sequence[str]]
    """Parts of speech of the words of a text, which decide what may be merged."""
    from_original: bool = False
    """Whether a text's score is the drop of the label's score from the original text (margins), or from 1
    (probabilities)."""

    def start(self, text: str, label: int, seed: int, limits: Limits, profile: Profile) -> "EditSearch":
        """The search on a text; nothing is drawn, so the seed has no effect.

        Raises:
            UnusualTextError: the engine cannot split the text into words, or it is a pair of sentences.
        """
        return EditSearch(self, text, label, limits, profile)


class EditSearch(Search):
    """The attack on one text; the arguments are those of `Search`.

    TextAttack goes on from the best edit even if it lowers the score, and reports it, until no edit is left: all words
    are changed, and no two may be merged. A merge may change words again, so a text can come back. TextAttack then
    goes round in a circle until its queries are used up; without a limit on queries, this search ends there.
    """

    replaces_only = False

    def __init__(self, settings: EditSettings, text: str, label: int, limits: Limits, profile: Profile):
        super().__init__(text, label, settings.from_original, limits, profile)
        self.settings = settings
        if is_pair(text):
            raise UnusualTextError(text)

    def _run(self) -> QueryGenerator:
        _, (wrong,) = yield from self._ask([self.original.text])
        if wrong:
            self.status = "skipped"
            return
        text, modified = self.original, frozenset[int]()
        # TextAttack caches the edits of a text, except the original, with the words that were changed at that time.
        visited: dict[str, frozenset[int]] = {}
        while edits := (yield from self._allowed(text, modified)):
            scores_N, wrong_N = yield from self._ask(new for new, _ in edits)
            if not len(scores_N):
                break
            best = int(scores_N.argmax())
            self.current = self._applied(text, edits[best][1])
            if wrong_N[best]:
                self.status = "successful"
                return
            if self.exhausted:
                break
            # Not a stable sort: TextAttack breaks ties so.
            following = edits[int((-scores_N).argsort()[0])][1]
            text, modified = self._applied(text, following), following.modified(modified)
            if text.text in visited and not self.max_queries:
                return
            modified = visited.setdefault(text.text, modified)
        if self.exhausted:
            self.status = "timeout"

    def _allowed(self, text: TokenizedText, modified: frozenset[int]) -> QueryGenerator:
        """Edits that pass the constraint, with the edited texts, in the order of these."""
        with self.profile.candidates:
            places = [place for gaps in self.settings.gaps for place in self._places(gaps, text, modified)]
        if not places:
            return []
        found = yield FillQuery([self._blank(text, *place) for place in places])
        with self.profile.texts:
            edits = self._distinct(text, places, found)
        self._count(text, places, found)
        allowed: list[Edit] = []
        distinct = list(edits.values())
        for start in range(0, len(distinct), EDITS_AT_ONCE):
            allowed += yield EditQuery(self.original, text, distinct[start : start + EDITS_AT_ONCE])
        self.profile.counts.propose(len(distinct))
        self.profile.counts.rejected[SimilarEdits.name] += len(distinct) - len(allowed)
        return sorted(((edit.text(text), edit) for edit in allowed), key=lambda pair: pair[0])

    def _count(self, text: TokenizedText, places: Sequence[tuple[Gaps, int]], found: Sequence[Sequence[str]]) -> None:
        """Count the words of the original text that edits are proposed for, and those without any."""
        if text is not self.original:
            return
        proposed = {index for (_, index), words in zip(places, found, strict=True) if words}
        asked = {index for _, index in places}
        self.profile.counts.words += len(asked)
        self.profile.counts.without += len(asked - proposed)
        for index in sorted(asked - proposed):
            self.profile.counts.name_without(text.words[index])

    def _places(self, gaps: Gaps, text: TokenizedText, modified: frozenset[int]) -> Iterator[tuple[Gaps, int]]:
        words = text.words
        if gaps.kind == "merge":  # TextAttack merges words that were changed, too
            indices = mergeable(self.settings.tags(words))
        else:
            indices = [index for index in range(len(words)) if index not in modified]
        if gaps.kind == "replace":
            indices = [index for index in indices if words[index] not in self.settings.stopwords]
        return ((gaps, index) for index in indices)

    def _blank(self, text: TokenizedText, gaps: Gaps, index: int) -> Blank:
        masked = edited(text, gaps.kind, index, self.settings.mask)
        return Blank(masked if gaps.kind == "replace" else trimmed(masked), gaps.count, gaps.confidence)

    def _distinct(
        self, text: TokenizedText, places: Sequence[tuple[Gaps, int]], found: Sequence[Sequence[str]]
    ) -> dict[str, Edit]:
        """The edits that change the text, by the edited text."""
        edits: dict[str, Edit] = {}
        for (gaps, index), words in zip(places, found, strict=True):
            for word in words:
                if word != text.words[index]:
                    edit = Edit(gaps.kind, index, parsed(word))
                    edits.setdefault(edit.text(text), edit)
        edits.pop(text.text, None)
        return edits

    def _applied(self, text: TokenizedText, edit: Edit) -> TokenizedText:
        """The edited text.

        Raises:
            UnusualTextError: TextAttack splits it into other words.
        """
        with self.profile.texts:
            new = edit.apply(text)
            if TokenizedText.parse(new.text) != new:
                raise UnusualTextError(new.text)
            return new
