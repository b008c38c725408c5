"""Texts split into words, against TextAttack's own text objects."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flat_dist.resources import textattack_setup
from flat_dist.resources.assets import Assets

WORDS = ["a", "l", "it's", "well-made", "café", "GREAT", "Mr.", "3d", "'em", "x_y", "@home", "*", "...", "O", "good"]
GAPS = [" ", "  ", ", ", "\n", ". ", "-", "'", " 'n' ", "(", ") ", "/", ""]
PLAIN = st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from(GAPS)), min_size=1, max_size=25)
WRITTEN = ["zebra", "Mr.", "o'clock", "UPPER", "ﬁ", "l", "re-do", "x1"]


@pytest.fixture(scope="module")
def texts(assets: Assets) -> Any:
    textattack_setup.activate(assets)
    from flat_dist.attack.engine import tokenized_text

    return tokenized_text


@given(PLAIN, st.sampled_from(WRITTEN))
@settings(max_examples=150, deadline=None)
def test_changes_of_one_word_equal_textattacks(texts: Any, parts: list[tuple[str, str]], written: str) -> None:
    from textattack.shared import AttackedText

    stock = AttackedText("".join(word + gap for word, gap in parts))
    text = texts.TokenizedText.parse(stock.text)
    candidate = texts.Candidate.parse(written)
    assert list(text.words) == stock.words
    for index, word in enumerate(stock.words):
        assert text.starts[index] == stock._text_index_of_word_index(index)
        assert text.without(index) == stock.delete_word_at_index(index).text
        swapped = stock.replace_word_at_index(index, written)
        assert text.with_replacement(index, written) == swapped.text
        if written == word:
            continue
        ours = text.swap(index, candidate)
        assert (ours.text, list(ours.words)) == (swapped.text, swapped.words)
        assert ours == texts.TokenizedText.parse(swapped.text)
        for size in (3, 4, 15):
            now, (then,) = text.windows(index, size, [candidate])
            assert now == stock.text_window_around_index(index, size)
            assert then == swapped.text_window_around_index(index, size)


@pytest.mark.parametrize("text", ["a film 电影 here", "İstanbul is a city"])
def test_texts_whose_words_depend_on_context_are_refused(texts: Any, text: str) -> None:
    with pytest.raises(texts.UnusualTextError):
        texts.TokenizedText.parse(text)


@pytest.mark.parametrize("written", ["two words", "", "...", "电影", "İ"])
def test_a_candidate_must_be_one_word(texts: Any, written: str) -> None:
    with pytest.raises(texts.UnusualTextError):
        texts.Candidate.parse(written)
