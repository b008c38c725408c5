"""Pairs of sentences: reading, encoding, models, training, attributions, and what is refused."""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import datasets as hf
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoTokenizer, BertTokenizerFast, pipeline

from flat_dist.commands import attack as attack_command
from flat_dist.config.errors import UserError
from flat_dist.config.schema import Config, DataConfig, ModelConfig, SubstitutesConfig, TrainingConfig
from flat_dist.data import datasets, substitutes
from flat_dist.data.batches import encode_adversarial, encode_clean, to_batch
from flat_dist.data.datasets import Dataset
from flat_dist.data.encoder import PairEncoder
from flat_dist.data.preprocessing import PAD, UNKNOWN, Vocabulary
from flat_dist.data.sentence_pairs import attacked, join, split, without_mark
from flat_dist.data.wordpieces import WordPieces
from flat_dist.evaluation.attributions import AttributionMethod, attribute
from flat_dist.evaluation.lime import Lime
from flat_dist.evaluation.predict import predict
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models import encoders
from flat_dist.models.black_box import BlackBox, CharacterEncoder
from flat_dist.models.checkpoint import Checkpoint
from flat_dist.pipeline import own_models, plan
from flat_dist.storage.folder import Folder
from flat_dist.training.loop import Loop, TrainingData
from flat_dist.training.substitution import Substitution
from tests.own_models import save_bert, save_roberta
from tests.sentence_pairs import LABELS, pairs_of, random_pair_model, save_word_encoder

ROWS = [
    ("A man sleeps.", "A person rests!", "yes"),
    ("A man sleeps.", "Nobody rests", "no"),
    ("Two dogs, running", "Dogs run", "yes"),
    ("Two dogs, running", "Cats run", "no"),
]
CLEANED = ["a man sleeps . ‖ a person rests !", "a man sleeps . ‖ nobody rests"]


def records(first: str = "text", second: str = "text_pair") -> list[dict[str, str]]:
    return [{first: one, second: other, "label": label} for one, other, label in ROWS]


def write(path: Path, rows: list[dict[str, str]]) -> Path:
    names, separator = list(rows[0]), "\t" if ".tsv" in path.name else ","
    lines = [separator.join(f'"{row.get(name, "")}"' for name in names) for row in rows]
    text = "\n".join([separator.join(names), *lines, ""])
    if ".jsonl" in path.name:
        text = "".join(json.dumps(row) + "\n" for row in rows)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("kind", [".csv", ".tsv", ".jsonl", ".parquet", ".csv.gz", ".jsonl.gz"])
def test_pairs_are_read_from_files_of_all_kinds(kind: str, tmp_path: Path) -> None:
    path = str(write(tmp_path / f"train{kind}", records("one", "two")))
    columns = {"text_column": "one", "text_pair_column": "two"}
    found = datasets.load(DataConfig(train=path, dev=path, test=path, **columns))  # type: ignore[arg-type]
    assert found.pairs
    assert found.train["text"].to_pylist()[:2] == CLEANED
    assert "pairs of sentences: the first one is fixed, the second one is attacked and explained" in datasets.describe(
        found
    )


def test_pairs_are_read_from_a_saved_dataset(tmp_path: Path) -> None:
    rows = [{**row, "label": int(row["label"] == "yes")} for row in records()]
    parts = {name: hf.Dataset.from_list(rows) for name in ("train", "validation", "test")}
    hf.DatasetDict(parts).save_to_disk(tmp_path / "saved")
    found = datasets.load(DataConfig(hf=str(tmp_path / "saved"), text_pair_column="text_pair"))
    assert found.train["text"].to_pylist()[:2] == CLEANED


def test_a_pair_is_one_example_where_splits_are_drawn(tmp_path: Path) -> None:
    rows = [
        {"text": f"premise {number % 3}", "text_pair": f"guess {number // 3}", "label": str(number % 2)}
        for number in range(60)
    ]
    path = write(tmp_path / "all.csv", rows + rows[:20])
    found = datasets.load(DataConfig(file=str(path), text_pair_column="text_pair"))
    texts = [set(getattr(found, name)["text"].to_pylist()) for name in ("train", "dev", "test")]
    assert sum(map(len, texts)) == len(set.union(*texts)) == 60
    assert len({split(text)[0] for text in texts[0]}) == 3  # type: ignore[index]


