import json
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from flat_dist.config.errors import UserError
from flat_dist.config.schema import ModelConfig
from flat_dist.data import shards
from flat_dist.data.datasets import Dataset
from flat_dist.data.encoder import Encoder
from flat_dist.data.preprocessing import clean
from flat_dist.evaluation import predict, substitutions, word_importance
from flat_dist.evaluation.substitutions import Replacement
from flat_dist.evaluation.word_importance import Words
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models import encoders
from flat_dist.models.checkpoint import Checkpoint
from flat_dist.resources import counterfitted_glove, counterfitting, synonyms, textattack_setup
from flat_dist.resources.assets import Assets
from flat_dist.storage.folder import Folder

Row = tuple[str, Sequence[tuple[str, str]]]
"""Status, and original and substitute of each swap."""

ROWS: list[Row] = [
    ("successful", [("good", "fine"), ("film", "movie")]),
    ("successful", [("good", "decent"), ("very good", "great"), ("", "truly")]),
    ("failed", [("good", "fine"), ("bad", "poor")]),
    ("timeout", [("bad", "poor")]),
    ("successful", [("film", "flick"), ("bad .", "")]),
    ("skipped", []),
]
REPLACED = {"good": 3, "film": 2, "very": 1, "bad": 1}


def attacked(rows: Iterable[Row]) -> pa.Table:
    records = [
        shards.Record(
            example_id=str(number),
            label=0,
            original_text="",
            perturbed_text="",
            status=status,
            swaps=tuple(shards.Swap(0, original, substitute) for original, substitute in swaps),
        )
        for number, (status, swaps) in enumerate(rows)
    ]
    scores = [[0.5, 0.5]] * len(records)
    return shards.to_table(records, scores, scores, 1, {})


def words(
    importance: Sequence[float], frequency: Sequence[int] | None = None, replaced: Sequence[int] | None = None
) -> Words:
    """Words a, b, c, ... of these values."""
    names = tuple(chr(ord("a") + place) for place in range(len(importance)))
    frequency_V, replaced_V = (np.array(values or [1] * len(names), dtype=np.int64) for values in (frequency, replaced))
    return Words(names, frequency_V, replaced_V, np.array(importance, dtype=np.float32))


@pytest.fixture(scope="module")
def cnn(victim: Folder) -> Checkpoint:
    """The victim, with a mask whose scores are not all alike."""
    checkpoint = checkpoints.load(victim)
    torch.manual_seed(3)
    checkpoints.add_mask(checkpoint.model, checkpoint.config)
    return checkpoint


def make_bert(folder: Path, masked: bool = True, max_length: int = 12, **options: bool) -> Checkpoint:
    config = ModelConfig(name="encoder", encoder=str(folder), mask_hidden_size=8, **options)
    torch.manual_seed(0)
    model, pieces = encoders.pretrained(config, classes=2)
    model.embedding.weight.data *= 30  # as they come, all pieces of such tiny models are much the same
    if masked:
        checkpoints.add_mask(model, config)
    return Checkpoint(model, config, Encoder(pieces, max_length), ("x", "y"))


def test_punctuation_is_not_counted_as_words() -> None:
    texts = [clean("It's 'good', re-imagined: 24 (good) films..."), "good ! $ % 3", ""]
    assert substitutions.count_words(texts) == {"it's": 1, "good": 3, "re-imagined": 1, "24": 1, "films": 1, "3": 1}


def test_words_replaced_in_successful_attacks_count() -> None:
    table = attacked(ROWS)
    assert pa.types.is_dictionary(table["status"].type)
    assert substitutions.count_replaced([table]) == REPLACED
    plain = table.set_column(table.column_names.index("status"), "status", table["status"].cast(pa.string()))
    assert substitutions.count_replaced([plain.select(["status", "swaps"])]) == REPLACED
    rounds = [attacked(ROWS[:2]), attacked([]), pa.concat_tables([attacked(ROWS[2:4]), attacked(ROWS[4:])])]
    assert substitutions.count_replaced(rounds) == REPLACED
    assert substitutions.count_replaced([table, table])["good"] == 6
    assert substitutions.count_replaced([]) == {}


