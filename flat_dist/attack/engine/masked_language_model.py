"""Fills gaps in texts with a masked language model, for many texts in one batch.

The words are those of TextAttack's `WordSwapMaskedLM`, `WordInsertionMaskedLM` and `WordMergeMaskedLM` (0.3.11), which
pad every text to 512 pieces and compute the vocabulary's scores at all of them. Here texts of the same length share a
batch, without padding, and only the gap is scored. Sums then round differently. This changes the words only where two
probabilities, or a probability and its limit, are nearly equal: such a gap is filled as TextAttack does it.

Shape letters: B texts, T pieces, V words of the vocabulary.
"""

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import torch
from lru import LRU
from textattack.shared.utils import check_if_punctuations, check_if_subword, is_one_word, strip_BPE_artifacts
from torch import Tensor

from flat_dist.attack.engine.query import Blank, FillQuery, WordPieces

ROUNDING = 1e-4
"""Probabilities (as a share of the larger one) and logits that differ by less may be in another order in TextAttack."""

BATCH_PIECES = {"cpu": 2048, "cuda": 32768}
"""Word pieces in a batch: fits a CPU's cache, or fills a GPU."""

HEADS = {"bert": "cls", "roberta": "lm_head"}
"""Where a kind of model has the layers that score the vocabulary; of any other, all positions are scored."""

LETTER = re.compile("[a-zA-Z]")


@lru_cache(4)
def shared_filler(model: Any, tokenizer: Any, max_length: int, size: int) -> "GapFiller":
    """The filler of a model, with one cache for all attacks of this process."""
    return GapFiller(model, tokenizer, max_length, size)


