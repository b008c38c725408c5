"""A user's fine-tuned classifier is where adv and flat start: its own tokenizer, body, head and classes."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from transformers import AutoModelForSequenceClassification, BartConfig, BartForSequenceClassification, pipeline

from flat_dist import cli
from flat_dist.config.errors import UserError
from flat_dist.config.schema import Config
from flat_dist.config.serialization import to_dict
from flat_dist.config.validation import check_effect
from flat_dist.data import batches, datasets, substitutes
from flat_dist.evaluation.predict import predict
from flat_dist.evaluation.word_importance import importances
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models.artifact import open_checkpoint
from flat_dist.models.checkpoint import Checkpoint
from flat_dist.models.factory import initial
from flat_dist.pipeline import plan
from flat_dist.pipeline.stages import Environment, RunStages
from flat_dist.runtime.progress import Display
from flat_dist.storage.arrow import write_table
from flat_dist.storage.folder import Folder
from flat_dist.tracking.tracker import NoTracker
from flat_dist.training.job import TrainingJob, load_data, load_start
from flat_dist.training.loop import Loop
from tests.own_models import byte_level_tokenizer, classes_of, save_bert, save_roberta

TEXTS = ["A fine film.", "a  bad,BAD film", "it is not good", "", "word " * 60, "naïve \t café"]

SUBSTITUTES = {
    "word": ["film", "good", "is", "movie", "the"],
    "candidates": [["films", "bad"], ["fine", "goodness", "bad"], ["good"], ["film", "story"], ["a", "an", "this"]],
}


@pytest.fixture(scope="module")
def data(sentences: datasets.Dataset) -> datasets.Dataset:
    return replace(sentences, train=sentences.train.slice(0, 96), dev=sentences.dev.slice(0, 40))


@pytest.fixture(scope="module")
def folders(data: datasets.Dataset, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    texts = data.train["text"].to_pylist()
    return {
        "bert": save_bert(tmp_path_factory.mktemp("bert"), texts),
        "roberta": save_roberta(tmp_path_factory.mktemp("roberta"), texts, ("NEGATIVE", "POSITIVE")),
    }


def config_of(folder: Path) -> Config:
    config = cli.load_preset("classifier")
    return replace(config, model=replace(config.model, encoder=str(folder)), hardware="cpu")


@pytest.fixture(params=["bert", "roberta"])
def start(
    request: pytest.FixtureRequest, folders: dict[str, Path], data: datasets.Dataset, tmp_path: Path
) -> tuple[Path, Folder]:
    """The user's folder, and the checkpoint that a run makes of it."""
    checkpoint, made_of = initial(config_of(folders[request.param]), data, masked=False)
    assert made_of.startswith("your classifier as it is: ")
    checkpoints.save(checkpoint, Folder(tmp_path / "init"))
    return folders[request.param], Folder(tmp_path / "init")


def job(start: Folder, data: datasets.Dataset, training: str, config: Config, folder: Path) -> TrainingJob:
    uri = Folder(folder).uri
    for split in ("train", "dev"):
        write_table(Folder(folder), split, getattr(data, split))
    write_table(Folder(folder), substitutes.NAME, pa.table(SUBSTITUTES, schema=substitutes.SCHEMA))
    return TrainingJob(f"{training}-1", training, to_dict(config), uri, start.uri, (), 1, 5e-3, substitutes=uri)


def test_the_base_of_a_run_is_the_users_own_model(start: tuple[Path, Folder]) -> None:
    folder, base = start
    checkpoint = checkpoints.load(base)
    assert checkpoint.label_names == ("NEGATIVE", "POSITIVE")
    classify = pipeline("text-classification", model=str(folder), tokenizer=str(folder), device="cpu", top_k=None)
    longest = checkpoint.encoder.max_length
    for text, found in zip(TEXTS, predict(checkpoint, TEXTS), strict=True):
        (expected,) = classify([text], truncation=True, max_length=longest)
        assert found["probabilities"] == pytest.approx({one["label"]: one["score"] for one in expected}, abs=1e-5)
    weights = AutoModelForSequenceClassification.from_pretrained(folder).state_dict()
    own = {name.removeprefix("backbone."): one for name, one in checkpoint.model.state_dict().items()}
    assert own.keys() == weights.keys()  # each weight once
    assert all(torch.equal(own[name], one) for name, one in weights.items())


def test_a_checkpoint_does_not_depend_on_what_was_read_before(start: tuple[Path, Folder], tmp_path: Path) -> None:
    checkpoint = checkpoints.load(start[1])
    checkpoint.encoder.encode("a film")
    checkpoints.save(checkpoint, Folder(tmp_path / "again"))
    assert checkpoints.fingerprint(Folder(tmp_path / "again")) == checkpoints.fingerprint(start[1])


