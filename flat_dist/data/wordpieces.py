"""Word pieces: the ids of a transformer's tokenizer for words."""

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True)
class WordPieces:
    """A tokenizer of the `tokenizers` library, and the special pieces around a text.

    Each word is tokenized separately, with a space before it, so that byte-level tokenizers treat a text's first word
    like any other. Cleaned text has single spaces between words, and no piece reaches across a space, so the pieces are
    the same as for the whole text.
    """

    tokenizer: str
    """The tokenizer as JSON, without truncation and padding."""
    prefix: tuple[int, ...]
    """Special pieces before the words, such as [CLS]."""
    suffix: tuple[int, ...]
    """Special pieces after the words, such as [SEP]."""
    unknown: int
    """Replaces a word without pieces."""
    between: tuple[int, ...] = ()
    """Special pieces between the sentences of a pair, all alike, and also in `suffix`; empty if single texts are
    read."""
    segments: bool = False
    """Whether a model is told which pieces are those of a second sentence (`token_type_ids`)."""

    @classmethod
    def from_tokenizer(cls, tokenizer: "PreTrainedTokenizerFast", pairs: bool = False) -> "WordPieces":
        """The pieces of a Hugging Face tokenizer, for single texts or for pairs of sentences.

        Raises:
            ValueError: it has no piece for unknown words, or no special pieces around a text or between two.
        """
        if tokenizer.unk_token_id is None:
            raise ValueError("its tokenizer has no piece for unknown words")
        content = json.loads(tokenizer.backend_tokenizer.to_str()) | {"truncation": None, "padding": None}
        full, bare = (tokenizer("a", add_special_tokens=special).input_ids for special in (True, False))
        starts = [start for start in range(len(full)) if full[start : start + len(bare)] == bare]
        if not bare or not starts:
            raise ValueError("its tokenizer does not put special pieces around a text")
        before, after = full[: starts[0]], full[starts[0] + len(bare) :]
        unknown = tokenizer.unk_token_id
        if not pairs:
            return cls(_dumps(content), tuple(before), tuple(after), unknown)
        between = _between(tokenizer, bare, before, after)
        segments = any(tokenizer("a", "a").get("token_type_ids", ()))
        return cls(_dumps(content), tuple(before), tuple(after), unknown, between, segments)

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return Tokenizer.from_str(self.tokenizer)

    def pieces(self, word: str) -> tuple[int, ...]:
        """The pieces of one word; at least one."""
        return tuple(self._tokenizer.encode(f" {word}", add_special_tokens=False).ids) or (self.unknown,)

    @cached_property
    def max_id(self) -> int:
        """The largest id of a piece."""
        return max((*self._tokenizer.get_vocab().values(), *self.prefix, *self.suffix, self.unknown))

    def __len__(self) -> int:
        return self._tokenizer.get_vocab_size()

    def to_json(self) -> dict[str, Any]:
        """Plain values, ready for JSON; the inverse of `from_json`."""
        values = {
            "tokenizer": json.loads(self.tokenizer),
            "prefix": list(self.prefix),
            "suffix": list(self.suffix),
            "unknown": self.unknown,
        }
        return values | ({"between": list(self.between), "segments": self.segments} if self.between else {})

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "WordPieces":
        """The pieces that `to_json` wrote.

        Raises:
            ValueError: the values are not valid.
        """
        prefix, suffix = (tuple(values.get(name, (None,))) for name in ("prefix", "suffix"))
        between = tuple(values.get("between", ()))
        if not all(type(piece) is int and piece >= 0 for piece in (*prefix, *suffix, *between, values.get("unknown"))):
            raise ValueError("prefix, suffix, between and unknown must be ids of pieces, 0 or more")
        segments = values.get("segments", False)
        if type(segments) is not bool or len(set(between)) > 1 or not set(between) <= set(suffix):
            raise ValueError("between must be equal pieces that are also in suffix, and segments true or false")
        return cls(_dumps(values.get("tokenizer")), prefix, suffix, values["unknown"], between, segments)


def _between(
    tokenizer: "PreTrainedTokenizerFast", bare: list[int], before: list[int], after: list[int]
) -> tuple[int, ...]:
    """The special pieces between two texts of the pieces `bare`."""
    both = tokenizer("a", "a").input_ids
    inner = both[len(before) + len(bare) : len(both) - len(after) - len(bare)]
    same = len(set(inner)) == 1 and inner[0] in after
    if not same or both != [*before, *bare, *inner, *bare, *after]:
        raise ValueError("its tokenizer does not put special pieces between two texts")
    return tuple(inner)


def _dumps(tokenizer: Any) -> str:
    return json.dumps(tokenizer, ensure_ascii=False)
