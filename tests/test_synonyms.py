import dataclasses
import io
import json
import logging
import pickle
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from flat_dist.attack.engine.profile import Profile
from flat_dist.config.errors import UserError
from flat_dist.config.schema import AttackConfig, Config
from flat_dist.pipeline import run_folder
from flat_dist.resources import counterfitted_glove, synonym_file, synonyms, wordnet
from flat_dist.resources import counterfitting as cf
from flat_dist.resources.assets import Assets

# Vectors of the tests: a and b at right angles, c and d 60 degrees apart, e alone.
VECTORS_VD = np.array(
    [[1, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0.5, 0.75**0.5, 0], [0, 0, 0, 0, 2]], np.float32
)
AB, CD, NONE = np.array([[0, 1]]), np.array([[2, 3]]), np.zeros((0, 2), np.int64)


def test_losses_by_hand() -> None:
    # cosines 0.5, -0.2 are distances 0.5, 1.2
    cosine = np.array([0.5, -0.2])
    np.testing.assert_allclose(cf.repel_loss(cosine, margin=1.0), [0.5, 0.0])
    np.testing.assert_allclose(cf.attract_loss(cosine, margin=0.6), [0.0, 0.6])
    # distance was 0.2 and is 0.5; was 1.5 and is 1.2
    np.testing.assert_allclose(cf.preserve_loss(cosine, np.array([0.8, -0.5])), [0.3, 0.0], atol=1e-12)


def test_attracted_words_move_together_and_repelled_words_apart() -> None:
    config = cf.Counterfit(attract_margin=0.3, repel_margin=0.9, hold=0.05, sweeps=50, inertia=3.0)
    moved_VD = cf.counterfit(VECTORS_VD, cf.Constraints(AB, CD), config, neighbours_N2=NONE)
    assert moved_VD.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(moved_VD, axis=1), 1, atol=1e-6)
    assert 1 - cf.cosines(moved_VD, AB)[0] < 0.35  # was 1
    assert 1 - cf.cosines(moved_VD, CD)[0] > 0.85  # was 0.5
    np.testing.assert_allclose(moved_VD[4], [0, 0, 0, 0, 1], atol=1e-6)


def test_a_sweep_by_hand() -> None:
    config = cf.Counterfit(attract=0.5, repel=1.0, hold=1.0, inertia=1.0, sweeps=1)
    losses: list[float] = []
    moved_VD = cf.counterfit(VECTORS_VD, cf.Constraints(AB, CD), config, losses.append, neighbours_N2=NONE)
    # a goes to the direction of 1 a (inertia) + 1 a (hold) + 0.5 b
    np.testing.assert_allclose(moved_VD[0], np.array([2, 0.5, 0, 0, 0]) / 4.25**0.5, atol=1e-6)
    # c to that of 2 c - 1 d = (1.5, -0.75 ** 0.5), of length 3 ** 0.5
    np.testing.assert_allclose(moved_VD[2], np.array([0, 0, 1.5, -(0.75**0.5), 0]) / 3**0.5, atol=1e-6)
    assert losses == [pytest.approx(0.5 * 1 + 1.0 * 0.5)]


def test_weights_balance_two_attractions() -> None:
    pairs_P2, weight_P = np.array([[0, 1], [0, 4]]), np.array([4.0, 1.0])
    config = cf.Counterfit(attract=1.0, hold=1.0, inertia=0.0, sweeps=1)
    moved_VD = cf.counterfit(VECTORS_VD, cf.Constraints(pairs_P2, NONE, weight_P), config, neighbours_N2=NONE)
    # sums of weights are 5, 4, 1: the pulls are 4 / sqrt(5 * 4) and 1 / sqrt(5 * 1)
    expected = np.array([1, 4 / 20**0.5, 0, 0, 1 / 5**0.5])
    np.testing.assert_allclose(moved_VD[0], expected / np.linalg.norm(expected), atol=1e-6)


def test_preserved_neighbours_move_together() -> None:
    pairs_P2 = np.array([[1, 2]])  # d is near c, which b attracts
    apart, along = (
        cf.counterfit(VECTORS_VD, cf.Constraints(pairs_P2, NONE), cf.Counterfit(preserve=weight), neighbours_N2=CD)
        for weight in (0, 1)
    )
    np.testing.assert_allclose(apart[3], VECTORS_VD[3], atol=1e-6)
    assert cf.cosines(along, CD)[0] > cf.cosines(apart, CD)[0]