@pytest.mark.parametrize("training", ["adv", "flat"])
def test_training_starts_from_the_users_body_and_head_and_changes_both(
    training: str, start: tuple[Path, Folder], data: datasets.Dataset, tmp_path: Path
) -> None:
    folder, base = start
    config = config_of(folder)
    given = job(base, data, training, config, tmp_path / "job")
    checkpoint = load_start(given, config)
    before = {name: one.clone() for name, one in checkpoint.model.state_dict().items()}
    user = AutoModelForSequenceClassification.from_pretrained(folder).state_dict()
    assert {name.removeprefix("backbone.") for name in before if not name.startswith("mask.")} == user.keys()
    assert all(torch.equal(before[f"backbone.{name}"], one) for name, one in user.items())
    assert (checkpoint.model.mask is not None) == (training == "flat")
    training_data = load_data(given, config, checkpoint.encoder)
    loop = Loop(checkpoint.model, training_data, config, given.name, given.learning_rate)
    loop.run(2, lambda *_: None)
    losses = [metrics["clean_cross_entropy"] for metrics in loop.state.history]
    assert losses[1] < losses[0] and {"adversarial_cross_entropy"} <= loop.state.history[0].keys()
    after = checkpoint.model.state_dict()
    changed = {name for name, one in after.items() if not torch.equal(one, before[name])}
    head = next(name for name, one in checkpoint.model.named_modules() if one is checkpoint.model.output)
    assert {f"{head}.weight", f"backbone.{next(iter(user))}"} <= changed
    assert any(name.startswith("mask.") for name in changed) == (training == "flat")
    loaded = saved(checkpoint, tmp_path / "trained")
    assert torch.equal(loaded.probabilities(TEXTS), checkpoint.probabilities(TEXTS))
    if training == "flat":
        (importance,) = [row["importance"] for row in predict(loaded, ["a good film"])]
        alone = importances(loaded, ["good", "film"])
        assert [value for _, value in importance[1:]] == pytest.approx(alone.tolist(), abs=1e-6)


def saved(checkpoint: Checkpoint, folder: Path) -> Checkpoint:
    checkpoints.save(checkpoint, Folder(folder))
    return checkpoints.load(Folder(folder))


def test_a_mask_of_ones_changes_nothing_and_one_of_zeros_hides_the_words(start: tuple[Path, Folder]) -> None:
    checkpoint = checkpoints.load(start[1])
    texts = ["a good film .", "it is bad"]
    expected = checkpoint.probabilities(texts)
    checkpoints.add_mask(checkpoint.model, checkpoint.config)
    last = checkpoint.model.mask.network[2]  # type: ignore[union-attr]
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(torch.tensor([-50.0, 50.0]))
    assert checkpoint.probabilities(texts).numpy() == pytest.approx(expected.numpy(), abs=1e-5)
    with torch.no_grad():
        last.bias.copy_(torch.tensor([50.0, -50.0]))
    hidden = checkpoint.probabilities(["a good film .", "a fine plot ,"])  # as many pieces, all of them hidden
    count = len(checkpoint.encoder.encode("a good film ."))
    if len(checkpoint.encoder.encode("a fine plot ,")) == count:
        assert hidden[0].numpy() == pytest.approx(hidden[1].numpy(), abs=1e-5)
    assert np.abs(hidden[0].numpy() - expected[0].numpy()).max() > 1e-3


def test_twins_are_read_as_the_tokenizer_reads_their_text(start: tuple[Path, Folder], data: datasets.Dataset) -> None:
    encoder = checkpoints.load(start[1]).encoder
    known = pa.table(SUBSTITUTES, schema=substitutes.SCHEMA)
    texts = ["it is a good film .", "see the movie , it is good"]
    made = substitutes.build(known, texts, encoder, count=5)
    for text, words in zip(texts, made.texts, strict=True):
        assert made.ids(words.before, words.pieces) == encoder.encode(text)
        for place, (word, row) in enumerate(zip(text.split(), words.rows, strict=True)):
            wanted = dict(zip(SUBSTITUTES["word"], SUBSTITUTES["candidates"], strict=True)).get(word, [])
            numbers = [] if row == substitutes.NONE else made.candidates_RK[row].tolist()
            found = [made.pieces[number] for number in numbers if number != substitutes.NONE]
            expected = []
            for candidate in wanted:
                swapped = " ".join([*text.split()[:place], candidate, *text.split()[place + 1 :]])
                expected.append(encoder.encode(swapped))
            assert [
                made.ids(words.before, [*words.pieces[:place], one, *words.pieces[place + 1 :]]) for one in found
            ] == expected


