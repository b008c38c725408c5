"""Encodes whole texts with a model's own tokenizer, as the model was fine-tuned."""

import bisect
import itertools
import json
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from flat_dist.config.errors import UserError
from flat_dist.data.encoder import Encoder
from flat_dist.data.sentence_pairs import attacked, split
from flat_dist.data.wordpieces import WordPieces

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

WORD = re.compile(r"\S+")

FIRST = "a"
"""A word before others."""


@dataclass(frozen=True)
class WholeTextEncoder(Encoder):
    """Texts to ids, without cleaning and without a split into words; `words` and `spans` are those between spaces.

    Of a pair of sentences, `words` and `spans` are those of the second one.
    """

    vocabulary: WordPieces
    tokenizer: "PreTrainedTokenizerFast"
    cleans: ClassVar[bool] = False

    @property
    def reads_pairs(self) -> bool:  # type: ignore[override]
        """Whether it reads pairs of sentences."""
        return bool(self.vocabulary.between)

    def encode(self, text: str) -> tuple[int, ...]:
        """Ids of a text with special pieces, cut off at `max_length`; of an empty text at least one.

        Raises:
            UserError: it is a pair of sentences, which the model does not read.
        """
        return tuple(self._read(text)[0]) or (self.vocabulary.unknown,)

    def before(self, text: str) -> tuple[int, ...]:
        """The ids of a text before the first piece of its first word."""
        ids, _, first = self._read(text)
        return tuple(ids[:first])

    def spans(self, text: str) -> list[tuple[int, int]]:
        """For each word that the model reads, start and end of its pieces in the result of `encode`.

        A piece belongs to the word of its last character. A word that the tokenizer drops has an empty span.
        """
        ids, ends, first = self._read(text)
        word_ends = [match.end() for match in WORD.finditer(attacked(text))]
        last = max(first, len(ids) - len(self.vocabulary.suffix))
        words = [bisect.bisect_left(word_ends, end) for end in itertools.accumulate(ends[first:last], max)]
        read = words[-1] + 1 if words else 0
        starts = [first + bisect.bisect_left(words, word) for word in range(read + 1)]
        return list(itertools.pairwise(starts))

    def words(self, text: str) -> list[str]:
        """The words of a text that the model reads."""
        return WORD.findall(attacked(text))[: len(self.spans(text))]

    def inner_pieces(self, words: str) -> tuple[int, ...]:
        """Pieces of words inside a text: many tokenizers give another piece to a word after a space."""
        ids, spans = self.encode(f"{FIRST} {words}"), self.spans(f"{FIRST} {words}")
        return ids[spans[0][1] : spans[-1][1]]

    def to_json(self) -> dict[str, Any]:
        """The tokenizer's files by name, as `flat_dist.models.pretrained.restore_encoder` takes them."""
        with tempfile.TemporaryDirectory() as directory:
            self.tokenizer.save_pretrained(directory, legacy_format=False)
            files = {path.name: json.loads(path.read_text(encoding="utf-8")) for path in Path(directory).glob("*.json")}
        files["tokenizer.json"] |= {"truncation": None, "padding": None}  # as the latest text was read
        return dict(sorted(files.items()))

    def end_of_pieces(self, text: str, position: int) -> int:
        """Number of ids in the result of `encode` that are of the characters of a text before a position; in a pair,
        of one in its second sentence."""
        ids, ends, first = self._read(text)
        last = max(first, len(ids) - len(self.vocabulary.suffix))
        start = len(text) - len(attacked(text))
        position = len(text[start:position].rstrip())  # a space may be a piece of its own, of the word after it
        return first + bisect.bisect_right(list(itertools.accumulate(ends[first:last], max)), position)

    def _read(self, text: str) -> tuple[list[int], list[int], int]:
        """Ids, for each the place in its sentence where its characters end, and the place of the first piece of the
        text, or of its second sentence."""
        pair = split(text)
        if pair and not self.vocabulary.between:
            raise UserError("the model reads single texts, no pairs of sentences: leave out --data.text-pair-column")
        read = self.tokenizer(
            *(pair or (text,)), truncation=True, max_length=self.max_length, return_offsets_mapping=True
        )
        first = len(self.vocabulary.prefix)
        if pair:
            inner = [place for place, sentence in enumerate(read.sequence_ids()) if sentence == 0]
            first = (inner[-1] + 1 if inner else first) + len(self.vocabulary.between)
        return read["input_ids"], [end for _, end in read["offset_mapping"]], first