@pytest.mark.parametrize("block", [7, 1000])
def test_nearest_equals_brute_force(block: int) -> None:
    vectors_VD = np.random.default_rng(0).standard_normal((50, 6))
    vectors_VD[20] = 3 * vectors_VD[10]  # the same direction: a word still comes first in its own row
    done: list[int] = []
    found_VK = cf.nearest(vectors_VD, 5, block, done.append)
    assert found_VK.dtype == np.int32 and sum(done) == 50
    for word, row in enumerate(vectors_VD):
        cosine_V = vectors_VD @ row / np.linalg.norm(vectors_VD, axis=1) / np.linalg.norm(row)
        cosine_V[word] = 2
        assert found_VK[word, 0] == word and len(set(found_VK[word])) == 6
        np.testing.assert_allclose(cosine_V[found_VK[word]], np.sort(cosine_V)[::-1][:6], atol=1e-6)


def test_neighbour_pairs_are_listed_once() -> None:
    pairs = cf.neighbour_pairs(np.array([[0, 1, 2], [1, 0, 2], [2, 1, 0]]))
    assert pairs.tolist() == [[0, 1], [0, 2], [1, 2]]


RELATIONS = (*wordnet.SYNSET_RELATIONS.values(), *wordnet.LEMMA_RELATIONS.values())


class Thing(SimpleNamespace):
    """A synset or lemma of the small WordNet below; relations that it does not name are empty."""

    def __getattr__(self, name: str) -> Any:
        if name in RELATIONS:
            return lambda: self.related.get(name, [])
        return lambda: self.values[name]


class SmallWordNet:
    def __init__(self) -> None:
        self.synsets: dict[str, Thing] = {}
        self.senses: list[str] = []
        self.add("movie", "n", "a show on a screen", ["movie", "picture"], [1, 1])
        self.add("coat", "n", "a thin layer on a screen", ["image", "picture"], [1, 4])
        self.add("show", "n", "a thing to see", ["show"], [1])
        self.add("good", "a", "of the kind that is liked", ["good"], [1])
        self.add("bad", "a", "of the kind that is not liked", ["bad"], [1])
        self.synsets["movie"].related["hypernyms"] = [self.synsets["show"]]
        good, bad = (self.synsets[name].lemmas()[0] for name in ("good", "bad"))
        good.related["antonyms"], bad.related["antonyms"] = [bad], [good]
        self.synsets["good"].related["similar_tos"] = [self.synsets["bad"]]  # yields to the antonyms

    def add(self, key: str, pos: str, definition: str, names: list[str], numbers: list[int]) -> None:
        synset = Thing(related={}, values={"pos": pos, "definition": definition})
        lemmas = [Thing(related={}, values={"name": name, "key": f"{name}%{key}", "synset": synset}) for name in names]
        synset.values["lemmas"] = lemmas
        self.senses += [f"{name}%{key} 00000001 {number} 0" for name, number in zip(names, numbers, strict=True)]
        self.synsets[key] = synset

    def all_synsets(self) -> Iterator[Thing]:
        return iter(self.synsets.values())

    def all_lemma_names(self) -> list[str]:
        return [lemma.name() for synset in self.all_synsets() for lemma in synset.lemmas()]

    def open(self, name: str) -> io.StringIO:
        assert name == "index.sense"
        return io.StringIO("\n".join(self.senses))


def test_constraints_of_a_small_wordnet() -> None:
    words = ["movie", "picture", "image", "show", "good", "bad", "movies", "pictures", "unrelated"]
    found = wordnet.constraints(words, SmallWordNet(), cf.Counterfit(hypernym=2.0))
    weights = {
        (words[a], words[b]): weight
        for (a, b), weight in zip(found.attract_P2.tolist(), found.weight_P.tolist(), strict=True)
    }
    # Two hyponyms of "show" are words here; its plural, which would pair with theirs, is not.
    assert weights == {
        ("movie", "picture"): 1,
        ("movies", "pictures"): 1,
        ("movie", "movies"): 1,
        ("picture", "pictures"): 1,
        ("picture", "image"): pytest.approx((1 * 4) ** -0.5),
        ("movie", "show"): pytest.approx(2 / (1 * 2) ** 0.5),
        ("picture", "show"): pytest.approx(2 / (1 * 2) ** 0.5),
    }
    assert found.repel_Q2.tolist() == [[words.index("good"), words.index("bad")]]


def test_the_vocabulary_prefers_words_in_wordnet() -> None:
    words = ["the", "n't", "Paris", "paris", "zidane", "pictures", "x-ray", "bad", "good"]
    kept = wordnet.vocabulary(words, SmallWordNet(), cf.Counterfit(words=4, common=2))
    assert [words[index] for index in kept] == ["the", "paris", "pictures", "bad"]


