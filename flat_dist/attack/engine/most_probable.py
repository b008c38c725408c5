"""The constraint of the genetic attack on the language model, as the paper has it.

Call `flat_dist.resources.textattack_setup.activate` before importing this module.
"""

from collections.abc import Sequence

from textattack.constraints.grammaticality.language_models.google_language_model.google_language_model import (
    GoogleLanguageModel,
)
from textattack.shared import AttackedText


class MostProbableWords(GoogleLanguageModel):
    """Of the candidates of each word, those that the language model finds most probable after the word before.

    `GoogleLanguageModel` of TextAttack 0.3.11 measures the candidates, but then keeps as many from the start of the
    list, whatever their probabilities: `[transformed_texts[i] for i in max_el_indices]` has positions among the most
    probable ones, not among all. The word before the first is the last one, as there.
    """

    def __init__(self, per_word: int):
        super().__init__(top_n_per_index=per_word, compare_against_original=False)

    def _check_constraint_many(
        self, transformed_texts: Sequence[AttackedText], reference_text: AttackedText
    ) -> list[AttackedText]:
        by_word: dict[int, list[int]] = {}
        for number, text in enumerate(transformed_texts):
            index = reference_text.first_word_diff_index(text)
            if index is not None:
                by_word.setdefault(index, []).append(number)
        kept = []
        for index, numbers in by_word.items():
            words = [transformed_texts[number].words[index] for number in numbers]
            probable = self.lm.get_words_probs(reference_text.words[index - 1], words)
            ranked = sorted(range(len(numbers)), key=lambda position: -probable[position])
            kept += [numbers[position] for position in ranked[: self.top_n_per_index]]
        return [transformed_texts[number] for number in sorted(kept)]