class GapFiller:
    """Words that a masked language model puts into gaps.

    Args:
        model: as `AutoModelForMaskedLM` loads it.
        tokenizer: its tokenizer.
        max_length: pieces of a text; the rest is cut off.
        size: gaps, and texts, in the caches.
    """

    def __init__(self, model: Any, tokenizer: Any, max_length: int, size: int):
        self.model, self.tokenizer, self.max_length = model, tokenizer, max_length
        self.kind = model.config.model_type
        self._on_batch: Callable[[], None] = lambda: None
        self._known: LRU = LRU(size)
        self._pieces: LRU = LRU(size)

    def __call__(
        self, queries: Sequence[FillQuery], on_batch: Callable[[], None] = lambda: None
    ) -> list[list[Sequence[str]]]:
        """For each query and each of its items, the words, most probable first.

        Args:
            queries: what to fill.
            on_batch: called after each batch: many long texts take minutes.
        """
        self._on_batch = on_batch
        items = dict.fromkeys(item for query in queries for item in query.items)
        known = {item: self._known[item] for item in items if item in self._known}
        new = [item for item in items if item not in known]
        self._fill([item for item in new if isinstance(item, Blank)], known)
        self._replace([item for item in new if isinstance(item, WordPieces)], known)
        for item in new:
            self._known[item] = known[item]
        return [[known[item] for item in query.items] for query in queries]

    # Blanks.

    def _fill(self, blanks: Sequence[Blank], known: dict[Any, Sequence[str]]) -> None:
        places: list[tuple[Blank, list[int], int]] = []
        for blank, ids in zip(blanks, self._encode([blank.text for blank in blanks]), strict=True):
            if self.tokenizer.mask_token_id in ids:
                places.append((blank, ids, ids.index(self.tokenizer.mask_token_id)))
            else:
                known[blank] = ()  # cut off, or split from its brackets
        for batch in _batches(places, lambda place: len(place[1]), self._batch_pieces):
            ids_BT = torch.tensor([ids for _, ids, _ in batch], device=self.model.device)
            position_B = [position for _, _, position in batch]
            probability_BV = torch.softmax(self._logits(ids_BT, position_B), dim=1)
            for (blank, _, position), probability_V in zip(batch, probability_BV, strict=True):
                known[blank] = self._words(blank, probability_V, position == 1)
            self._on_batch()

    def _words(self, blank: Blank, probability_V: Tensor, starting: bool) -> Sequence[str]:
        usable_V, words = self._vocabulary(starting)
        # One more than wanted, to see how close the next one is.
        best = probability_V.masked_fill(~usable_V, -1).topk(min(blank.count + 1, len(words)))
        values = best.values.tolist()
        count = sum(value >= blank.confidence for value in values[: blank.count])
        if _is_close(values, count, blank):
            return self._exact_words(blank)
        return _with_letters(words[index] for index in best.indices[:count].tolist())

    @torch.no_grad()
    def _exact_words(self, blank: Blank) -> Sequence[str]:
        """As TextAttack does it, alone in a batch."""
        inputs = self._padded(blank.text)
        position = inputs["input_ids"][0].tolist().index(self.tokenizer.mask_token_id)
        probability_V = torch.softmax(self.model(**inputs)[0][0, position], dim=0)
        usable_V, words = self._vocabulary(position == 1)
        ranked = torch.argsort(probability_V, descending=True)
        enough = ranked[usable_V[ranked] & (probability_V[ranked] >= blank.confidence)]
        return _with_letters(words[index] for index in enough[: blank.count].tolist())

    def _vocabulary(self, starting: bool) -> tuple[Tensor, list[str]]:
        """Whether each piece is a word (V), and which; of some models the first piece of a text has other marks."""
        return _vocabulary(self.tokenizer, self.kind, starting, self.model.config.vocab_size, self.model.device)

    # Words whose pieces are replaced.

    def _replace(self, words: Sequence[WordPieces], known: dict[Any, Sequence[str]]) -> None:
        texts = dict.fromkeys((word.text, word.count) for word in words)
        alternatives = {text: self._pieces[text] for text in texts if text in self._pieces}
        self._find_alternatives([text for text in texts if text not in alternatives], alternatives)
        for word, ids in zip(words, self._encode([word.masked for word in words]), strict=True):
            known[word] = self._combine(word, ids, alternatives[word.text, word.count])

    def _find_alternatives(self, texts: Sequence[tuple[str, int]], found: dict[Any, list[list[int]]]) -> None:
        places = list(zip(texts, self._encode([text for text, _ in texts]), strict=True))
        for batch in _batches(places, lambda place: len(place[1]), self._batch_pieces):
            ids_BT = torch.tensor([ids for _, ids in batch], device=self.model.device)
            for (text, _), logits_TV in zip(batch, self._logits(ids_BT, None), strict=True):
                best = logits_TV.topk(min(text[1] + 1, logits_TV.shape[1]))
                close = bool((best.values.diff(dim=1).abs() < ROUNDING).any())
                ids = self._exact_alternatives(*text) if close else best.indices[:, : text[1]].tolist()
                found[text] = self._pieces[text] = ids
            self._on_batch()

    @torch.no_grad()
    def _exact_alternatives(self, text: str, count: int) -> list[list[int]]:
        found: list[list[int]] = self.model(**self._padded(text))[0][0].topk(count).indices.tolist()
        return found

    def _combine(self, word: WordPieces, masked_ids: list[int], alternatives: list[list[int]]) -> Sequence[str]:
        if self.tokenizer.mask_token_id not in masked_ids:
            return ()
        start = masked_ids.index(self.tokenizer.mask_token_id)
        pieces = self.tokenizer.encode(word.word, add_special_tokens=False)
        positions = range(start, min(start + len(pieces), self.max_length))
        to_tokens = self.tokenizer.convert_ids_to_tokens
        if positions and positions[-1] >= len(alternatives):  # TextAttack then reads the padding
            alternatives = self._exact_alternatives(word.text, word.count)
        if len(positions) == 1:
            tokens = to_tokens(alternatives[start])
            found: Iterator[str] = (
                one for one in tokens if is_one_word(one) and not check_if_subword(one, self.kind, word.first)
            )
        else:
            products = itertools.product(*(alternatives[position] for position in positions)) if positions else ()
            joined = ("".join(to_tokens(list(ids))).replace("##", "") for ids in products)
            found = itertools.islice(filter(is_one_word, joined), word.count)
        return tuple(one.strip("Ġ") for one in found)

    # The model.

    @torch.no_grad()
    def _logits(self, ids_BT: Tensor, position_B: Sequence[int] | None) -> Tensor:
        """Scores of the vocabulary at one position of each text (B, V), or at all (B, T, V)."""
        head = getattr(self.model, HEADS.get(self.kind, ""), None)
        rows = torch.arange(len(ids_BT), device=ids_BT.device)
        inputs = {"input_ids": ids_BT, "attention_mask": torch.ones_like(ids_BT)}
        if head is None or position_B is None:
            logits_BTV: Tensor = self.model(**inputs)[0]
            return logits_BTV if position_B is None else logits_BTV[rows, position_B]
        hidden_BTD = self.model.base_model(**inputs)[0]
        logits_BV: Tensor = head(hidden_BTD[rows, position_B])
        return logits_BV

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        if not texts:
            return []
        ids: list[list[int]] = self.tokenizer(list(texts), truncation=True, max_length=self.max_length)["input_ids"]
        return ids

    def _padded(self, text: str) -> Any:
        return self.tokenizer(
            [text], truncation=True, max_length=self.max_length, padding="max_length", return_tensors="pt"
        ).to(self.model.device)

    @property
    def _batch_pieces(self) -> int:
        return BATCH_PIECES[self.model.device.type]


@lru_cache(8)
def _vocabulary(tokenizer: Any, kind: str, starting: bool, size: int, device: Any) -> tuple[Tensor, list[str]]:
    tokens = tokenizer.convert_ids_to_tokens(list(range(size)))
    words = ["" if token is None else _word(token, kind, starting) for token in tokens]
    usable = [is_one_word(word) and not check_if_punctuations(word) for word in words]
    return torch.tensor(usable, device=device), [word.strip("Ġ") for word in words]


def _word(token: str, kind: str, starting: bool) -> str:
    word: str = strip_BPE_artifacts(token, kind) if check_if_subword(token, kind, starting) else token
    return word


def _with_letters(words: Iterator[str]) -> Sequence[str]:
    return tuple(word for word in words if LETTER.search(word))


def _is_close(values: Sequence[float], count: int, blank: Blank) -> bool:
    """Whether rounding may decide which words are taken; `values` are sorted, and the first `count` are taken."""
    around = values[max(count - 1, 0) : count + 1]
    if blank.confidence and any(abs(value - blank.confidence) < ROUNDING * value for value in around):
        return True
    return count == blank.count and len(around) == 2 and around[0] - around[1] < ROUNDING * around[0]


def _batches(places: Sequence[Any], length: Any, size: int) -> Iterator[list[Any]]:
    """Batches of places with the same number of pieces."""
    for pieces, group in itertools.groupby(sorted(places, key=length), length):
        same = list(group)
        rows = max(1, size // pieces)
        for start in range(0, len(same), rows):
            yield same[start : start + rows]
