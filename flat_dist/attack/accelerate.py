"""Drop-in constraints: TextAttack's results, with less of the work done again and again.

What they remember depends on nothing but the texts themselves. It is forgotten between units of work, so that a shard
does not depend on what its worker did before.
"""

import functools
from collections.abc import Callable, Sequence

import numpy as np
import torch
from textattack import Attack
from textattack.constraints.grammaticality import PartOfSpeech
from textattack.constraints.semantics.sentence_encoders import UniversalSentenceEncoder
from textattack.shared import AttackedText, attacked_text
from textattack.shared.utils import words_from_text

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


class RememberingPartOfSpeech(PartOfSpeech):
    """TextAttack's part-of-speech constraint, whose tags outlive the example."""

    def clear_cache(self) -> None:
        """TextAttack calls this after each example; tags depend on the seven words alone, so they stay."""

    def forget(self) -> None:
        """Drop all tags."""
        super().clear_cache()


@functools.lru_cache(maxsize=2**16)
def _words_of_short_text(text: str) -> tuple[str, ...]:
    return tuple(words_from_text(text))


def remembering_words(text: str) -> list[str]:
    """`words_from_text`, a pure function, asked again for every word of every candidate text."""
    return list(_words_of_short_text(text)) if len(text) <= SHORT else words_from_text(text)


def accelerate(attack: Attack) -> None:
    """Put drop-in constraints in the place of a recipe's own, and have text objects remember the words of words."""
    attacked_text.words_from_text = remembering_words
    for position, constraint in enumerate(attack.constraints):
        if type(constraint) is UniversalSentenceEncoder:
            names = ("threshold", "metric", "compare_against_original", "window_size", "skip_text_shorter_than_window")
            settings = {name: getattr(constraint, name) for name in names}
            attack.constraints[position] = WindowEncoder(constraint.model, **settings)
        elif type(constraint) is PartOfSpeech:
            names = ("tagger_type", "tagset", "allow_verb_noun_swap", "compare_against_original", "language_nltk")
            settings = {name: getattr(constraint, name) for name in names}
            attack.constraints[position] = RememberingPartOfSpeech(**settings)


def forget(attack: Attack) -> None:
    """Make the attack as it was when new."""
    attack.clear_cache()
    for constraint in attack.constraints:
        if isinstance(constraint, WindowEncoder | RememberingPartOfSpeech):
            constraint.forget()
