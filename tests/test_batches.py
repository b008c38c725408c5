from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given
from transformers import BertTokenizerFast

from flat_dist.data import shards
from flat_dist.data.alignment import align_spans
from flat_dist.data.batches import Examples, SwapIds, encode_adversarial, encode_clean, to_batch
from flat_dist.data.encoder import Encoder
from flat_dist.data.preprocessing import Vocabulary, clean, tokenize
from flat_dist.data.shards import Record, Swap
from flat_dist.data.wordpieces import WordPieces
from tests.conftest import PIECES
from tests.test_preprocessing import NASTY

ENCODER = Encoder(Vocabulary(("<pad>", "<unk>", "a", "bad", "film", "fine", "good")), max_length=4)


def make_rows(*records: Record) -> shards.pa.Table:
    scores = [[0.5, 0.5]] * len(records)
    return shards.to_table(records, scores, scores, 1, {})


def test_texts_are_cleaned_cut_and_encoded() -> None:
    assert ENCODER.encode("A  GOOD film") == (2, 6, 4)
    assert ENCODER.encode("good good bad bad film") == (6, 6, 3, 3)
    assert ENCODER.encode("strange") == (1,)
    assert ENCODER.encode("***") == (1,)


@given(NASTY)
@example("-l rb- &lt;b class=x&gt; good")
@example("ΟΔΟΣ ΟΔΟΣ. a\u0301 \u0301a\tbad\nfilm")
def test_encoding_in_parts_equals_encoding_the_whole_text(text: str) -> None:
    words = tokenize(clean(text))
    whole = Encoder(Vocabulary(("<pad>", "<unk>", *dict.fromkeys(words))), max_length=10**6)
    assert list(whole.encode(text)) == (whole.vocabulary.encode(words) or [1])
    assert whole.encode(text)[:2] == Encoder(whole.vocabulary, 2).encode(text)


def test_batches_are_padded_and_know_what_is_real() -> None:
    batch = to_batch([[2, 3, 4], [5]], np.array([1, 0]))
    assert batch.ids_BT.tolist() == [[2, 3, 4], [5, 0, 0]]
    assert batch.real_BT.tolist() == [[True, True, True], [True, False, False]]
    assert batch.labels_B.tolist() == [1, 0]
    assert batch.count == 2


def test_workers_share_a_batch_without_overlap() -> None:
    examples = Examples(([2], [3], [4], [5], [6]), np.arange(5))
    shares = [examples.batch([4, 0, 2], rank, 2) for rank in (0, 1)]
    assert [share.labels_B.tolist() for share in shares] == [[4, 2], [0]]
    assert [share.count for share in shares] == [3, 3]


def test_clean_examples_keep_their_labels() -> None:
    table = shards.pa.table({"text": ["a film", "bad"], "label": shards.pa.array([1, 0], shards.pa.int32())})
    examples = encode_clean(table, ENCODER)
    assert examples.ids == ((2, 4), (3,))
    assert examples.labels.tolist() == [1, 0]
    assert examples.swaps is None


def read_swaps(original: str, perturbed: str, swaps: tuple[Swap, ...], encoder: Encoder) -> SwapIds:
    examples = encode_adversarial(
        make_rows(Record("x", 1, original, perturbed, "successful", swaps)), encoder, "successful"
    )
    assert examples.ids == (encoder.encode(perturbed),)
    assert examples.swaps is not None
    (found,) = examples.swaps
    for text, sides in ((original, [left for left, _ in found]), (perturbed, [right for _, right in found])):
        read = encoder.encode(text)
        assert all(read[start : start + len(pieces)] == pieces for pieces, start in sides)
    return found


def test_swaps_are_the_replaced_words_that_the_model_reads() -> None:
    swaps = (Swap(1, "good", "fine"), Swap(2, "", "bad"), Swap(3, "good film", "unheard"), Swap(5, "bad", "good"))
    row = Record("x", 1, "a good film good film bad", "a fine bad film unheard good", "successful", swaps)
    examples = encode_adversarial(make_rows(row), replace(ENCODER, max_length=5), "successful")
    assert examples.ids == ((2, 5, 3, 4, 1),)
    assert examples.swaps == (((((6,), 1), ((5,), 1)), (((6, 4), 3), ((1,), 4))),)
    batch = examples.batch([0])
    assert batch.swaps is not None
    assert batch.swaps.original.ids_SW.tolist() == [[6, 0], [6, 4]]
    assert batch.swaps.original.real_SW.tolist() == [[True, False], [True, True]]
    assert batch.swaps.original.positions_SW.tolist() == [[1, 0], [3, 4]]
    assert batch.swaps.substitute.ids_SW.tolist() == [[5], [1]]
    assert batch.swaps.substitute.real_SW.tolist() == [[True], [True]]
    assert batch.swaps.substitute.positions_SW.tolist() == [[1], [4]]
    assert batch.swaps.pairs == 1


