"""Parts of speech for merges of words: TextAttack takes them from flair's tagger, which only a model hub has.

NLTK's tags stand in, as universal tags. Importing this imports TextAttack: call
`flat_dist.resources.textattack_setup.activate` before.
"""

from functools import lru_cache
from typing import Any

from nltk import pos_tag
from nltk.tag import map_tag
from textattack.shared.utils import strings

FLAIR_TAGGER = "upos-fast"
"""The name under which TextAttack looks for flair's tagger before it downloads it."""

FINER = {"NNP": "PROPN", "NNPS": "PROPN", "MD": "AUX"}
"""Tags that flair's tagset has, and NLTK's universal one has not: names and auxiliaries are not merged."""


@lru_cache(2**12)
def tags(words: tuple[str, ...]) -> tuple[str, ...]:
    """Universal part of speech of each word of a text."""
    return tuple(FINER.get(tag) or map_tag("en-ptb", "universal", tag) for _, tag in pos_tag(list(words)))


class MergeTagger:
    """What TextAttack asks of flair's tagger."""

    def predict(self, sentence: Any, **_: object) -> None:
        """Write the tags into a flair sentence."""
        for token, tag in zip(sentence.tokens, tags(tuple(token.text for token in sentence.tokens)), strict=True):
            token.add_label("upos", tag)


def lend() -> None:
    """Let TextAttack find this tagger, unless it has flair's."""
    strings._flair_taggers.setdefault(FLAIR_TAGGER, MergeTagger())


def is_lent() -> bool:
    """Whether TextAttack uses this tagger."""
    return isinstance(strings._flair_taggers.get(FLAIR_TAGGER), MergeTagger)
