"""The words that attacks replace (paper, Section 6 and Appendix D).

A word is a token with a letter or a digit. An adversarial example is a row of a successful attack; other rows do not
count. A text counts once for each adversarial example made from it.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from flat_dist.data.preprocessing import tokenize

SUBSTITUTES = 5
"""Maximum number of substitutes in a `Replacement`."""


@dataclass(frozen=True)
class Replacement:
    """A word that attacks replaced."""

    word: str
    count: int
    substitutes: tuple[tuple[str, int], ...]
    """The substitutes and their counts, most frequent first."""


def words_in(text: str) -> Iterator[str]:
    """The words of a cleaned text."""
    return (token for token in tokenize(text) if any(map(str.isalnum, token)))


def count_words(texts: Iterable[str]) -> Counter[str]:
    """Word frequency: occurrences of each word in cleaned texts."""
    return Counter(word for text in texts for word in words_in(text))


def count_replaced(tables: Iterable[pa.Table]) -> Counter[str]:
    """Substitution frequency: how often each word was replaced in adversarial examples.

    Args:
        tables: attacked rows, with the columns status and swaps of `flat_dist.data.shards.SCHEMA`. Each word of a
            swap's original counts; an insertion replaces none.
    """
    return Counter(word for original, _ in _swaps(tables) for word in words_in(original))


def replacements(tables: Iterable[pa.Table], count: int = 20) -> list[Replacement]:
    """The words that attacks replaced most often, as `count_replaced` counts. Ties are in alphabetical order.

    A substitute is the whole other side of a swap: it may be several words, or none ("") if words were dropped. If a
    swap's original is several words, the substitute counts for each of them.

    Args:
        tables: as in `count_replaced`.
        count: maximum number of words.
    """
    by_word: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for original, substitute in _swaps(tables):
        for word in words_in(original):
            by_word[word][substitute] += 1
    totals = Counter({word: substitutes.total() for word, substitutes in by_word.items()})
    return [Replacement(word, total, _most(by_word[word], SUBSTITUTES)) for word, total in _most(totals, count)]


def _swaps(tables: Iterable[pa.Table]) -> Iterator[tuple[str, str]]:
    """Original and substitute of each swap of the adversarial examples."""
    for table in tables:
        successful = table.filter(pc.equal(table["status"].cast(pa.string()), "successful"))
        swaps = pc.list_flatten(successful["swaps"])
        sides = (pc.struct_field(swaps, side).to_pylist() for side in ("original", "substitute"))
        yield from zip(*sides, strict=True)


def _most(counts: Counter[str], n: int) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:n])
