"""Word pieces: the integers that a transformer's tokenizer makes of words."""

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

    A word is tokenized by itself, with a space before it: for byte-level pieces the first word of a text is thus no
    other word than the same one later on. Words of a cleaned text stand between single spaces, which no tokenizer's
    piece reaches across, so that the pieces are those of the whole text.
    """

    tokenizer: str
    """The tokenizer as JSON, without truncation and padding."""
    prefix: tuple[int, ...]
    """Special pieces before the words, such as [CLS]."""
    suffix: tuple[int, ...]
    """Special pieces after them, such as [SEP]."""
    unknown: int
    """Stands for a word of which the tokenizer makes nothing."""

    @classmethod
    def of(cls, tokenizer: "PreTrainedTokenizerFast") -> "WordPieces":
        """The pieces of a Hugging Face tokenizer.

        Raises:
                ValueError: it has no piece for unknown words, or puts a text not between special pieces.
        """
        if tokenizer.unk_token_id is None:
            raise ValueError("its tokenizer has no piece for unknown words")
        content = json.loads(tokenizer.backend_tokenizer.to_str()) | {"truncation": None, "padding": None}
        around, inside = (tokenizer("a", add_special_tokens=special).input_ids for special in (True, False))
        starts = [start for start in range(len(around)) if around[start : start + len(inside)] == inside]
        if not inside or not starts:
            raise ValueError("its tokenizer does not put special pieces around a text")
        before, after = around[: starts[0]], around[starts[0] + len(inside) :]
        return cls(_dumps(content), tuple(before), tuple(after), tokenizer.unk_token_id)

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return Tokenizer.from_str(self.tokenizer)

    def pieces(self, word: str) -> tuple[int, ...]:
        """The pieces of one word; at least one."""
        return tuple(self._tokenizer.encode(f" {word}", add_special_tokens=False).ids) or (self.unknown,)

    @cached_property
    def largest(self) -> int:
        """The largest piece that a text can have."""
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
            ValueError: they are none.
        """
        prefix, suffix = (tuple(values.get(name, (None,))) for name in ("prefix", "suffix"))
        if not all(type(piece) is int and piece >= 0 for piece in (*prefix, *suffix, values.get("unknown"))):
            raise ValueError("prefix, suffix and unknown must be numbers of pieces, 0 or more")
        return cls(_dumps(values.get("tokenizer")), prefix, suffix, values["unknown"])


def _dumps(tokenizer: Any) -> str:
    return json.dumps(tokenizer, ensure_ascii=False)
