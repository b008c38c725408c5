"""Drop-in constraints and transformations: TextAttack's results, with less of the work done again and again.

What they remember depends on nothing but the texts themselves. It is forgotten between units of work, so that a shard
does not depend on what its worker did before.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from nltk.tag.mapping import map_tag
from nltk.tag.perceptron import PerceptronTagger
from textattack import Attack
from textattack.constraints.grammaticality import PartOfSpeech
from textattack.constraints.pre_transformation import RepeatModification
from textattack.constraints.semantics import WordEmbeddingDistance
from textattack.constraints.semantics.sentence_encoders import UniversalSentenceEncoder
from textattack.shared import AttackedText, attacked_text
from textattack.shared.utils import words_from_text
from textattack.transformations import WordSwapEmbedding

SHORT = 64
"""Characters of a text whose words are worth remembering: single words, of which a text object asks for hundreds."""


class WindowEncoder(UniversalSentenceEncoder):
    """TextAttack's sentence constraint, encoding each distinct window once.

    Texts shorter than the window, whose score the stock constraint computes and throws away, are not encoded.
    """

    def __init__(self, model: Callable[[Sequence[str]], torch.Tensor], **settings: object):
        super().__init__(**settings)
        self.model = model
        self._encodings: dict[str, torch.Tensor] = {}

    def encode(self, sentences: Sequence[str]) -> torch.Tensor:
        """Encodings (N, 512) of windows, on the CPU."""
        new = [sentence for sentence in dict.fromkeys(sentences) if sentence not in self._encodings]
        if new:
            self._encodings.update(zip(new, self.model(new).cpu(), strict=True))
        return torch.stack([self._encodings[sentence] for sentence in sentences])

    def _check_constraint_many(
        self, transformed_texts: Sequence[AttackedText], reference_text: AttackedText
    ) -> np.ndarray:
        short = [len(text.words) < self.window_size for text in transformed_texts]
        if not (self.skip_text_shorter_than_window and all(short)):
            return super()._check_constraint_many(transformed_texts, reference_text)
        for text in transformed_texts:
            text.attack_attrs["similarity_score"] = 1.0
        return np.array(transformed_texts)

    def forget(self) -> None:
        """Drop all encodings."""
        self._encodings.clear()


class LastTag(PartOfSpeech):
    """TextAttack's part-of-speech constraint, tagging no further than the word that it asks about.

    The perceptron tagger goes from left to right. A tag depends on the words around it, two to each side, and on the
    two tags before it: so the tags up to three words before the word in question are the same for all its candidates.
    """

    def __init__(self, **settings: object):
        super().__init__(**settings)
        self.tagger = PerceptronTagger()
        self._tags_before: dict[tuple[str, ...], tuple[str, str]] = {}

    def _get_pos(self, before_ctx: list[str], word: str, after_ctx: list[str]) -> str:
        context = (*before_ctx, word, *after_ctx)
        key = word, context
        if key in self._pos_tag_cache:
            return self._pos_tag_cache[key]
        position = context.index(word)  # as in TextAttack: where the word stands for the first time
        words = [*self.tagger.START, *map(self.tagger.normalize, context), *self.tagger.END]
        prefix = context[:position]
        if prefix not in self._tags_before:
            self._tags_before[prefix] = self._tag(context, words, 0, position - 2, tuple(self.tagger.START))
        tag, _ = self._tag(context, words, max(position - 2, 0), position + 1, self._tags_before[prefix])
        self._pos_tag_cache[key] = map_tag("en-ptb", self.tagset, tag)
        return self._pos_tag_cache[key]

    def _tag(
        self, context: Sequence[str], words: Sequence[str], start: int, end: int, previous: tuple[str, str]
    ) -> tuple[str, str]:
        """The last tag and the one before it, after the words start:end are tagged."""
        before, before2 = previous
        for index in range(start, end):
            tag = self.tagger.tagdict.get(context[index])
            if not tag:
                features = self.tagger._get_features(index, context[index], words, before, before2)
                tag, _ = self.tagger.model.predict(features)
            before, before2 = tag, before
        return before, before2

    def clear_cache(self) -> None:
        """TextAttack calls this after each example; tags depend on the words alone, so they stay."""

    def forget(self) -> None:
        """Drop all tags."""
        super().clear_cache()
        self._tags_before.clear()


class CloseWordSwap(WordSwapEmbedding):
    """TextAttack's swap by embedding, making texts only of the neighbours that pass the cosine constraint.

    The cosine depends on the two words alone, where no word is changed twice; the constraint itself stays in place.
    """

    def __init__(self, min_cos_sim: float, **settings: object):
        super().__init__(**settings)
        self.min_cos_sim = min_cos_sim
        self._close: dict[str, list[str]] = {}

    def _get_replacement_words(self, word: str) -> list[str]:
        if word not in self._close:
            neighbours = super()._get_replacement_words(word)
            self._close[word] = [other for other in neighbours if self._passes(word.lower(), other.lower())]
        return self._close[word]

    def _passes(self, word: str, other: str) -> bool:
        index, other_index = map(self.embedding.word2index, (word, other))
        return self.embedding.get_cos_sim(index, other_index) >= self.min_cos_sim

    def forget(self) -> None:
        """Drop all lists."""
        self._close.clear()


@functools.lru_cache(maxsize=2**16)
def _words_of_short_text(text: str) -> tuple[str, ...]:
    return tuple(words_from_text(text))


def remembering_words(text: str) -> list[str]:
    """`words_from_text`, a pure function, asked again for every word of every candidate text."""
    return list(_words_of_short_text(text)) if len(text) <= SHORT else words_from_text(text)


def accelerate(attack: Attack) -> None:
    """Put drop-ins in the place of a recipe's own parts, and have text objects remember the words of words."""
    attacked_text.words_from_text = remembering_words
    for position, constraint in enumerate(attack.constraints):
        if type(constraint) is UniversalSentenceEncoder:
            settings = _settings(
                constraint, "compare_against_original threshold metric window_size skip_text_shorter_than_window"
            )
            attack.constraints[position] = WindowEncoder(constraint.model, **settings)
        elif type(constraint) is PartOfSpeech and (constraint.tagger_type, constraint.language_nltk) == ("nltk", "eng"):
            attack.constraints[position] = LastTag(
                **_settings(constraint, "compare_against_original tagset allow_verb_noun_swap")
            )
        elif type(constraint) is WordEmbeddingDistance and _filters_words(attack, constraint):
            settings = _settings(attack.transformation, "max_candidates embedding")
            attack.transformation = CloseWordSwap(constraint.min_cos_sim, **settings)


def _filters_words(attack: Attack, constraint: WordEmbeddingDistance) -> bool:
    """Whether the constraint compares what the transformation proposes with the word that stands there."""
    return (
        type(attack.transformation) is WordSwapEmbedding
        and attack.transformation.embedding is constraint.embedding
        and bool(constraint.min_cos_sim)
        and not constraint.cased
        and any(isinstance(other, RepeatModification) for other in attack.pre_transformation_constraints)
    )


def _settings(part: object, names: str) -> dict[str, Any]:
    return {name: getattr(part, name) for name in names.split()}


def forget(attack: Attack) -> None:
    """Make the attack as it was when new."""
    attack.clear_cache()
    for part in (*attack.constraints, attack.transformation):
        if isinstance(part, WindowEncoder | LastTag | CloseWordSwap):
            part.forget()
