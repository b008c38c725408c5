"""Cleaning, tokenisation and vocabulary: done once, before everything else (paper, Appendix A).

All later stages, also the attacks, read cleaned text and split it at single spaces. An attack replaces words inside
tokens and never spaces, so the tokens of an original and its perturbed text stay aligned.
"""

import html
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from flat_dist.config.errors import UserError
from flat_dist.config.serialization import content_hash

PAD, UNKNOWN = "<pad>", "<unk>"

MARKS = ".,!?;:()$%"
"""Characters that are separate tokens; `$` and `%` because they matter in business news."""

_CLITIC = r"(?:s|d|m|t|n|ll|re|ve|em|til|cause|\d+s?)"
"""What may follow an apostrophe: 's, 'll, 'em, '90s; any other apostrophe before a word is a quotation mark."""

_ACCENTS = ((0x300, 0x36F), (0x1AB0, 0x1AFF), (0x1DC0, 0x1DFF), (0x20D0, 0x20FF), (0xFE00, 0xFE0F), (0xFE20, 0xFE2F))
"""Unicode blocks of accents and variation selectors. NFC composes usual accents with a letter; others are dropped."""


def _is_vowel_sign(character: str) -> bool:
    """Whether it is a mark of a script on the letter before it, such as a vowel sign."""
    code = ord(character)
    return (
        code > 0x300
        and unicodedata.category(character) in ("Mn", "Mc")
        and not any(first <= code <= last for first, last in _ACCENTS)
        and "VARIATION SELECTOR" not in unicodedata.name(character, "")
    )


def _ranges(characters: Iterable[str]) -> str:
    """Sorted characters as ranges for a character class of a regular expression."""
    spans: list[list[str]] = []
    for character in characters:
        if spans and ord(character) == ord(spans[-1][1]) + 1:
            spans[-1][1] = character
        else:
            spans.append([character, character])
    return "".join(f"{first}-{last}" for first, last in spans)


_VOWEL_SIGNS = _ranges(filter(_is_vowel_sign, map(chr, range(0x300, 0x1F000))))
"""Vowels and tones in Devanagari, Thai, Arabic, Hebrew and others; all such marks are below U+1F000."""

_LETTERS = rf"\w[\w{_VOWEL_SIGNS}]*"
_WORD = rf"(?:'(?={_CLITIC}(?![\w{_VOWEL_SIGNS}])))?{_LETTERS}(?:['-]{_LETTERS})*"
_LAST_OF_RUN = "|".join(rf"{re.escape(mark)}(?!{re.escape(mark)})" for mark in MARKS)
_TOKEN = re.compile(rf"{_WORD}|\.\.\.(?!\.)|{_LAST_OF_RUN}")

_ENTITY = re.compile(r"&#x[\da-f]{2,6};|&?#\d{2,6};|&[a-z]{2,8};|\b(?:quot|amp|lt|gt|nbsp);", re.IGNORECASE)
"""HTML entities, also without ampersand, as often in AG News (`#39;`)."""

_TAG = re.compile(r"</?[a-z][^<>]*>")
SPANNING = re.compile("[<;]")
"""Matches every text in which a tag or entity may contain a space."""
_BRACKETS = {"-lrb-": "(", "-rrb-": ")", "-lsb-": " ", "-rsb-": " ", "-lcb-": " ", "-rcb-": " "}
_BRACKET = re.compile("|".join(_BRACKETS))
"""The Penn Treebank's names of brackets, as in SST-2."""

_APOSTROPHES, _HYPHENS, _SPACES = "\x91\x92\u2018\u2019\u201b\u2032\u02bc\xb4", "\x96\u2010\u2011\u2013\u2212", "_"
_CHARACTERS = str.maketrans(
    {
        **dict.fromkeys(_APOSTROPHES, "'"),
        **dict.fromkeys(_HYPHENS, "-"),
        **dict.fromkeys(_SPACES, " "),
        "\x85": "...",
        "\u2026": "...",
    }
)
"""Typographic characters to ASCII, also those from Windows-1252 in IMDB (`\\x85` to `\\x96`)."""