def test_similar_definitions_and_spellings_get_similar_codes() -> None:
    words = ["movie", "image", "good", "bad", "winter", "wintery"]
    codes_VD = wordnet.codes(words, SmallWordNet(), cf.Counterfit(codes=400))
    cosine_VV = codes_VD @ codes_VD.T
    assert cosine_VV[2, 3] > 0.3 + cosine_VV[2, 1]
    assert cosine_VV[4, 5] > 0.3 + cosine_VV[4, 0]


class SmallAssets:
    def __init__(self, folder: Path):
        self.folder = folder

    def glove(self) -> tuple[list[str], np.ndarray]:
        words = ["movie", "picture", "image", "show", "good", "bad", "movies", "pictures"]
        return words, np.random.default_rng(0).standard_normal((len(words), 5)).astype(np.float32)

    def provenance(self) -> dict[str, dict[str, str]]:
        return {"wordnet": {"sha256": "a"}, "word_vectors": {"sha256": "b"}}


def test_a_build_is_reused_only_if_complete_and_is_reproducible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counterfitted_glove, "_wordnet", lambda assets: SmallWordNet())
    assets: Any = SmallAssets(tmp_path)
    config = cf.Counterfit(neighbours=3, preserved=2, codes=8)
    folder = counterfitted_glove.build(assets, config)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert set(files) == {"vectors.npy", "neighbours.npy", "words.txt", "synonyms.json"}
    assert np.load(folder / "vectors.npy").shape == (8, 5 + 8)
    assert {len(others) for others in counterfitted_glove.read_neighbours(folder).values()} == {3}

    (folder / "words.txt").write_text("half")
    (folder / "synonyms.json").unlink()
    assert counterfitted_glove.build(assets, config) == folder
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == files
    monkeypatch.setattr(counterfitted_glove, "_wordnet", None)  # so that building again would fail
    assert counterfitted_glove.build(assets, config) == folder
    assert counterfitted_glove._origin(assets, config) != counterfitted_glove._origin(
        assets, dataclasses.replace(config, seed=1)
    )