def test_replacements_by_hand() -> None:
    assert substitutions.replacements([attacked(ROWS)]) == [
        Replacement("good", 3, (("decent", 1), ("fine", 1), ("great", 1))),
        Replacement("film", 2, (("flick", 1), ("movie", 1))),
        Replacement("bad", 1, (("", 1),)),
        Replacement("very", 1, (("great", 1),)),
    ]
    assert [found.word for found in substitutions.replacements([attacked(ROWS)], count=1)] == ["good"]
    many = attacked([("successful", [("good", letter) for letter in "gfedcbaa"])])
    assert substitutions.replacements([many]) == [
        Replacement("good", 8, (("a", 2), ("b", 1), ("c", 1), ("d", 1), ("e", 1)))
    ]
    assert substitutions.replacements([]) == substitutions.replacements([attacked(ROWS[5:])]) == []


SIDES = st.lists(st.sampled_from(["good", "bad", "film", "."]), max_size=2).map(" ".join)
ATTACKED = st.lists(
    st.tuples(st.sampled_from(shards.STATUSES), st.lists(st.tuples(SIDES, SIDES), max_size=3)), max_size=5
)


@given(ATTACKED, ATTACKED)
@settings(max_examples=40, deadline=None)
def test_replacements_have_the_counts_of_the_substitution_frequency(first: list[Row], second: list[Row]) -> None:
    tables = [attacked(first), attacked(second)]
    expected: Counter[str] = Counter()
    for status, swaps in first + second:
        for original, _ in swaps if status == "successful" else ():
            expected.update(word for word in original.split() if word != ".")
    found = substitutions.replacements(tables)
    assert substitutions.count_replaced(tables) == expected == {each.word: each.count for each in found}
    assert [each.word for each in found] == sorted(expected, key=lambda word: (-expected[word], word))
    for each in found:
        counts = [count for _, count in each.substitutes]
        assert counts == sorted(counts, reverse=True) and len(counts) <= substitutions.SUBSTITUTES
        assert sum(counts) == each.count or len(counts) == substitutions.SUBSTITUTES


@pytest.mark.parametrize("batch_size", [1, 7, 4096])
def test_importance_of_a_word_equals_that_in_a_text_of_one_word(cnn: Checkpoint, batch_size: int) -> None:
    chosen = ["good", "film", "bad", "good", "it's", "unheard-of", "neverseen", "24"]
    found = word_importance.importances(cnn, chosen, batch_size)
    expected = [predict.word_importance(cnn, word)[0] for word in chosen]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert found[0] == found[3] != found[2]
    assert found[5] == found[6]  # of the unknown word, which both are
    in_text = dict(zip(chosen[:3], predict.word_importance(cnn, "good film bad"), strict=True))
    np.testing.assert_allclose(found[:3], list(in_text.values()), rtol=0, atol=1e-6)


@pytest.mark.parametrize("max_length", [3, 12])
def test_importance_of_word_pieces_is_their_mean_without_special_ones(encoder_folder: Path, max_length: int) -> None:
    bert = make_bert(encoder_folder, max_length=max_length)
    chosen = ["good", "goodness", "films", "film", "a", "unheard"]
    found = word_importance.importances(bert, chosen)
    np.testing.assert_allclose(found, [predict.word_importance(bert, word)[0] for word in chosen], rtol=0, atol=1e-6)
    if max_length == 12:
        ids = torch.tensor([6, 12])  # good, ##ness
        phi = bert.model.importance(ids, torch.zeros(2, dtype=torch.long))
        assert abs(phi[0] - phi[1]) > 1e-3
        assert found[1] == pytest.approx(phi.mean().item(), abs=1e-6)