@pytest.mark.parametrize(
    ("value", "said"),
    [("", "the second sentence is empty"), ("***", "the second sentence '***' is empty after cleaning")],
    ids=["empty", "no words"],
)
def test_a_row_without_a_second_sentence_is_named(value: str, said: str, tmp_path: Path) -> None:
    rows = records()
    rows[1]["text_pair"] = value
    path = str(write(tmp_path / "train.csv", rows))
    config = DataConfig(train=path, dev=path, test=path, text_pair_column="text_pair")
    with pytest.raises(UserError, match=f"train.csv:3: {said.replace('*', '.')}"):
        datasets.load(config)
    assert datasets.load(replace(config, drop_bad_rows=True)).dropped == (1, 1, 1)


def test_a_json_line_without_the_second_sentence_is_named(tmp_path: Path) -> None:
    rows = records()
    del rows[2]["text_pair"]
    path = str(write(tmp_path / "train.jsonl", rows))
    with pytest.raises(UserError, match=r"train.jsonl:3: no column 'text_pair' among text, label"):
        datasets.load(DataConfig(train=path, dev=path, test=path, text_pair_column="text_pair"))


@pytest.mark.parametrize("kind", [".csv", ".jsonl", ".parquet"])
def test_a_missing_column_of_pairs_is_named(kind: str, tmp_path: Path) -> None:
    path = str(write(tmp_path / f"train{kind}", records()))
    said = r"no column 'hypothesis' among text, text_pair, label.*--data.text-pair-column and --data.label-column"
    with pytest.raises(UserError, match=said):
        datasets.load(DataConfig(train=path, dev=path, test=path, text_pair_column="hypothesis"))


def test_columns_of_pairs_that_cannot_be_meant(tmp_path: Path) -> None:
    path = str(write(tmp_path / "train.csv", records()))
    with pytest.raises(UserError, match=r"--data.text-pair-column text is also the column of texts or labels"):
        datasets.load(DataConfig(train=path, dev=path, test=path, text_pair_column="text"))
    with pytest.raises(UserError, match=r"--data.text-pair-column x has no effect on customer_reviews"):
        datasets.load(DataConfig(text_pair_column="x"))


@pytest.mark.parametrize("name", ["cnn", "lstm"])
def test_models_of_whole_words_refuse_pairs(name: str) -> None:
    said = f"--model.name {name} reads single texts, but --data.text-pair-column gives pairs of sentences: choose"
    with pytest.raises(UserError, match=said):
        encoders.check(ModelConfig(name=name), pairs=True)  # type: ignore[arg-type]


@pytest.mark.parametrize("option", ["contextual", "mask_special"])
def test_masks_that_pairs_do_not_have(option: str, encoder_folder: Path) -> None:
    config = ModelConfig(name="encoder", encoder=str(encoder_folder), **{option: True})  # type: ignore[arg-type]
    with pytest.raises(UserError, match=f"--model.{option.replace('_', '-')} is not available for pairs"):
        encoders.check(config, pairs=True)


def test_parts_of_a_pair() -> None:
    pair = join("a man", "a dog")
    assert (split(pair), attacked(pair), without_mark(pair)) == (("a man", "a dog"), "a dog", "a man a dog")
    assert (split("a man"), attacked("a man"), without_mark("a man")) == (None, "a man", "a man")


@pytest.fixture
def pieces(tokenizer: BertTokenizerFast) -> WordPieces:
    return WordPieces.from_tokenizer(tokenizer, pairs=True)


