"""Replacements, insertions and merges of words in a text, as TextAttack's text objects do them (0.3.11).

This module imports TextAttack: call `flat_dist.resources.textattack_setup.activate` first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from textattack.constraints.semantics.sentence_encoders import UniversalSentenceEncoder
from textattack.shared.utils import words_from_text
from textattack.transformations.word_merges.word_merge_masked_lm import find_merge_index

from flat_dist.attack.engine.profile import Profile
from flat_dist.attack.engine.tokenized_text import Candidate, TokenizedText, find_words

Kind = Literal["replace", "insert", "merge"]

GROWTH: dict[Kind, int] = {"replace": 0, "insert": 1, "merge": -1}
"""Words that a text gets."""


@dataclass(frozen=True, slots=True)
class Edit:
    """A word that replaces another, is inserted before it, or replaces it and the next one."""

    kind: Kind
    index: int
    candidate: Candidate

    def text(self, text: TokenizedText) -> str:
        """The edited text."""
        return edited(text, self.kind, self.index, self.candidate.replacement)

    def apply(self, text: TokenizedText) -> TokenizedText:
        """The edited text, with its words."""
        if self.kind == "replace":
            return text.swap(self.index, self.candidate)
        index, new = self.index, self.text(text)
        shift, start = len(new) - len(text.text), text.starts[index] + self.candidate.offset
        if self.kind == "insert":
            words = (*text.words[:index], self.candidate.word, *text.words[index:])
            return TokenizedText(new, words, (*text.starts[:index], start, *(s + shift for s in text.starts[index:])))
        words = (*text.words[:index], self.candidate.word, *text.words[index + 2 :])
        return TokenizedText(new, words, (*text.starts[:index], start, *(s + shift for s in text.starts[index + 2 :])))

    def modified(self, before: frozenset[int]) -> frozenset[int]:
        """Indices of words that count as changed, from those before the edit. The word after an insertion does."""
        index = self.index
        if self.kind == "insert":
            return frozenset(one + (one > index) for one in before if one != index) | {index, index + 1}
        if self.kind == "merge":
            return frozenset(one - (one > index + 1) for one in before if one != index + 1) | {index}
        return before | {index}

    def centre(self) -> int:
        """The word around which TextAttack's sentence encoder compares windows: the first of a set of changed words."""
        return next(iter({self.index, self.index + 1})) if self.kind == "insert" else self.index


def edited(text: TokenizedText, kind: Kind, index: int, word: str) -> str:
    """A text with a word put in the place of another, before it, or in the place of it and the next one."""
    if kind == "replace":
        return text.with_replacement(index, word)
    if kind == "insert":
        return text.with_replacement(index, f"{word} {text.words[index]}")
    between, rest = text.text[text.end(index) : text.starts[index + 1]], text.text[text.end(index + 1) :]
    return text.text[: text.starts[index]] + word + (between.removesuffix(" ") if rest else between) + rest


def trimmed(text: str) -> str:
    """From a text's first word to its last: a mask token at either end loses a bracket, as in TextAttack."""
    words = tuple(words_from_text(text))
    starts = find_words(text.lower(), tuple(word.lower() for word in words))
    return text[starts[0] : starts[-1] + len(words[-1])]


def mergeable(tags: Sequence[str]) -> list[int]:
    """Indices of words that may be merged with the next one, from the parts of speech of all words."""
    found: list[int] = find_merge_index(list(tags))
    return found


@dataclass(frozen=True, slots=True)
class EditQuery:
    """Query for the edits of a text that are similar enough to the original text; the answer is a list of them."""

    original: TokenizedText
    current: TokenizedText
    items: Sequence[Edit]


class SimilarEdits:
    """`UniversalSentenceEncoder` on windows of the original text; each distinct window is encoded once.

    Texts shorter than the window are similar enough, as in TextAttack, and are not encoded.
    """

    name = "sentence encoder"

    def __init__(self, constraint: UniversalSentenceEncoder, profile: Profile):
        self.constraint, self.profile = constraint, profile

    @staticmethod
    def supports(constraint: UniversalSentenceEncoder) -> bool:
        """Whether it compares windows with the original text."""
        return constraint.compare_against_original and constraint.window_size < float("inf")

    def __call__(self, queries: Sequence[EditQuery]) -> list[list[Edit]]:
        """Those of the edits that are similar enough."""
        with self.profile.texts:
            windows = [[self._windows(query, edit) for edit in query.items] for query in queries]
        with self.profile.encoder:
            enough = self._similar(sorted({pair for some in windows for pair in some if pair is not None}))
        return [
            [edit for edit, pair in zip(query.items, some, strict=True) if pair is None or enough[pair]]
            for query, some in zip(queries, windows, strict=True)
        ]

    def _windows(self, query: EditQuery, edit: Edit) -> tuple[str, str] | None:
        size, index = self.constraint.window_size, edit.centre()
        if self.constraint.skip_text_shorter_than_window and len(query.current.words) + GROWTH[edit.kind] < size:
            return None
        return query.original.window(index, size), edit.apply(query.current).window(index, size)

    def _similar(self, pairs: Sequence[tuple[str, str]]) -> dict[tuple[str, str], bool]:
        if not pairs:
            return {}
        row = {window: index for index, window in enumerate(dict.fromkeys(one for pair in pairs for one in pair))}
        encodings = self.constraint.model(list(row))
        first_N, second_N = (torch.tensor([row[pair[side]] for pair in pairs]) for side in (0, 1))
        similarity_N = self.constraint.sim_metric(encodings[first_N], encodings[second_N])
        return dict(zip(pairs, (similarity_N >= self.constraint.threshold).tolist(), strict=True))