def test_importances_of_no_words_and_of_two_words_in_one(cnn: Checkpoint) -> None:
    assert word_importance.importances(cnn, []).shape == (0,)
    for none in ("a film", "", "<b>"):
        with pytest.raises(ValueError, match="words, not one"):
            word_importance.importances(cnn, ["good", none])


def test_models_without_importance_of_single_words_are_refused(
    victim: Folder, encoder_folder: Path, cnn: Checkpoint
) -> None:
    for unmasked in (checkpoints.load(victim), make_bert(encoder_folder, masked=False)):
        with pytest.raises(UserError, match="no word mask, so its words have no global importance"):
            word_importance.importances(unmasked, ["good"])
    with pytest.raises(UserError, match=r"--model\.contextual, so the importance of a word depends on its context"):
        word_importance.words_of(["good"], [], make_bert(encoder_folder, contextual=True))
    config = ModelConfig(kernels=16, contextual=True)  # an option that a CNN does not look at
    unchanged = Checkpoint(cnn.model, config, cnn.encoder, cnn.label_names)
    assert word_importance.importances(unchanged, ["good"]) == word_importance.importances(cnn, ["good"])


def test_words_of_a_word_vocabulary(cnn: Checkpoint) -> None:
    texts = ["a good film .", "a bad film", "neverseen good a", "bad film"]
    found = word_importance.words_of(texts, [attacked(ROWS)], cnn)
    assert found.words == ("a", "film", "bad", "good")
    assert found.frequency_V.tolist() == [3, 3, 2, 2]
    assert found.replaced_V.tolist() == [0, 2, 1, 3]
    np.testing.assert_array_equal(found.importance_V, word_importance.importances(cnn, found.words))
    nothing = word_importance.words_of([], [], cnn)
    assert nothing.words == () and nothing.importance_V.shape == nothing.frequency_V.shape == (0,)


def test_with_word_pieces_all_words_are_in_the_vocabulary(encoder_folder: Path) -> None:
    bert = make_bert(encoder_folder)
    found = word_importance.words_of(["goodness , a film", "unheard"], [attacked(ROWS)], bert)
    assert found.words == ("a", "film", "goodness", "unheard")
    assert found.replaced_V.tolist() == [0, 2, 0, 0]


def test_every_word_of_real_texts_is_one_word_for_the_encoder(sentences: Dataset, cnn: Checkpoint) -> None:
    texts = sentences.train["text"].to_pylist()
    found = word_importance.words_of(texts[:640], [], cnn)
    own = {word for word in cnn.encoder.vocabulary.words[2:] if any(letter.isalnum() for letter in word)}
    assert set(found.words) == own and found.importance_V.std() > 0
    assert ((found.importance_V > 0) & (found.importance_V < 1)).all()
    everything = list(substitutions.count_words(texts))
    assert word_importance.importances(cnn, everything).shape == (len(everything),)


@given(st.text())
@settings(max_examples=200, deadline=None)
def test_words_of_any_cleaned_text_are_single_words(cnn: Checkpoint, text: str) -> None:
    found = list(substitutions.count_words([clean(text)]))
    assert len(word_importance.importances(cnn, found)) == len(found)


def test_correlations_by_hand() -> None:
    found = word_importance.correlations(words([0.25, 0.5, 0.75, 0.5], frequency=[4, 3, 2, 1], replaced=[1, 2, 3, 0]))
    assert [each.pair for each in found] == [
        "importance-word_frequency",
        "importance-substitution_frequency",
        "word_frequency-substitution_frequency",
    ]
    # deviations (-1, 0, 1, 0) / 4 and (3, 1, -1, -3) / 2: -4 / sqrt(2 * 20)
    assert found[0].r == pytest.approx(-4 / 40**0.5)
    # t = r sqrt(2 / (1 - r ** 2)) with two degrees of freedom, of which the p-value is 1 - |r|
    assert found[0].p == pytest.approx(1 - 4 / 40**0.5)
    # the word that was never replaced is left out: the others are on a line
    assert [(each.r, each.n) for each in found] == [
        (found[0].r, 4),
        (pytest.approx(1), 3),
        (pytest.approx(-1), 3),
    ]