def clean(text: str) -> str:
    """Lower-case tokens separated by single spaces; idempotent, never fails (paper, Appendix A).

    A token is one of:

    - a word of letters and digits of any script, NFC-normalised, with vowel signs, tones and points of the script
      (`क्या`, `ชอบ`), apostrophes and hyphens inside it (`don't`, `re-imagining`), and an apostrophe before a clitic or
      a decade (`'s`, `'em`, `'90s`);
    - a mark of `MARKS`, where a run counts once (`!!!` becomes `!`), or `...` for three or more full stops.

    HTML entities are decoded, tags are dropped, and bracket names of the Penn Treebank (`-lrb-`) become brackets.
    Everything else becomes a space: quotation marks, slashes, dashes, square brackets, symbols, control characters. So
    without Chinese characters and vowel signs, a token has at most one word as TextAttack splits words; TextAttack ends
    a word at a vowel sign.

    Accents that do not compose with their letter are dropped, and so are characters without width (soft hyphens and
    joiners): a Persian word is the same with and without its non-joiner.

    Returns:
        The cleaned text; empty if nothing is left.
    """
    if ";" in text:
        text = _ENTITY.sub(_character, text)
    text = _normalise(text).translate(_CHARACTERS)
    text = _TAG.sub(" ", text)
    text = _BRACKET.sub(lambda match: _BRACKETS[match[0]], text)
    return " ".join(_TOKEN.findall(text))


def lost_symbols(text: str) -> str:
    """The emoji and other symbols beyond ASCII (such as ★, € and °) that `clean` leaves out of a text, in order."""
    decoded = _ENTITY.sub(_character, text) if ";" in text else text
    if decoded.isascii():
        return ""
    return "".join(letter for letter in decoded if letter > "\x7f" and _is_symbol(letter))


def _is_symbol(letter: str) -> bool:
    return unicodedata.category(letter) in ("So", "Sc", "Sm") and ord(letter) not in _CHARACTERS


def _character(entity: re.Match[str]) -> str:
    return html.unescape("&" + entity[0].removeprefix("&"))


def _normalise(text: str) -> str:
    """Lower case, NFC, without accents that do not compose and without characters of zero width."""
    text = text.lower()
    if text.isascii():
        return text
    text = unicodedata.normalize("NFC", text)
    text = "".join(letter for letter in text if not _invisible(letter))
    return unicodedata.normalize("NFC", text)  # letters that a dropped mark separated may compose


def _invisible(letter: str) -> bool:
    if letter <= "\x7f":
        return False
    category = unicodedata.category(letter)
    return category in ("Me", "Cf") or (category in ("Mn", "Mc") and not _is_vowel_sign(letter))


def tokenize(text: str) -> list[str]:
    """The tokens of a cleaned or perturbed text: its parts between single spaces."""
    return text.split(" ") if text else []


@dataclass(frozen=True)
class Vocabulary:
    """Words and their integers.

    Raises:
        UserError: the words do not begin with `<pad>` and `<unk>`, or one occurs twice.
    """

    words: tuple[str, ...]
    """Word of each integer; 0 is `<pad>`, 1 is `<unk>`."""
    prefix: ClassVar[tuple[int, ...]] = ()
    suffix: ClassVar[tuple[int, ...]] = ()
    unknown: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.words[:2] != (PAD, UNKNOWN) or len(self._index) != len(self.words):
            raise UserError(
                f"a vocabulary must begin with {PAD} and {UNKNOWN} and contain every word once: build it again"
            )

    @classmethod
    def build(cls, texts: Iterable[Sequence[str]], min_frequency: int = 0) -> "Vocabulary":
        """The words that occur more than `min_frequency` times in tokenised texts (threshold: paper, Table 6).

        Sorted by descending count, then alphabetically: the order of the texts does not matter.
        """
        counts = Counter(word for tokens in texts for word in tokens)
        kept = [word for word, count in counts.items() if count > min_frequency and word not in (PAD, UNKNOWN)]
        return cls((PAD, UNKNOWN, *sorted(kept, key=lambda word: (-counts[word], word))))

    @cached_property
    def _index(self) -> dict[str, int]:
        return {word: index for index, word in enumerate(self.words)}

    def encode(self, tokens: Iterable[str]) -> list[int]:
        """The integer of each token; 1 for unknown words."""
        return [self._index.get(token, self.unknown) for token in tokens]

    def pieces(self, word: str) -> tuple[int, ...]:
        """A word is one piece: its integer."""
        return (self._index.get(word, self.unknown),)

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: object) -> bool:
        return word in self._index

    def to_json(self) -> list[str]:
        """The words as a plain list, ready for JSON; the inverse of `from_json`."""
        return list(self.words)

    @classmethod
    def from_json(cls, words: Sequence[str]) -> "Vocabulary":
        """The vocabulary that `to_json` wrote.

        Raises:
            UserError: it is not a list of distinct words that begins with `<pad>` and `<unk>`.
        """
        return cls(tuple(words))

    @cached_property
    def fingerprint(self) -> str:
        """Content hash of the words in their order."""
        return content_hash(self.words)