def test_a_batch_in_parts_keeps_its_count_and_each_text_its_swaps() -> None:
    swaps = tuple(((((index,), 0), ((index + 5,), 0)),) for index in range(2, 7))
    examples = Examples(tuple((index + 5,) for index in range(2, 7)), np.arange(5), swaps)
    parts = examples.batches([4, 3, 2, 1, 0], rank=0, world_size=2, parts=4)
    assert [part.labels_B.tolist() for part in parts] == [[4], [2], [0], []]
    assert [part.swaps.original.ids_SW.flatten().tolist() for part in parts] == [[6], [4], [2], []]
    assert [(part.count, part.swaps.pairs) for part in parts] == [(5, 5)] * 4


def test_swaps_of_word_pieces_have_their_positions_in_the_text(tokenizer: BertTokenizerFast) -> None:
    piece = {name: number for number, name in enumerate(PIECES)}
    good, ness, bad, fine, film, s, is_ = (
        piece[name] for name in ["good", "##ness", "bad", "fine", "film", "##s", "is"]
    )
    encoder = Encoder(WordPieces.from_tokenizer(tokenizer), max_length=20)
    # [CLS] a good film [SEP] and [CLS] a good ##ness film ##s [SEP]
    longer = (Swap(1, "good", "goodness"), Swap(2, "film", "films"))
    assert read_swaps("a good film", "a goodness films", longer, encoder) == (
        (((good,), 2), ((good, ness), 2)),
        (((film,), 3), ((film, s), 4)),
    )
    # An insertion and a merge: [CLS] a film is bad [SEP] and [CLS] a good film ##s fine [SEP]
    shifted = (Swap(1, "", "good"), Swap(1, "film is", "films"), Swap(3, "bad", "fine"))
    assert read_swaps("a film is bad", "a good films fine", shifted, encoder) == (
        (((film, is_), 2), ((film, s), 3)),
        (((bad,), 4), ((fine,), 5)),
    )
    # A split and a deletion: [CLS] film ##s a bad good [SEP] and [CLS] film is a fine [SEP]
    split = (Swap(0, "films", "film is"), Swap(2, "bad", ""), Swap(3, "good", "fine"))
    assert read_swaps("films a bad good", "film is a fine", split, encoder) == (
        (((film, s), 1), ((film, is_), 1)),
        (((good,), 5), ((fine,), 4)),
    )


@pytest.mark.parametrize("max_word_pieces", [4, 5])
def test_a_swap_counts_only_if_both_texts_have_all_its_words(
    max_word_pieces: int, tokenizer: BertTokenizerFast
) -> None:
    encoder = Encoder(WordPieces.from_tokenizer(tokenizer), max_length=max_word_pieces + 2)
    # Four pieces and six: of the longer text the last word is cut, whole, also where its first piece would fit.
    short, long = "a good bad film", "a goodness bad films"
    assert [len(encoder.encode(text)) for text in (short, long)] == [6, 6]
    there = read_swaps(short, long, (Swap(1, "good", "goodness"), Swap(3, "film", "films")), encoder)
    back = read_swaps(long, short, (Swap(1, "goodness", "good"), Swap(3, "films", "film")), encoder)
    assert [(left[1], right[1]) for left, right in there] == [(2, 2)]
    assert [(right, left) for left, right in back] == list(there)
    # Of several words all must be read.
    assert read_swaps(short, "a goodness bad bad films", (Swap(3, "film", "bad films"),), encoder) == ()


@pytest.mark.parametrize(
    ("keep", "expected"), [("successful", [0]), ("successful_and_failed", [0, 1, 3]), ("all", [0, 1, 2, 3])]
)
def test_which_rows_are_kept(keep: str, expected: list[int]) -> None:
    statuses = ("successful", "failed", "skipped", "timeout", "error")
    rows = [Record(str(label), label, "a film", "a film", status) for label, status in enumerate(statuses)]
    assert encode_adversarial(make_rows(*rows), ENCODER, keep).labels.tolist() == expected


@pytest.mark.parametrize(
    ("original", "perturbed", "expected"),
    [
        ("a b c", "a x c", [(0, 1, 0, 1), (1, 2, 1, 2), (2, 3, 2, 3)]),
        ("a b c", "a b new c", [(0, 1, 0, 1), (1, 2, 1, 2), (2, 2, 2, 3), (2, 3, 3, 4)]),
        ("a b c d", "a x d", [(0, 1, 0, 1), (1, 3, 1, 2), (3, 4, 2, 3)]),
        ("", "", []),
    ],
)
def test_alignment(original: str, perturbed: str, expected: list[tuple[int, ...]]) -> None:
    assert align_spans(original.split(), perturbed.split()) == expected