def test_correlations_are_pearsons_over_the_words_of_table_9() -> None:
    generator = np.random.default_rng(0)
    importance, frequency = generator.random(300), generator.integers(1, 50, 300)
    replaced = generator.poisson(importance)
    found = word_importance.correlations(
        Words(tuple(f"w{number}" for number in range(300)), frequency, replaced, importance.astype(np.float32))
    )
    some = replaced > 0
    expected = [(importance, frequency), (importance[some], replaced[some]), (frequency[some], replaced[some])]
    for each, (a, b) in zip(found, expected, strict=True):
        r = np.corrcoef(a, b)[0, 1]
        t = r * ((len(a) - 2) / (1 - r**2)) ** 0.5
        assert each.n == len(a) and each.r == pytest.approx(r, abs=1e-6)
        assert each.p == pytest.approx(2 * stats.t.sf(abs(t), len(a) - 2), rel=1e-4)
    assert found[1].n == some.sum() < 300


@pytest.mark.parametrize(("r", "p", "n"), [(-0.028, 0.001, 13_800), (0.087, 5.79e-5, 2_130), (0.162, 1.65e-8, 1_200)])
def test_numbers_of_words_that_table_9_implies(r: float, p: float, n: int) -> None:
    a, b = np.linalg.qr(stats.zscore(np.random.default_rng(1).random((n, 2))))[0].T
    given_r = r * a + (1 - r**2) ** 0.5 * b  # a and b are of length one and at right angles
    (found, *_) = word_importance.correlations(Words(("",) * n, a, np.zeros(n), given_r))
    assert found.r == pytest.approx(r) and found.p == pytest.approx(p, rel=0.02)


@pytest.mark.parametrize(
    ("given_words", "defined"),
    [
        (words([]), (False, False, False)),
        (words([0.1, 0.2], [2, 1], [1, 3]), (False, False, False)),
        (words([0.5, 0.5, 0.5], [3, 2, 1], [1, 2, 5]), (False, False, True)),
        (words([0.1, 0.2, 0.4], [3, 2, 1], [1, 1, 1]), (True, False, False)),
        (words([0.1, 0.2, 0.4, 0.1], [4, 2, 2, 2], [0, 1, 2, 3]), (True, True, False)),
        (words([0.1, 0.2, 0.4], [3, 2, 1], [0, 1, 2]), (True, False, False)),
    ],
)
def test_correlations_of_too_few_or_equal_values_are_undefined(given_words: Words, defined: tuple[bool, ...]) -> None:
    with warnings.catch_warnings(action="error"):
        found = word_importance.correlations(given_words)
    assert tuple(each.r is not None for each in found) == tuple(each.p is not None for each in found) == defined


def test_synonym_spread_by_hand() -> None:
    four = words([0.25, 0.5, 1.0, 0.125])
    near = {"a": ["a", "unknown", "b", "c", "b"], "b": ["a"], "c": ["unknown"], "unknown": ["a"]}
    # a: |0.25 - 0.5| and |0.25 - 1|; b: |0.5 - 0.25|; c has no known synonym, d none at all
    assert word_importance.synonym_spread(four, near).tolist() == [0.5, 0.25]
    assert word_importance.synonym_spread(four, near, synonyms=1).tolist() == [0.25, 0.25]
    assert (
        word_importance.synonym_spread(four, {}).shape == word_importance.synonym_spread(words([]), near).shape == (0,)
    )