def test_a_word_of_which_the_tokenizer_drops_everything_is_in_no_swap(start: tuple[Path, Folder]) -> None:
    encoder = checkpoints.load(start[1]).encoder
    row = {
        "original_text": "a \u200b good film",
        "perturbed_text": "a fine good bad",
        "swaps": [
            {"index": 1, "original": "\u200b", "substitute": "fine"},
            {"index": 3, "original": "film", "substitute": "bad"},
        ],
    }
    sides = batches._encode_swaps(row, encoder)
    assert all(left[0] and right[0] for left, right in sides)
    assert sides[-1][0][0] == encoder.inner_pieces("film")


def without_tokenizer(config: Config, folder: Path) -> Config:
    for name in ("tokenizer.json", "vocab.txt"):
        (folder / name).unlink()
    return config


def nowhere(config: Config, folder: Path) -> Config:
    return replace(config, model=replace(config.model, encoder="some-name-of-the-hub"))


def not_given(config: Config, folder: Path) -> Config:
    return replace(config, model=replace(config.model, encoder=None))


def from_scratch(config: Config, folder: Path) -> Config:
    return replace(config, training=replace(config.training, init="scratch"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_tokenizer, "has no tokenizer"),
        (nowhere, r"--model.encoder some-name-of-the-hub is no folder with a classifier \(config.json\)"),
        (not_given, "--model.name classifier needs --model.encoder: the folder of a fine-tuned classifier"),
        (from_scratch, "--training.init scratch trains flat from a new model"),
    ],
)
def test_a_classifier_that_cannot_be_trained_is_one_sentence(
    change: Callable[[Config, Path], Config], message: str, data: datasets.Dataset, tmp_path: Path
) -> None:
    folder = save_bert(tmp_path / "model", data.train["text"].to_pylist()[:5])
    with pytest.raises(UserError, match=message) as caught:
        plan.resolve(change(config_of(folder), folder))
    assert "\n" not in str(caught.value)


def test_a_model_without_word_vectors_can_only_have_plain_training(data: datasets.Dataset, tmp_path: Path) -> None:
    tokenizer = byte_level_tokenizer(tmp_path, data.train["text"].to_pylist())
    settings = BartConfig(
        vocab_size=len(tokenizer), d_model=16, encoder_layers=1, decoder_layers=1, max_position_embeddings=34,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16,
        pad_token_id=1, bos_token_id=0, eos_token_id=2, decoder_start_token_id=2, **classes_of(data.label_names),
    )  # fmt: skip
    BartForSequenceClassification(settings).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    config = config_of(tmp_path)
    with pytest.raises(
        UserError, match=r"--training.kinds flat needs the word vectors of the model, but .* takes none"
    ):
        plan.resolve(config)
    plain = replace(config.training, kinds=("base", "adv"), adversaries="attack")
    evaluation = replace(config.evaluation, explain=())
    config = plan.resolve(replace(config, training=plain, evaluation=evaluation))
    assert config.data.max_length == 34
    checkpoint, _ = initial(config, data, masked=False)  # of a model that has one weight in several places
    again = saved(checkpoint, tmp_path / "ours")
    assert torch.equal(again.probabilities(TEXTS), checkpoint.probabilities(TEXTS))


def test_a_run_trains_no_base_of_its_own(folders: dict[str, Path], data: datasets.Dataset, tmp_path: Path) -> None:
    config = plan.resolve(config_of(folders["bert"]))
    stages = RunStages(config, data, Environment(Folder(tmp_path), NoTracker(), Display(quiet=True)))
    models = stages.first_models(("base", "adv", "flat"))
    assert [(name, model.model_name, model.label) for name, model in models.items()] == [
        (name, name, "base-0") for name in ("base", "adv", "flat")
    ]
    assert len({model.folder.uri for model in models.values()}) == 1
    found = open_checkpoint(models["flat"].folder)
    assert (found.model_name, found.round, found.fingerprint) == ("base", 0, models["base"].fingerprint)
    own = checkpoints.load(Folder(folders["bert"])).probabilities(TEXTS)
    again = checkpoints.load(found.folder).probabilities(TEXTS)
    assert again.numpy() == pytest.approx(own.numpy(), abs=1e-6)  # weights lie elsewhere, so the last bit may differ


def test_a_run_has_the_length_and_the_classes_of_the_classifier(
    folders: dict[str, Path], data: datasets.Dataset, tmp_path: Path
) -> None:
    config = plan.resolve(config_of(folders["bert"]))
    assert config.data.max_length == 40
    plan.check_classes(config, data)
    steps = plan.plan(config, data)
    assert f"take the classifier of {folders['bert']} as base, as it is" in steps
    assert not any("on clean data" in step for step in steps)
    other = save_bert(tmp_path / "other", data.train["text"].to_pylist()[:5], ("spam", "ham"))
    with pytest.raises(UserError, match="has the classes spam, ham, but"):
        plan.check_classes(config_of(other), data)
    for name in ("--training.epochs", "--data.max-length"):
        with pytest.raises(UserError, match=f"{name} has no effect with --model.name classifier"):
            check_effect(config, [name])
