"""Swaps that depend on the part of speech of a word in its text, as a transformation of TextAttack.

Call `flat_dist.resources.textattack_setup.activate` before importing this module.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache

import nltk
from textattack.shared import AttackedText
from textattack.shared.utils import is_one_word
from textattack.transformations import WordSwap
from textattack.transformations.word_swaps.word_swap_hownet import recover_word_case

from flat_dist.attack.engine.pos_tagger import shared_tagger
from flat_dist.attack.engine.tokenized_text import Candidate, TokenizedText

TAGSET = "universal"


class WordSwapByClass(WordSwap):
    """`WordSwapHowNet` with candidates from any source, and with NLTK's tagger in the place of flair's.

    Args:
        candidates: of a word in lower case that has a universal part of speech, best first.
        max_candidates: how many of them count; -1: all.
    """

    def __init__(self, candidates: Callable[[str, str], Sequence[str]], max_candidates: int = -1):
        super().__init__()
        self.candidates, self.max_candidates = candidates, max_candidates

    def _get_replacement_words(self, word: str, word_pos: str) -> list[str]:
        found = self.candidates(word.lower(), word_pos)
        if self.max_candidates > 0:
            found = found[: self.max_candidates]
        return [recover_word_case(candidate, word) for candidate in found]

    def _get_transformations(self, current_text: AttackedText, indices_to_modify: set[int]) -> list[AttackedText]:
        tags = nltk.pos_tag(current_text.words, tagset=TAGSET)
        return [
            current_text.replace_word_at_index(index, candidate)
            for index in indices_to_modify
            for candidate in self._get_replacement_words(*tags[index])
            if candidate != tags[index][0] and is_one_word(candidate)
        ]


class ClassCandidates:
    """Candidates of `WordSwapByClass` for the words of many texts, which are tagged together.

    Args:
        transformation: the swap.
        size: words in each cache.
    """

    def __init__(self, transformation: WordSwapByClass, size: int):
        self.transformation, self.tagger = transformation, shared_tagger(TAGSET, size)
        self.candidates: Callable[[str, str], list[Candidate]] = lru_cache(size)(self._candidates)

    def of_texts(self, texts: Sequence[TokenizedText]) -> list[list[list[Candidate]]]:
        """For each text and each of its words, what may take the word's place."""
        tags = self.tagger.tag_all([text.words for text in texts])
        return [list(map(self.candidates, text.words, tagged)) for text, tagged in zip(texts, tags, strict=True)]

    def at(self, text: TokenizedText, index: int) -> list[Candidate]:
        """What may take the place of one word of a text."""
        return self.of_texts([text])[0][index]

    def _candidates(self, word: str, tag: str) -> list[Candidate]:
        found = self.transformation._get_replacement_words(word, tag)
        return [Candidate.parse(other) for other in found if other != word and is_one_word(other)]
