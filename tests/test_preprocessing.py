import json
import re
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flat_dist.config.errors import UserError
from flat_dist.data.preprocessing import Vocabulary, clean, tokenize

PIECES = [
    "'",
    "-",
    "--",
    "_",
    ".",
    "..",
    "...",
    "!",
    ",",
    ";",
    "&",
    "#",
    "<",
    ">",
    "/",
    "s",
    "n",
    "t",
    "'s",
    "n't",
    "90s",
]
MARKUP = ["lrb", "-lrb-", "amp;", "&amp;", "&lt;", "#39;", "<br />"]
UNICODE = ["\u0301", "\u0307", "\xad", "\u200d", "\u1100", "\u1161", "\x85", "\x92", "İ", "Σ", "\u212a", " "]
MARKS_OF_SCRIPTS = ["\u093f", "\u0e31", "\u064f", "\u05b8", "\ufe0f", "\u3099"]
NASTY = st.lists(st.text(max_size=4) | st.sampled_from(PIECES + MARKUP + UNICODE + MARKS_OF_SCRIPTS), max_size=12).map(
    "".join
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It 's  A\tgood\nFILM", "it 's a good film"),
        ("wo n't , don't re-imagining", "wo n't , don't re-imagining"),
        ("Good, bad (or ugly)? No; yes: end.", "good , bad ( or ugly ) ? no ; yes : end ."),
        ("\u2018It\u2019s\u2019 \u201cquoted\u201d ``twice''", "it's quoted twice"),
        ("'hello' they 're 'em the '90s dogs'", "hello they 're 'em the '90s dogs"),
        ("black/white comedy\\/drama [a] *b* c_d |e| {f} <3", "black white comedy drama a b c d e f 3"),
        ("one -- two\u2014three \u2013 four- -five", "one two three four five"),
        ("so good!!! well.... hm.. ?!?!", "so good ! well ... hm . ? ! ? !"),
        ("wait\u2026 don\x92t\x85", "wait ... don't ..."),
        ("a<br /><br />b <i>c</i> &lt;b&gt;d", "a b c d"),
        ("Oracle #39;s R&amp;D quot;x quot; caf&eacute; AT&T", "oracle 's r d x café at t"),
        ("-LRB- ok -rrb-", "( ok )"),
        ("$5.3 is 40%", "$ 5 . 3 is 40 %"),
        ("CAFE\u0301 \xdcber so\xadft \u0130stanbul", "café über soft istanbul"),
        ("\x00\x1f\u2028 *** \ud800 // `` [] \U0001f600", ""),
        ("", ""),
    ],
)
def test_clean_by_hand(text: str, expected: str) -> None:
    assert clean(text) == expected


@given(NASTY)
@example("-<b>lrb-")
@example("&amp;lt;br&gt;")
@example("\u1100\u0301\u1161")
def test_clean_is_idempotent_and_normalised(text: str) -> None:
    cleaned = clean(text)
    assert clean(cleaned) == cleaned
    assert cleaned == unicodedata.normalize("NFC", cleaned) == cleaned.lower()
    assert cleaned == " ".join(cleaned.split())
    kept = "".join(letter for letter in cleaned if unicodedata.category(letter) not in ("Mn", "Mc"))
    assert not re.search(r"[^\w .,!?;:()$%'-]|_", kept)


@given(NASTY)
def test_a_token_is_one_word_or_marks(text: str) -> None:
    for token in tokenize(clean(text)):
        assert unicodedata.category(token[0])[0] != "M"  # a mark stands on a letter
        letters = "".join(letter for letter in token if unicodedata.category(letter) not in ("Mn", "Mc"))
        assert re.fullmatch(r"'?[^\W_]+(['-][^\W_]+)*|\.\.\.|[.,!?;:()$%]", letters)


@pytest.mark.parametrize(
    ("words", "script"),
    [
        ("कि की कु कू के कै को कौ कं", "DEVANAGARI"),
        ("কি কী কু কে কো", "BENGALI"),
        ("கா கி கீ கு கூ கெ", "TAMIL"),
        ("มา มี มิ มู มุ มั ไม่ ไม้", "THAI"),
        ("كَتَبَ كُتُبٌ كَتَّبَ", "ARABIC"),
        ("שָׁלוֹם שָׁלֵם", "HEBREW"),
        ("ကာ ကိ ကီ ကု", "MYANMAR"),
    ],
)
def test_words_that_differ_in_a_vowel_sign_stay_different(words: str, script: str) -> None:
    given = words.split()
    assert all(any(unicodedata.name(letter).startswith(script) for letter in word) for word in given)
    assert tokenize(clean(words)) == [unicodedata.normalize("NFC", word) for word in given]
    assert len(set(clean(words).split())) == len(given)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("क्या यह फिल्म अच्छी है?", "क्या यह फिल्म अच्छी है ?"),
        ("z\u0337a\u0334\u0353lgo", "zalgo"),  # accents of no script that compose with nothing
        ("замо\u0301к", "замок"),
        ("e\u0301te\u0301", "été"),
        ("می\u200cخواهم", "میخواهم"),  # a joiner has no width
        ("\u2764\ufe0f fine", "fine"),
        ("\u093f alone, a \u093f", "alone , a"),
    ],
)
def test_marks_by_hand(text: str, expected: str) -> None:
    assert clean(text) == expected


def test_tokenize_keeps_every_part() -> None:
    assert tokenize("it 's a film .") == ["it", "'s", "a", "film", "."]
    assert tokenize("") == []


def test_vocabulary_orders_by_count_then_name() -> None:
    texts = [["b", "a", "c"], ["c", "b"], ["c", "d"]]  # c 3, b 2, a 1, d 1
    vocabulary = Vocabulary.build(texts, min_frequency=0)
    assert vocabulary.words == ("<pad>", "<unk>", "c", "b", "a", "d")
    assert Vocabulary.build(reversed(texts), min_frequency=0) == vocabulary
    assert Vocabulary.build(texts, min_frequency=1).words == ("<pad>", "<unk>", "c", "b")
    assert len(vocabulary) == 6
    assert "a" in vocabulary and "e" not in vocabulary
    assert vocabulary.encode(["a", "e", "c"]) == [4, 1, 2]


def test_vocabulary_survives_json() -> None:
    vocabulary = Vocabulary.build([["é", "b", "b"]])
    again = Vocabulary.from_json(json.loads(json.dumps(vocabulary.to_json())))
    assert again == vocabulary and hash(again) == hash(vocabulary)
    assert again.fingerprint == vocabulary.fingerprint != Vocabulary.build([["b"]]).fingerprint


@pytest.mark.parametrize("words", [[], ["a", "b"], ["<pad>", "<unk>", "a", "a"], ["<unk>", "<pad>"]])
def test_vocabulary_refuses_other_lists(words: list[str]) -> None:
    with pytest.raises(UserError, match="must begin with <pad> and <unk>"):
        Vocabulary.from_json(words)
