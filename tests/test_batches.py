import numpy as np
import pytest
from hypothesis import example, given

from flat_dist.data import shards
from flat_dist.data.alignment import align_spans
from flat_dist.data.batches import Encoder, Examples, encode_adversarial, encode_clean, to_batch
from flat_dist.data.shards import Record, Swap
from flat_dist.data.text import Vocabulary, clean, tokenize
from tests.test_text import NASTY

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
def test_encoding_part_by_part_is_encoding_the_whole(text: str) -> None:
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


def test_pairs_hold_the_replaced_words_that_the_model_reads() -> None:
    swaps = (Swap(1, "good", "fine"), Swap(2, "", "bad"), Swap(4, "film", "bad"), Swap(3, "good film", "unheard"))
    row = Record("x", 1, "a good film", "a fine bad film", "successful", swaps)
    examples = encode_adversarial(make_rows(row), ENCODER, "successful")
    assert examples.ids == ((2, 5, 3, 4),)
    assert examples.swaps == ((([6], [5]), ([6, 4], [1])),)
    batch = examples.batch([0])
    assert batch.swaps is not None
    assert batch.swaps.original_SW.tolist() == [[6, 0], [6, 4]]
    assert batch.swaps.substitute_SW.tolist() == [[5], [1]]
    assert batch.swaps.pairs == 1


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
