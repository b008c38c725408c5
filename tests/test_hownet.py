"""Substitutes for pso: class and inflection of the word, from WordNet or from a file of HowNet's."""

import pickle
from pathlib import Path

import lemminflect
import pytest

from flat_dist.config.errors import UserError
from flat_dist.resources.assets import Assets
from flat_dist.resources.hownet import HowNetFile, WordNetSynonyms, provenance


@pytest.fixture(scope="module")
def synonyms(assets: Assets) -> WordNetSynonyms:
    return WordNetSynonyms(assets)


@pytest.mark.parametrize(
    ("word", "tag", "tags", "some"),
    [
        ("films", "NOUN", {"NNS"}, {"movies", "pictures"}),
        ("film", "NOUN", {"NN"}, {"movie", "picture"}),
        ("ran", "VERB", {"VBD"}, {"went", "fled", "scarpered"}),
        ("running", "VERB", {"VBG"}, {"going"}),
        ("better", "ADJ", {"JJR"}, {"safer"}),
        ("quickly", "ADV", {"RB"}, {"rapidly"}),
        ("children", "NOUN", {"NNS"}, {"kids"}),
    ],
)
def test_synonyms_keep_class_and_inflection(
    word: str, tag: str, tags: set[str], some: set[str], synonyms: WordNetSynonyms
) -> None:
    found = synonyms.candidates(word, tag)
    assert some & set(found)
    assert word not in found and len(set(found)) == len(found)
    for other in found:
        forms = {
            form
            for lemmas in lemminflect.getAllLemmas(other).values()
            for lemma in lemmas
            for form, words in lemminflect.getAllInflections(lemma).items()
            if other in words
        }
        assert not forms or forms & tags, other


def test_other_words_have_none(synonyms: WordNetSynonyms) -> None:
    assert synonyms.candidates("film", "DET") == synonyms.candidates("xyzzy", "NOUN") == ()
    assert not set(synonyms.candidates("film", "VERB")) & {"movie", "picture"}


def test_hownets_own_file_is_read_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "word_candidates_sense.pkl"
    path.write_bytes(pickle.dumps({"film": {"noun": ["movie", "show"], "verb": []}}, protocol=2))
    bank = HowNetFile(path)
    assert list(bank.candidates("film", "NOUN")) == ["movie", "show"]
    assert (
        not bank.candidates("film", "VERB") and not bank.candidates("film", "DET") and not bank.candidates("a", "ADJ")
    )
    for content in (pickle.dumps(Path("x")), b"no pickle", pickle.dumps({"film": {"thing": []}}), pickle.dumps([1])):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"word_candidates_sense.pkl is not a file of HowNet's candidates"):
            HowNetFile(path)


def test_provenance_says_that_it_is_a_stand_in(assets: Assets) -> None:
    known = provenance(assets)
    assert known["source"] == "stand-in" and len(known["sha256"]) == 64
