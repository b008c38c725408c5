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

    @classmethod
    def from_tokenizer(cls, tokenizer: "PreTrainedTokenizerFast") -> "WordPieces":
        """The pieces of a Hugging Face tokenizer.

        Raises:
            ValueError: it has no piece for unknown words, or no special pieces around a text.
        """
        if tokenizer.unk_token_id is None:
            raise ValueError("its tokenizer has no piece for unknown words")
        content = json.loads(tokenizer.backend_tokenizer.to_str()) | {"truncation": None, "padding": None}
        full, bare = (tokenizer("a", add_special_tokens=special).input_ids for special in (True, False))
        starts = [start for start in range(len(full)) if full[start : start + len(bare)] == bare]
        if not bare or not starts:
            raise ValueError("its tokenizer does not put special pieces around a text")
        before, after = full[: starts[0]], full[starts[0] + len(bare) :]
        return cls(_dumps(content), tuple(before), tuple(after), tokenizer.unk_token_id)

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
        return {
            "tokenizer": json.loads(self.tokenizer),
            "prefix": list(self.prefix),
            "suffix": list(self.suffix),
            "unknown": self.unknown,
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "WordPieces":
        """The pieces that `to_json` wrote.

        Raises:
            ValueError: the values are not valid.
        """
        prefix, suffix = (tuple(values.get(name, (None,))) for name in ("prefix", "suffix"))
        if not all(type(piece) is int and piece >= 0 for piece in (*prefix, *suffix, values.get("unknown"))):
            raise ValueError("prefix, suffix and unknown must be ids of pieces, 0 or more")
        return cls(_dumps(values.get("tokenizer")), prefix, suffix, values["unknown"])


def _dumps(tokenizer: Any) -> str:
    return json.dumps(tokenizer, ensure_ascii=False)