def test_recall_by_hand() -> None:
    neighbours = {"good": ["fine", "nice"], "bad": ["poor"], "odd": ["strange"]}
    reference = {"good": ["nice", "well", "fine", "decent"], "bad": ["poor"], "odd": [], "unknown": ["x"]}
    assert synonyms.neighbour_recall(neighbours, reference) == 3 / 5
    assert synonyms.neighbour_recall(neighbours, reference, per_word=True) == (2 / 4 + 1) / 2
    assert np.isnan(synonyms.neighbour_recall({}, reference))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not valid JSON"),
        ('["good"]', "must hold a JSON object, word to list of words, not list"),
        ('{"good": "fine"}', "the entry of 'good' must be a list of words, not 'fine'"),
        ('{"good": ["fine", 3]}', "the entry of 'good' holds 3, which is not a word in quotes"),
        ('{"good": ["o.k."], "1st": ["first"]}', "no word of the letters a to z"),
        ("{}", "no word of the letters a to z"),
    ],
)
def test_an_error_in_a_table_names_the_entry(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "table.json"
    path.write_text(content)
    with pytest.raises(UserError, match=message) as caught:
        synonym_file.read_table(path)
    assert str(path) in str(caught.value)


def test_a_table_that_cannot_be_read_is_a_user_error(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    path.write_bytes(b'{"caf\xe9": []}')
    with pytest.raises(UserError, match="not valid JSON in UTF-8"):
        synonym_file.read_table(path)
    with pytest.raises(UserError, match=r"--attack\.synonyms 'counterfeit' cannot be read.*give counterfit, original"):
        synonym_file.read_table(Path("counterfeit"))


def test_only_alphabetic_words_enter_a_table(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "table.json"
    path.write_text(json.dumps({"Good": ["fine", "o.k.", "good", "fine", "café"], "24/7": ["always"], "bad": []}))
    with caplog.at_level(logging.WARNING):
        assert synonym_file.read_table(path) == {"good": ["fine"], "bad": []}
    assert "dropped 3 words" in caplog.text


def test_textattack_uses_the_users_table(assets: Assets, tmp_path: Path) -> None:
    from flat_dist.resources.textattack_setup import activate

    activate(assets)
    from textattack.transformations import WordSwapEmbedding

    path = tmp_path / "table.json"
    path.write_text('{"good": ["fine", "nice"], "nice": ["kind"]}')
    table = synonyms.embedding(str(path), assets)
    swap = WordSwapEmbedding(max_candidates=50, embedding=table)
    assert swap._get_replacement_words("Good") == ["Fine", "Nice"]
    assert swap._get_replacement_words("kind") == swap._get_replacement_words("unknown") == []
    assert table.get_cos_sim("nice", "good") == 1 and table.get_cos_sim("kind", "good") == 0
    assert table.get_mse_dist(table.word2index("fine"), "kind") == 2
    with pytest.raises(KeyError):
        table.get_cos_sim("good", "unknown")
    record = synonyms.provenance(str(path), assets)
    assert record["source"] == "user" and len(record["sha256"]) == 64


@pytest.fixture
def vectors(assets: Assets, tmp_path: Path) -> Path:
    """A copy of TextAttack's folder, of four words at 0, 30, 60 and 180 degrees."""
    from flat_dist.resources.textattack_setup import activate

    activate(assets)
    half = 0.75**0.5
    np.save(tmp_path / "paragram.npy", np.array([[1, 0], [half, 0.5], [0.5, half], [-1, 0]], np.float32))
    np.save(tmp_path / "nn.npy", np.array([[0, 1, 2, 3], [1, 0, 2, 3], [2, 1, 0, 3], [3, 2, 1, 0]]))
    (tmp_path / "wordlist.pickle").write_bytes(pickle.dumps({"good": 0, "fine": 1, "nice": 2, "bad": 3}))
    return tmp_path


def test_a_folder_with_textattacks_vectors_takes_the_place_of_the_download(assets: Assets, vectors: Path) -> None:
    from textattack.shared import WordEmbedding
    from textattack.transformations import WordSwapEmbedding

    from flat_dist.attack import recipes
    from flat_dist.attack.engine.from_textattack import build_engine
    from flat_dist.attack.limits import Limits
    from flat_dist.attack.runner import _tiny
    from flat_dist.attack.victim import Victim

    synonym_file.check(str(vectors))
    embedding = synonyms.embedding(str(vectors), assets)
    assert type(embedding) is WordEmbedding
    assert WordSwapEmbedding(max_candidates=2, embedding=embedding)._get_replacement_words("Good") == ["Fine", "Nice"]
    assert synonyms.neighbours(str(vectors), assets)["bad"] == ["nice", "fine", "good"]
    engine = build_engine(
        recipes.build("textfooler", Victim(_tiny()), recipes.LinguisticResources(assets, str(vectors), "cpu", 16)),
        Limits(1, 1, 1024),
        Profile(),
    )
    # TextFooler wants a cosine of at least 0.5: 60 degrees are enough, 180 are not.
    assert [one.word for one in engine.settings.candidates("good")] == ["fine", "nice"]  # type: ignore[attr-defined]
    known = synonyms.provenance(str(vectors), assets)
    assert (known["source"], known["detail"]) == ("user", f"counter-fitted vectors in {vectors.name}, 4 words")
    config = Config(attack=AttackConfig(synonyms=str(vectors)))
    before = run_folder.synonyms(config)
    np.save(vectors / "nn.npy", np.array([[0, 1, 2], [1, 0, 2], [2, 1, 0], [3, 2, 1]]))
    assert before.startswith("sha256:") and run_folder.synonyms(config) != before
    assert synonyms.provenance(str(vectors), assets)["sha256"] != known["sha256"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("nn.npy", None, "has no nn.npy: give the folder paragramcf"),
        ("nn.npy", np.array([[0], [1], [2], [4]]), "nn.npy names rows that do not exist"),
        ("nn.npy", np.array([[0], [1], [2]]), "do not have one row a word"),
        ("paragram.npy", np.full((4, 2), np.nan), "has other values than finite numbers"),
        ("paragram.npy", np.array([["a"], ["b"], ["c"], ["d"]]), "has other values than finite numbers"),
        ("paragram.npy", np.array([[None]] * 4), "does not have TextAttack's vectors"),
        ("wordlist.pickle", {"a": 0, "b": 1, "c": 2, "d": 2}, "does not number its words from 0"),
        ("wordlist.pickle", ["a", "b", "c", "d"], "does not map words to rows"),
    ],
)
def test_a_folder_that_cannot_be_used_is_one_sentence(vectors: Path, name: str, content: Any, message: str) -> None:
    if content is None:
        (vectors / name).unlink()
    elif name.endswith(".npy"):
        np.save(vectors / name, content)
    else:
        (vectors / name).write_bytes(pickle.dumps(content))
    with pytest.raises(UserError, match=message) as caught:
        synonym_file.check(str(vectors))
    assert "\n" not in str(caught.value)
