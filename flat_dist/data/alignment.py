"""Alignment of the words of a text and its perturbed version."""

from collections.abc import Sequence
from difflib import SequenceMatcher

from flat_dist.data.preprocessing import clean, tokenize
from flat_dist.data.shards import Swap

Span = tuple[int, int, int, int]
"""Words start:end of the original and start:end of the perturbed text."""


def align_spans(original: Sequence[str], perturbed: Sequence[str], replaced_only: bool = True) -> list[Span]:
    """Corresponding spans, in order, covering both texts.

    Texts of equal length are aligned word by word if words were only replaced. Otherwise words were inserted or merged
    (CLARE): difflib finds equal words, and the spans between them may differ in length.

    Args:
        original: words of the original text.
        perturbed: words of the perturbed text.
        replaced_only: whether texts of equal length differ in replaced words only: an insertion and a merge also give
            the same length.
    """
    if replaced_only and len(original) == len(perturbed):
        return [(index, index + 1, index, index + 1) for index in range(len(original))]
    opcodes = SequenceMatcher(None, original, perturbed, autojunk=False).get_opcodes()
    return [span for _, start, end, other, other_end in opcodes for span in _split(start, end, other, other_end)]


def _split(start: int, end: int, other: int, other_end: int) -> list[Span]:
    if end - start != other_end - other:
        return [(start, end, other, other_end)]
    return [(start + offset, start + offset + 1, other + offset, other + offset + 1) for offset in range(end - start)]


def find_swaps(original: str, perturbed: str, replaced_only: bool = True) -> tuple[Swap, ...]:
    """The changed words of the original, by word index, and their substitutes; `replaced_only` as in `align_spans`."""
    left, right = tokenize(clean(original)), tokenize(clean(perturbed))
    return tuple(
        Swap(start, " ".join(left[start:end]), " ".join(right[other_start:other_end]))
        for start, end, other_start, other_end in align_spans(left, right, replaced_only)
        if left[start:end] != right[other_start:other_end]
    )
