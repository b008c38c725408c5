"""Similarity, perplexity and changed words of adversarial texts, against values by hand and the encoder itself."""

import math

import numpy as np
import pyarrow as pa
import pytest
import torch

from flat_dist.attack.engine.sentence_encoder import SentenceEncoder
from flat_dist.data.alignment import find_swaps
from flat_dist.data.shards import Record, to_table
from flat_dist.evaluation.perplexity import TextPerplexity
from flat_dist.evaluation.validity import BATCH, measure, summarise
from flat_dist.resources import language_model
from flat_dist.resources.assets import Assets
from flat_dist.resources.kneser_ney import BigramModel
from flat_dist.resources.language_model import LanguageModel

ROWS = [
    ("a good film", "a fine film", "successful"),
    ("a bad film .", "a poor movie .", "successful"),
    ("a long story", "a lengthy story", "failed"),
    ("it is", "it is", "failed"),
    ("so dull", "so dull", "skipped"),
]


def shards() -> pa.Table:
    records = [
        Record(f"test-{n}", 0, original, adversarial, status, find_swaps(original, adversarial))
        for n, (original, adversarial, status) in enumerate(ROWS)
    ]
    scores = [[0.5, 0.5]] * len(ROWS)
    return to_table(records, scores, scores, 0, {})


class OneInTen:
    """Each word has the probability 1/10, `fine` and `poor` 1/1000; the end of a text is certain."""

    def log10_perplexity(self, text: str) -> float:
        words = text.split()
        return sum(3 if word in ("fine", "poor") else 1 for word in words) / (len(words) + 1)


def fake_encode(texts: list[str]) -> torch.Tensor:
    """Texts that begin alike have a cosine of 1, others of 0."""
    return torch.eye(2)[[len(text.split()) % 2 for text in texts]]


def test_numbers_are_over_changed_texts_and_over_successful_ones() -> None:
    rows = shards()
    found = summarise(rows, measure(rows, fake_encode, OneInTen()))
    assert (found["successful"].n, found["changed"].n) == (2, 3)
    assert found["successful"].similarity == found["changed"].similarity == 1.0
    # one word of three, two words of three (the full stop is none); then one of three
    assert found["successful"].words_changed == pytest.approx((1 / 3 + 2 / 3) / 2)
    assert found["changed"].words_changed == pytest.approx((1 / 3 + 2 / 3 + 1 / 3) / 3)


def test_the_perplexity_ratio_is_a_geometric_mean() -> None:
    rows = shards()
    found = summarise(rows, measure(rows, fake_encode, OneInTen()))
    # Perplexities for each word and the end: 10^(3/4) and 10^(5/4), 10^(4/5) and 10^(6/5), and equal ones.
    ratios = [10 ** (2 / 4), 10 ** (2 / 5), 1.0]
    assert found["successful"].perplexity_ratio == pytest.approx(math.sqrt(ratios[0] * ratios[1]))
    assert found["changed"].perplexity_ratio == pytest.approx((ratios[0] * ratios[1] * ratios[2]) ** (1 / 3))


def test_the_perplexity_of_a_text_is_that_of_its_sentences(assets: Assets) -> None:
    text = "A good film. It's, oddly, a zzyzx!  "
    sentences = [["a", "good", "film"], ["it's", "oddly", "a", "zzyzx"]]
    folder = language_model.resource().build(assets)
    words = (folder / language_model.WORDS).read_text(encoding="utf-8").split("\n")
    counts = [np.load(folder / name) for name in (language_model.BIGRAMS, language_model.COUNTS)]
    expected = BigramModel(words, *counts).perplexity(sentences)
    found = TextPerplexity(LanguageModel(assets, 100))
    assert 10 ** found.log10_perplexity(text) == pytest.approx(expected)
    assert found.log10_perplexity("the film is good") < found.log10_perplexity("the film is zzyzx")
    assert math.isfinite(found.log10_perplexity("..."))


def test_an_attack_that_changed_nothing_has_no_numbers() -> None:
    rows = shards().slice(3)
    found = summarise(rows, measure(rows, fake_encode, OneInTen()))["changed"]
    assert (found.n, found.similarity, found.perplexity_ratio, found.words_changed) == (0, None, None, None)


def test_the_similarity_is_the_encoders_cosine(assets: Assets, one_thread: None) -> None:
    encoder = SentenceEncoder(assets.sentence_encoder)
    calls: list[int] = []
    rows = shards()
    many = pa.concat_tables([rows] * (BATCH // 3 + 1))
    measured = measure(many, encoder.encode, OneInTen(), lambda: calls.append(1))
    assert len(calls) == 2  # in batches, each of which says that it goes on
    by_hand = [float(torch.cosine_similarity(*encoder.encode(list(pair)), dim=0)) for *pair, _ in ROWS[:3]]
    assert measured["similarity"].to_pylist()[:3] == pytest.approx(by_hand, abs=1e-6)
    assert all(0.5 < one < 1 for one in by_hand)