def test_ids_of_a_pair_are_those_of_the_tokenizer(tokenizer: BertTokenizerFast, pieces: WordPieces) -> None:
    encoder = PairEncoder(pieces, 20)
    ids = list(encoder.encode("a fine film ‖ goodness is fine ."))
    assert ids == tokenizer("a fine film", "goodness is fine .").input_ids
    assert encoder.words("a fine film ‖ goodness is fine .") == ["goodness", "is", "fine", "."]
    spans = encoder.spans("a fine film ‖ goodness is fine .")
    assert [tokenizer.convert_ids_to_tokens(ids[start:end]) for start, end in spans] == [
        ["good", "##ness"],
        ["is"],
        ["fine"],
        ["."],
    ]
    assert WordPieces.from_json(pieces.to_json()) == pieces
    assert "between" not in WordPieces.from_tokenizer(tokenizer).to_json()


@pytest.mark.parametrize("length", range(6, 14))
def test_the_longer_sentence_is_cut_as_transformers_cuts_it(
    length: int, tokenizer: BertTokenizerFast, pieces: WordPieces
) -> None:
    encoder = PairEncoder(pieces, length)
    for first, second in (("a", "good bad fine film is ."), ("a good film is", "bad"), ("a a a a a", "is is is is")):
        expected = tokenizer(first, second, truncation=True, max_length=length).input_ids
        assert list(encoder.encode(join(first, second))) == expected


def test_positions_in_a_pair(pieces: WordPieces) -> None:
    encoder, text = PairEncoder(pieces, 20), "a fine film ‖ goodness is fine"
    starts = [text.index(word, text.index("‖")) for word in ("goodness", "is", "fine")]
    assert [encoder.end_of_pieces(text, start) for start in starts] == [start for start, _ in encoder.spans(text)]
    assert encoder.end_of_pieces(text, len(text)) == encoder.spans(text)[-1][1]
    assert encoder.encode(text)[: len(encoder.before(text))] == encoder.before(text)


def test_encoders_of_pairs_refuse_single_texts(pieces: WordPieces) -> None:
    with pytest.raises(UserError, match="the model reads pairs of sentences, but 'a film' is a single text"):
        PairEncoder(pieces, 20).encode("a film")


@pytest.fixture(scope="module")
def pairs(sentences: Dataset) -> Dataset:
    return pairs_of(sentences)


