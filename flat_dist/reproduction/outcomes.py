"""What happened to each text, as short strings for cards: one letter for each text of the split, in its order.

Shape: N texts of the split.
"""

from collections.abc import Mapping, Sequence

import numpy as np

LETTERS = {1.0: "1", 0.0: "0"}
NOT_MEASURED = "-"
"""Letter of a text that was not attacked, or whose attack failed with an error."""

DECIMALS = 3
"""Decimals of a number of a pair."""


def encode(values: Mapping[str, float], ids: Sequence[str]) -> str:
    """Outcomes as letters.

    Args:
        values: 1 where the model is right, 0 where it is wrong, NaN where it was not measured, by the id of the text.
        ids: of all texts of the split.
    """
    return "".join(LETTERS.get(values.get(name, np.nan), NOT_MEASURED) for name in ids)


def decode(letters: str) -> np.ndarray:
    """Outcomes (N): 1, 0, and NaN where a text was not measured.

    Raises:
        ValueError: another letter is there.
    """
    meaning = {**{letter: value for value, letter in LETTERS.items()}, NOT_MEASURED: np.nan}
    if unknown := set(letters) - meaning.keys():
        raise ValueError(f"{sorted(unknown)} are no outcomes of texts")
    return np.array([meaning[letter] for letter in letters])


def encode_pairs(values: Mapping[str, float], ids: Sequence[str]) -> str:
    """Numbers of pairs, as `row:number` with spaces between; the row is the text's place in the split."""
    return " ".join(f"{row}:{values[name]:.{DECIMALS}f}" for row, name in enumerate(ids) if name in values)


def decode_pairs(text: str, count: int) -> np.ndarray:
    """Numbers of pairs (N), NaN for other texts.

    Args:
        text: of `encode_pairs`.
        count: N.
    """
    found_N = np.full(count, np.nan)
    for row, _, value in (one.partition(":") for one in text.split()):
        found_N[int(row)] = float(value)
    return found_N