def test_synonym_spread_samples_the_same_words_for_all_models() -> None:
    generator = np.random.default_rng(2)
    names = tuple(f"w{number}" for number in range(200))
    near = {name: [names[(place * 7 + step) % 200] for step in range(15)] for place, name in enumerate(names)}
    models = [Words(names, np.ones(200), np.ones(200), generator.random(200).astype(np.float32)) for _ in range(2)]
    alls = [word_importance.synonym_spread(model, near, sample=200) for model in models]
    some = [word_importance.synonym_spread(model, near, sample=30, seed=5) for model in models]
    assert len(alls[0]) == 200
    drawn = [[alls[model].tolist().index(value) for value in some[model]] for model in range(2)]
    assert drawn[0] == drawn[1] == sorted(set(drawn[0])) and len(drawn[0]) == 30
    other = word_importance.synonym_spread(models[0], near, sample=30, seed=6)
    assert other.tolist() != some[0].tolist()
    for place, name in enumerate(names):
        known = [names.index(other) for other in dict.fromkeys(near[name]) if other != name][:10]
        importance = models[0].importance_V.astype(np.float64)
        expected = sum(abs(importance[place] - importance[other]) for other in known) / 10
        assert alls[0][place] == pytest.approx(expected)


def test_extremes_are_frequent_words_and_ties_go_to_the_more_frequent() -> None:
    six = words([0.5, 0.9, 0.1, 0.9, 0.99, 0.1], frequency=[9, 8, 7, 6, 4, 5])
    assert word_importance.extremes(six) == ([1, 3, 0, 2, 5], [2, 5, 0, 1, 3])
    assert word_importance.extremes(six, count=2) == ([1, 3], [2, 5])
    assert word_importance.extremes(six, count=1, min_frequency=1) == ([4], [2])
    assert word_importance.extremes(six, min_frequency=10) == word_importance.extremes(words([])) == ([], [])


def test_neighbours_of_counterfitted_glove_are_read_from_its_folder(
    assets: Assets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = np.array([[1, 0], [1, 0.1], [0, 1], [0.2, 1]])
    neighbours = counterfitting.nearest(vectors, 2)
    for name, content in counterfitted_glove._files(["good", "fine", "bad", "poor"], vectors, neighbours).items():
        (tmp_path / name).write_bytes(content)
    monkeypatch.setattr(counterfitted_glove, "build", lambda assets: tmp_path)
    assert synonyms.neighbours("counterfit", assets) == {
        "good": ["fine", "poor"],
        "fine": ["good", "poor"],
        "bad": ["poor", "fine"],
        "poor": ["bad", "fine"],
    }


def test_neighbours_of_the_original_are_as_many_as_of_counterfitted_glove(
    assets: Assets, monkeypatch: pytest.MonkeyPatch
) -> None:
    count, activated = counterfitting.Counterfit().neighbours, []
    vectors = SimpleNamespace(
        embedding_matrix=np.zeros((3, 2)),
        index2word=["good", "fine", "bad"].__getitem__,
        nearest_neighbours=lambda index, topn: np.array([(index + 1) % 3, (index + 2) % 3] + [0] * topn)[:topn],
    )
    monkeypatch.setattr(synonyms, "_original", lambda: vectors)
    monkeypatch.setattr(textattack_setup, "activate", activated.append)
    found = synonyms.neighbours("original", assets)
    assert activated == [assets]
    assert {word: others[:2] for word, others in found.items()} == {
        "good": ["fine", "bad"],
        "fine": ["bad", "good"],
        "bad": ["good", "fine"],
    }
    assert {len(others) for others in found.values()} == {count}


def test_neighbours_of_a_table_need_no_textattack(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    path.write_text(json.dumps({"Good": ["fine", "nice"], "nice": ["kind"]}))
    script = (
        "import json, sys\n"
        "from flat_dist.resources import synonyms\n"
        "found = synonyms.neighbours(sys.argv[1], None)\n"
        "print(json.dumps([found, 'textattack' in sys.modules]))\n"
    )
    output = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
    assert json.loads(output.stdout) == [{"good": ["fine", "nice"], "nice": ["kind"]}, False]
    with pytest.raises(UserError, match="cannot be read"):
        synonyms.neighbours(str(tmp_path / "none.json"), None)