@pytest.fixture(scope="module")
def word_encoder(sentences: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_word_encoder(sentences, tmp_path_factory.mktemp("word_encoder"))


@pytest.fixture(scope="module")
def masked(pairs: Dataset, word_encoder: Path) -> Checkpoint:
    return random_pair_model(pairs, word_encoder, masked=True)


def test_a_model_of_pairs_sees_which_sentence_is_which(pairs: Dataset, word_encoder: Path) -> None:
    checkpoint = random_pair_model(pairs, word_encoder)
    tokenizer, model = AutoTokenizer.from_pretrained(word_encoder), checkpoint.model
    texts = pairs.test["text"].to_pylist()[:8]
    found = checkpoint.probabilities(texts)
    for text, probabilities in zip(texts, found, strict=True):
        inputs = tokenizer(*split(text), return_tensors="pt")  # type: ignore[misc]
        assert inputs.token_type_ids.any()
        with torch.no_grad():
            expected = model.output(model.backbone(**inputs).pooler_output).softmax(-1)[0]
            other = model.output(model.backbone(**inputs | {"token_type_ids": inputs.token_type_ids * 0}).pooler_output)
        assert torch.allclose(probabilities, expected, atol=1e-5)
        assert not torch.allclose(expected, other.softmax(-1)[0], atol=1e-3)


def test_masks_and_words_are_those_of_the_second_sentence(masked: Checkpoint, pairs: Dataset) -> None:
    texts = pairs.test["text"].to_pylist()[:6]
    batch = to_batch([masked.encoder.encode(text) for text in texts])
    words_BT = masked.model.words(batch.ids_BT, batch.real_BT)
    for row, text in enumerate(texts):
        places = [place for start, end in masked.encoder.spans(text) for place in range(start, end)]
        assert words_BT[row].nonzero().flatten().tolist() == places
        alone = to_batch([masked.encoder.encode(text)])
        embedded_1TD = masked.model.embed(alone.ids_BT)
        assert masked.model.mask is not None
        importance_1T = masked.model.mask.importance(embedded_1TD)
        scale_1T = torch.ones_like(importance_1T)
        scale_1T[:, places] = importance_1T[:, places]
        inputs = masked.model.backbone.config  # the mask is applied by hand here, and nowhere else
        assert inputs.type_vocab_size == 2
        segments = torch.zeros_like(alone.ids_BT)
        segments[:, places[0] :] = 1
        states = masked.model.backbone(
            inputs_embeds=scale_1T.unsqueeze(-1) * embedded_1TD,
            attention_mask=alone.real_BT.long(),
            token_type_ids=segments,
        )
        expected = masked.model.output(states.pooler_output)
        with torch.no_grad():
            found = masked.model(alone.ids_BT, alone.real_BT).logits_BC
        assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("method", ["ig", "lime"])
def test_attributions_are_of_the_second_sentence(method: str, masked: Checkpoint, pairs: Dataset) -> None:
    texts = pairs.test["text"].to_pylist()[:3]
    settings = AttributionMethod(method, 300, Lime(samples=60))
    found, errors = attribute(masked, texts, settings)
    for text, words_CT in zip(texts, found, strict=True):
        assert words_CT.shape == (2, len(attacked(text).split()))
    if errors is not None:
        assert max(errors) < 2e-2
    else:  # the same weights as of a function that is asked about neighbours as texts
        asked = BlackBox(
            lambda texts: masked.probabilities([join(one["text"], one["text_pair"]) for one in texts]), LABELS, "ask"
        )
        characters = CharacterEncoder(Vocabulary((PAD, UNKNOWN)), 1000)
        function = Checkpoint(asked.eval(), ModelConfig(), characters, LABELS)
        expected, _ = attribute(function, texts[:1], settings)
        assert np.allclose(found[0], expected[0], atol=1e-4)


def test_checkpoints_of_pairs_are_saved_and_loaded(masked: Checkpoint, pairs: Dataset, tmp_path: Path) -> None:
    folder = Folder(tmp_path / "saved")
    checkpoints.save(masked, folder)
    loaded, texts = checkpoints.load(folder), pairs.test["text"].to_pylist()[:4]
    assert isinstance(loaded.encoder, PairEncoder)
    assert torch.equal(loaded.probabilities(texts), masked.probabilities(texts))


def test_swaps_of_pairs_are_of_the_second_sentence(masked: Checkpoint) -> None:
    row = {
        "status": "successful",
        "label": 0,
        "original_text": "a good film ‖ a good story",
        "perturbed_text": "a good film ‖ a fine story",
        "swaps": [{"index": 1, "original": "good", "substitute": "fine"}],
    }
    examples = encode_adversarial(pa.Table.from_pylist([row]), masked.encoder, "successful")
    ((old, new),) = examples.swaps[0]  # type: ignore[index]
    good, fine = (masked.encoder.for_words.encode(word)[1:-1] for word in ("good", "fine"))
    assert old == (good, 6) and new == (fine, 6)
    assert examples.ids[0][6:7] == fine


# Models that were trained elsewhere.


@pytest.fixture(scope="module", params=["bert", "roberta"])
def classifier(request: pytest.FixtureRequest, pairs: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    texts = [without_mark(text) for text in pairs.test["text"].to_pylist()[:60]]
    save = {"bert": save_bert, "roberta": save_roberta}[request.param]
    return save(tmp_path_factory.mktemp(request.param), texts)


WRITTEN = [
    "A fine Film. ‖ It's GOOD!",
    "a  bad,BAD film ‖ not\tgood",
    "film " * 30 + "‖ good",
    "good ‖ " + "film " * 60,
]


def test_a_classifier_of_pairs_predicts_as_the_librarys_own_pipeline(classifier: Path, pairs: Dataset) -> None:
    classify = pipeline("text-classification", model=str(classifier), tokenizer=str(classifier), device="cpu")
    checkpoint = checkpoints.load(Folder(classifier))
    assert checkpoint.encoder.reads_pairs and checkpoint.encoder.reads_texts
    asked = [*WRITTEN, *pairs.test["text"].to_pylist()[:6], "a single text"]
    longest = checkpoint.encoder.max_length
    found = checkpoint.probabilities(asked)
    for text, probabilities in zip(asked, found, strict=True):
        first, second = split(text) or (text, None)
        given = {"text": first, "text_pair": second} if second is not None else text
        expected = {
            one["label"]: one["score"] for one in classify(given, top_k=None, truncation=True, max_length=longest)
        }
        assert dict(zip(checkpoint.label_names, probabilities.tolist(), strict=True)) == pytest.approx(
            expected, abs=1e-5
        )


def test_words_of_a_pair_in_a_classifier_are_those_of_its_second_sentence(classifier: Path) -> None:
    checkpoint = checkpoints.load(Folder(classifier))
    encoder, text = checkpoint.encoder, "A fine Film. ‖ it is GOOD, really"
    spans = encoder.spans(text)
    assert encoder.words(text) == ["it", "is", "GOOD,", "really"]
    ids_1T = torch.tensor([encoder.encode(text)])
    (words,) = checkpoint.model.words(ids_1T, torch.ones_like(ids_1T, dtype=torch.bool)).tolist()
    inside = {place for start, end in spans for place in range(start, end)}
    assert {place for place, word in enumerate(words) if word} == inside
    starts = [encoder.end_of_pieces(text, text.index(word, text.index("‖"))) for word in encoder.words(text)]
    assert starts == [start for start, _ in spans]
    assert encoder.encode(text)[: spans[0][0]] == encoder.before(text)
    (found,), errors = attribute(checkpoint, [text], AttributionMethod("ig", 200))
    assert found.shape[1] == 4 and errors is not None and errors[0] < 5e-2


def test_a_function_gets_both_sentences(tmp_path: Path) -> None:
    asked: list[object] = []

    def ask(texts: list[object]) -> list[list[float]]:
        asked.extend(texts)
        return [[0.25, 0.75] for _ in texts]

    encoder = CharacterEncoder(Vocabulary((PAD, UNKNOWN)), 1000)
    checkpoint = Checkpoint(BlackBox(ask, LABELS, "ask").eval(), ModelConfig(), encoder, LABELS)
    assert checkpoint.probabilities(["a man ‖ a dog", "a text", "a man ‖ "])[0].tolist() == [0.25, 0.75]
    assert {"text": "a man", "text_pair": "a dog"} in asked and "a text" in asked
    assert {"text": "a man", "text_pair": ""} in asked
    del asked[:]
    attribute(checkpoint, ["a man ‖ a dog"], AttributionMethod("lime", lime=Lime(samples=20)))
    assert all(isinstance(one, dict) and one["text"] == "a man" for one in asked)
    assert {one["text_pair"] for one in asked if isinstance(one, dict)} == {"a dog", "a", "dog", ""}


def test_data_and_model_must_both_be_pairs_or_both_not(masked: Checkpoint, victim: Folder, tmp_path: Path) -> None:
    folder = Folder(tmp_path / "pairs")
    checkpoints.save(masked, folder)
    own_models.check_pairs(folder, pairs=True)
    own_models.check_pairs(victim, pairs=False)
    with pytest.raises(UserError, match="reads pairs of sentences, but the data are single texts: name the column"):
        own_models.check_pairs(folder, pairs=False)
    with pytest.raises(UserError, match="reads single texts, but the data are pairs of sentences: leave out"):
        own_models.check_pairs(victim, pairs=True)
    with pytest.raises(UserError, match=r"--text is a single text, but .* reads pairs of sentences: attack pairs of a"):
        attack_command.job(["--checkpoint", folder.uri, "--text", "a film", "--attack.name", "pwws"])


# Texts as they are written.


def test_texts_stay_as_they_are_written_where_the_models_are_the_users_own(classifier: Path, victim: Folder) -> None:
    data, own = DataConfig(), Folder(classifier)
    assert own_models.resolve_cleaning(data, [own]).cleaning == "no"
    assert own_models.resolve_cleaning(data, [own, victim]).cleaning == "yes"
    assert own_models.resolve_cleaning(replace(data, cleaning="yes"), [own]).cleaning == "yes"


def test_texts_as_they_are_written(tmp_path: Path) -> None:
    path = str(write(tmp_path / "train.csv", records()))
    config = DataConfig(train=path, dev=path, test=path, cleaning="no", text_pair_column="text_pair")
    found = datasets.load(config)
    assert found.train["text"].to_pylist()[0] == "A man sleeps. ‖ A person rests!"
    assert found.fingerprint != datasets.load(replace(config, cleaning="yes")).fingerprint
    assert "texts are as they are written (--data.cleaning)" in datasets.describe(found)
    single = datasets.load(replace(config, text_pair_column=None))
    assert single.train["text"].to_pylist()[2] == "Two dogs, running"
    path = str(write(tmp_path / "odd.csv", [*records(), {"text": "a ‖ b", "text_pair": "c", "label": "no"}]))
    with pytest.raises(UserError, match=r"odd.csv:6: the text has the character ‖, which stands between pairs"):
        datasets.load(DataConfig(train=path, dev=path, test=path, cleaning="no"))


def test_training_cleans_texts() -> None:
    with pytest.raises(UserError, match=r"--data.cleaning no is not available in training"):
        plan.check(Config(data=DataConfig(cleaning="no")))


def test_flat_is_trained_on_pairs_with_attacked_texts_and_substitutes(pairs: Dataset, word_encoder: Path) -> None:
    checkpoint = random_pair_model(pairs, word_encoder, max_length=32, masked=True)
    train = pairs.train.slice(0, 24)
    known = {word: ["film", "movie", "story"] for text in train["text"].to_pylist() for word in attacked(text).split()}
    table = pa.table([list(known), list(known.values())], schema=substitutes.SCHEMA)
    settings = SubstitutesConfig(steps=1, positions=1.0, warmup=0.0)
    words = substitutes.build(table, train["text"].to_pylist(), checkpoint.encoder, settings.candidates)
    clean = encode_clean(train, checkpoint.encoder)
    twins = Substitution(words, clean.labels, settings).twins(checkpoint.model, range(4), seed=1, share=1.0)
    assert twins.swaps is not None and checkpoint.model.mask is not None
    for ids, twin, text, swaps in zip(clean.ids, twins.ids, train["text"].to_pylist(), twins.swaps, strict=False):
        before = checkpoint.encoder.before(text)
        assert tuple(ids[: len(before)]) == tuple(twin[: len(before)]) == before
        assert ids != twin and len(twin) <= 32 and swaps
        for (old, old_start), (new, new_start) in swaps:
            assert ids[old_start : old_start + len(old)] == old and twin[new_start : new_start + len(new)] == new
    rows = [
        {
            "status": "successful",
            "label": row["label"],
            "original_text": row["text"],
            "perturbed_text": f"{row['text']} film",
            "swaps": [],
        }
        for row in train.to_pylist()
    ]
    adversarial = encode_adversarial(pa.Table.from_pylist(rows), checkpoint.encoder, "successful")
    data = TrainingData(clean, adversarial, clean, Substitution(words, clean.labels, settings))
    training = TrainingConfig(batch_size=8, word_dropout=0.1, adversaries="both")
    config = Config(data=DataConfig(max_length=32), training=training, substitutes=settings)
    loop = Loop(checkpoint.model, data, config, "flat-1", learning_rate=0.01)
    loop.run(4, lambda *_: None)
    first, *_, last = loop.state.history
    assert last["clean_cross_entropy"] < first["clean_cross_entropy"]
    assert {"importance_difference", "adversarial_cross_entropy", "clean_mask_entropy"} <= last.keys()


def test_predict_takes_a_pair_as_one_text(masked: Checkpoint) -> None:
    (found,) = predict(masked, ["a good film ‖ a fine story"])
    assert [word for word, _ in found["importance"]] == ["a", "fine", "story"]
    expected = masked.probabilities(["a good film ‖ a fine story"])[0].tolist()
    assert list(found["probabilities"].values()) == pytest.approx(expected, abs=1e-6)
    with pytest.raises(UserError, match="the model reads pairs of sentences, but 'a fine story' is a single text"):
        predict(masked, ["a fine story"])
