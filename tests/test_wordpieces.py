import json

import pytest
from hypothesis import example, given
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, DebertaTokenizerFast, PreTrainedTokenizerFast

from flat_dist.data.datasets import Dataset
from flat_dist.data.encoder import Encoder
from flat_dist.data.preprocessing import clean, tokenize
from flat_dist.data.wordpieces import WordPieces
from flat_dist.resources.assets import prepare
from tests.test_preprocessing import NASTY

SENTENCES = [
    "a good film about good people .",
    "the actors are not convincing , but the film is .",
    "it's a café comedy",
]
SPECIAL = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
ODD = [
    "Ünïcode 東京 film",
    "it's 'em -- don't!!!",
    "supercalifragilisticexpialidocious 1234567890",
    "<br />a&amp;b\u0301",
    "ὈΔΥΣΣΕΎΣ",
]


def byte_level(kind: type[PreTrainedTokenizerFast] = DebertaTokenizerFast) -> PreTrainedTokenizerFast:
    """DeBERTa's pieces: of bytes, of which the space before a word is one."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[(name, SPECIAL.index(name)) for name in ("[CLS]", "[SEP]")],
    )
    names = dict(zip(("pad_token", "cls_token", "sep_token", "unk_token"), SPECIAL, strict=True))
    return kind(tokenizer_object=tokenizer, **names)


def minilm() -> PreTrainedTokenizerFast:
    return AutoTokenizer.from_pretrained(prepare().minilm)


MAKERS = {"wordpiece": (minilm, ""), "byte-level": (byte_level, " ")}
"""Tokenizers, and what stands before a text of which they are to read the first word like any other."""


@pytest.fixture(scope="module", params=MAKERS)
def made(request: pytest.FixtureRequest) -> tuple[PreTrainedTokenizerFast, str]:
    make, before = MAKERS[request.param]
    return make(), before


Made = tuple[PreTrainedTokenizerFast, str]


def test_pieces_of_words_equal_pieces_of_the_whole_text(made: Made, sentences: Dataset) -> None:
    tokenizer, before = made
    encoder = Encoder(WordPieces.from_tokenizer(tokenizer), max_length=10**6)
    texts = [*sentences.test["text"].to_pylist()[:300], *SENTENCES, *ODD]
    for text in texts:
        assert list(encoder.encode(text)) == tokenizer(before + clean(text)).input_ids, text


def test_special_pieces_are_those_of_the_tokenizer(made: Made) -> None:
    tokenizer, _ = made
    pieces = WordPieces.from_tokenizer(tokenizer)
    assert (pieces.prefix, pieces.suffix) == ((tokenizer.cls_token_id,), (tokenizer.sep_token_id,))
    assert pieces.unknown == tokenizer.unk_token_id
    assert len(pieces) == len(tokenizer)
    assert Encoder(pieces, 20).encode("***") == (*pieces.prefix, pieces.unknown, *pieces.suffix)
    assert Encoder(pieces, 20).spans("***") == []


@pytest.mark.parametrize("kind", [DebertaTokenizerFast, PreTrainedTokenizerFast])
def test_special_pieces_are_found_for_every_class_of_tokenizer(kind: type[PreTrainedTokenizerFast]) -> None:
    # ModernBERT's tokenizer, for one, is of the general class, which leaves special pieces to the post-processor.
    pieces = WordPieces.from_tokenizer(byte_level(kind))
    assert (pieces.prefix, pieces.suffix) == ((1,), (2,))


def test_a_tokenizer_without_a_piece_for_unknown_words_is_refused() -> None:
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()))
    with pytest.raises(ValueError, match="no piece for unknown words"):
        WordPieces.from_tokenizer(tokenizer)


@pytest.mark.parametrize("name", MAKERS)
def test_encoding_in_parts_equals_encoding_the_whole_text(name: str) -> None:
    make, before = MAKERS[name]
    tokenizer = make()
    pieces = WordPieces.from_tokenizer(tokenizer)
    encoder = Encoder(pieces, max_length=10**6)

    @given(NASTY)
    @example("-l rb- &lt;b class=x&gt; good")
    @example("ΟΔΟΣ ΟΔΟΣ. a\u0301 \u0301a\tbad\nfilm")
    def check(text: str) -> None:
        cleaned = clean(text)
        words = tokenizer(before + cleaned, add_special_tokens=False).input_ids if cleaned else []
        assert list(encoder.encode(text)) == [*pieces.prefix, *(words or [pieces.unknown]), *pieces.suffix]
        assert [end - start for start, end in encoder.spans(text)] == [
            len(tokenizer(before + word, add_special_tokens=False).input_ids) for word in tokenize(cleaned)
        ]

    check()


def test_spans_hold_the_pieces_of_each_word(made: Made, sentences: Dataset) -> None:
    tokenizer, before = made
    encoder = Encoder(WordPieces.from_tokenizer(tokenizer), max_length=10**6)
    for text in sentences.test["text"].to_pylist()[:50]:
        read, spans = encoder.encode(text), encoder.spans(text)
        for word, (start, end) in zip(tokenize(clean(text)), spans, strict=True):
            assert list(read[start:end]) == tokenizer(before + word, add_special_tokens=False).input_ids
        assert [1, *(end for _, end in spans)] == [*(start for start, _ in spans), len(read) - 1]


@pytest.mark.parametrize("max_length", [3, 4, 7, 12, 19])
def test_long_texts_are_cut_between_words(max_length: int, made: Made, sentences: Dataset) -> None:
    tokenizer, before = made
    encoder = Encoder(WordPieces.from_tokenizer(tokenizer), max_length)
    cut = 0
    for text in sentences.test["text"].to_pylist()[:50]:
        words = [tokenizer(before + word, add_special_tokens=False).input_ids for word in tokenize(clean(text))]
        fitting, max_word_pieces = 0, max_length - 2
        while fitting < len(words) and sum(map(len, words[: fitting + 1])) <= max_word_pieces:
            fitting += 1
        expected = [piece for word in words[:fitting] for piece in word] or words[0][:max_word_pieces]
        assert list(encoder.encode(text)) == [tokenizer.cls_token_id, *expected, tokenizer.sep_token_id]
        assert [end - start for start, end in encoder.spans(text)] == (
            [*map(len, words[:fitting])] or [max_word_pieces]
        )
        cut += fitting < len(words)
    assert cut > 10


def test_a_first_word_that_is_too_long_is_cut(made: Made) -> None:
    tokenizer, before = made
    giant = "antidisestablishmentarianism" * 3
    whole = tokenizer(before + giant).input_ids
    assert len(whole) > 12
    encoder = Encoder(WordPieces.from_tokenizer(tokenizer), max_length=10)
    assert list(encoder.encode(f"{giant} film")) == [*whole[:9], tokenizer.sep_token_id]
    assert encoder.spans(f"{giant} film") == [(1, 9)]
    assert len(encoder.encode(f"film {giant}")) < 10


def test_pieces_survive_json(made: Made) -> None:
    tokenizer, _ = made
    tokenizer.backend_tokenizer.enable_truncation(2)
    tokenizer.backend_tokenizer.enable_padding(length=9)
    pieces = WordPieces.from_tokenizer(tokenizer)
    again = WordPieces.from_json(json.loads(json.dumps(pieces.to_json())))
    assert again == pieces and hash(again) == hash(pieces)
    assert again.pieces("unconvincing") == pieces.pieces("unconvincing")
    assert again.to_json()["tokenizer"]["truncation"] is None is again.to_json()["tokenizer"]["padding"]
