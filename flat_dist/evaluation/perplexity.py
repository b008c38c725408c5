"""Perplexity of texts under the language model at hand: bigrams with Kneser-Ney smoothing."""

import math
from itertools import pairwise

from flat_dist.resources.kneser_ney import END, START
from flat_dist.resources.language_model import END_OF_SENTENCE, LanguageModel, words_of


class TextPerplexity:
    """Perplexity of texts for each word; the end of a sentence counts as one. Marks and case do not count.

    Args:
        model: the language model.
    """

    def __init__(self, model: LanguageModel):
        self._model = model

    def log10_perplexity(self, text: str) -> float:
        """Logarithm of a text's perplexity, sentence by sentence; one without words is an empty sentence."""
        sentences = [words for part in END_OF_SENTENCE.split(text) if (words := words_of(part))] or [[]]
        logs = [
            math.log10(self._model.get_words_probs(previous, [word])[0])
            for sentence in sentences
            for previous, word in pairwise((START, *sentence, END))
        ]
        return -math.fsum(logs) / len(logs)
