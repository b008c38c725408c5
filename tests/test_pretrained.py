"""Fine-tuned classifiers of Hugging Face, attacked and evaluated as they are."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertConfig, BertModel, pipeline

from flat_dist.config.errors import UserError
from flat_dist.data import datasets
from flat_dist.data.batches import to_batch
from flat_dist.evaluation.integrated_gradients import integrated_gradients
from flat_dist.evaluation.predict import predict
from flat_dist.models import checkpoint as checkpoints
from flat_dist.storage.folder import Folder
from tests.own_models import save_bert, save_roberta

TEXTS = ["A fine film.", "a  bad,BAD film", "it is not good", "", "word " * 60, "naïve \t café", "n't it's"]


@pytest.fixture(scope="module")
def texts(sentences: datasets.Dataset) -> list[str]:
    return sentences.test["text"].to_pylist()[:300]


@pytest.fixture(scope="module")
def bert(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_bert(tmp_path_factory.mktemp("bert"), texts)


@pytest.fixture(scope="module")
def roberta(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_roberta(tmp_path_factory.mktemp("roberta"), texts)


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_predictions_are_those_of_the_librarys_own_pipeline(
    kind: str, texts: list[str], request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(kind)
    classify = pipeline("text-classification", model=str(folder), tokenizer=str(folder), device="cpu", top_k=None)
    checkpoint = checkpoints.load(Folder(folder))
    asked = [*TEXTS, *texts[:20]]
    longest = checkpoint.encoder.max_length
    assert longest == {"bert": 40, "roberta": 32}[kind]
    expected = [
        {one["label"]: one["score"] for one in classify([text], truncation=True, max_length=longest)[0]}
        for text in asked
    ]
    found = [prediction["probabilities"] for prediction in predict(checkpoint, asked)]
    for text, own, theirs in zip(asked, found, expected, strict=True):
        assert own == pytest.approx(theirs, abs=1e-5), text
    assert len({max(one, key=one.__getitem__) for one in found}) > 1  # not the same class for all


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_each_word_has_the_pieces_that_its_characters_became(kind: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(kind)
    encoder = checkpoints.load(Folder(folder)).encoder
    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = "it is n't goodness , ünlike films ."
    ids, spans = encoder.encode(text), encoder.spans(text)
    assert encoder.words(text) == text.split()
    assert (spans[0][0], spans[-1][1]) == (1, len(ids) - 1)
    for word, (start, end) in zip(text.split(), spans, strict=True):
        read = tokenizer.decode(list(ids[start:end])).strip().replace(" ", "")
        assert read == word or (kind == "bert" and "ü" in word), word


def test_a_word_that_does_not_fit_is_not_among_the_words_that_are_read(bert: Path) -> None:
    encoder = checkpoints.load(Folder(bert)).encoder
    text = " ".join(["film"] * 60)
    assert len(encoder.encode(text)) == 40
    assert encoder.words(text) == ["film"] * 38
    assert encoder.spans("") == [] and encoder.words("") == []


def test_integrated_gradients_add_up_to_the_change_of_the_probability(bert: Path) -> None:
    checkpoint = checkpoints.load(Folder(bert))
    batch = to_batch([checkpoint.encoder.encode("it is a good film .")])
    found = integrated_gradients(checkpoint.model, batch.ids_BT, batch.real_BT, 200)
    embedded = checkpoint.model.embed(batch.ids_BT)
    baseline = embedded.clone()
    baseline[:, 1:-1] = 0
    with torch.no_grad():
        change = checkpoint.model(batch.ids_BT, batch.real_BT).logits_BC.softmax(-1) - checkpoint.model.classify(
            baseline, batch.real_BT
        ).softmax(-1)
    assert found.words.sum(2).numpy() == pytest.approx(change.numpy(), abs=5e-3)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_the_engine_finds_what_textattack_finds_on_its_own_wrapper(
    bert: Path, sentences: datasets.Dataset, assets: object
) -> None:
    from flat_dist.resources import textattack_setup

    textattack_setup.activate(assets)
    from textattack.models.wrappers import ModelWrapper

    from flat_dist.attack import recipes
    from flat_dist.attack.engine.from_textattack import build_engine
    from flat_dist.attack.engine.profile import Profile
    from flat_dist.attack.limits import Limits
    from flat_dist.attack.records import attack_examples, attack_with_textattack
    from flat_dist.attack.victim import Victim
    from flat_dist.data.shards import Example

    checkpoint = checkpoints.load(Folder(bert))
    rows = datasets.sample(sentences.test, 20, seed=5)
    labels = checkpoint.probabilities(rows["text"].to_pylist()).argmax(1).tolist()  # so that each one is attacked
    examples = [
        Example(row["example_id"], row["text"], label) for row, label in zip(rows.to_pylist(), labels, strict=True)
    ]
    resources = recipes.LinguisticResources(assets, "counterfitted-glove", "cpu", 2**16)
    stock = recipes.build("pwws", Victim(checkpoint), resources)
    found = attack_examples(build_engine(stock, Limits(8, 32, 2**16), Profile()), stock, examples, seed=3)

    class OneByOne(ModelWrapper):
        """As TextAttack's HuggingFaceModelWrapper, but without padding, which changes the last digits."""

        model = AutoModelForSequenceClassification.from_pretrained(bert).eval()
        tokenizer = AutoTokenizer.from_pretrained(bert)

        @torch.no_grad()
        def __call__(self, texts: list[str]) -> torch.Tensor:
            asked = [self.tokenizer(text, truncation=True, return_tensors="pt") for text in texts]
            return torch.cat([self.model(**one).logits.softmax(-1) for one in asked])

    stock.goal_function.model = OneByOne()
    expected = [attack_with_textattack(stock, each, 3, Limits(1, 1, 1)) for each in examples]
    assert found == expected
    assert {"successful", "failed"} >= {one.status for one in found} and any(one.swaps for one in found)


def as_pickle(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")


def without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def changed(**values: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        settings = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(settings | values))

    return change


def encoder_only(folder: Path) -> None:
    BertModel(BertConfig(vocab_size=10, hidden_size=8, num_attention_heads=2, num_hidden_layers=1)).save_pretrained(
        folder
    )


def without_head(folder: Path) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    weights = {name: one for name, one in model.state_dict().items() if not name.startswith("classifier")}
    model.save_pretrained(folder, state_dict=weights)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (as_pickle, r"in pytorch_model.bin, which can run code and is never read.*model.save_pretrained\(FOLDER\)"),
        (without_weights, "has no weights: save the model there"),
        (encoder_only, "holds a BertModel, which does not classify texts"),
        (without_head, "lacks 2 of the classifier's weights, such as classifier"),
        (changed(id2label={"0": "x"}), "is a model for regression"),
        (changed(problem_type="multi_label_classification"), "is a model for multi_label_classification"),
        (changed(id2label={"0": "x", "1": "x"}), "must have different names, not x, x"),
        (changed(id2label={"0": "x", "2": "y"}), "id2label must name the classes 0, 1"),
        (
            changed(id2label={"0": "x", "1": "y", "2": "z"}),
            "cannot load the classifier .*save the model and its tokenizer there again",
        ),
        (changed(auto_map={"AutoModel": "code.Model"}), "asks for code or kernels of its own .auto_map."),
    ],
)
def test_a_folder_that_cannot_be_used_is_one_sentence(
    harm: Callable[[Path], None], message: str, texts: list[str], tmp_path: Path
) -> None:
    folder = save_bert(tmp_path / "model", texts[:5])
    (folder / "code.py").write_text("raise SystemExit('code of a model was run')")
    harm(folder)
    with pytest.raises(UserError, match=message) as caught:
        checkpoints.fingerprint(Folder(folder))
        checkpoints.load(Folder(folder))
    assert "\n" not in str(caught.value)


def test_other_weights_have_another_fingerprint_and_classes_are_compared(
    bert: Path, texts: list[str], sentences: datasets.Dataset, tmp_path: Path
) -> None:
    folder = Folder(bert)
    assert checkpoints.describe(folder)["label_names"] == ["NEGATIVE", "POSITIVE"]
    assert checkpoints.describe(folder)["architecture"] == "BertForSequenceClassification"
    other = Folder(save_bert(tmp_path / "other", texts, names=("positive", "negative")))
    assert checkpoints.fingerprint(folder) != checkpoints.fingerprint(other)
    datasets.check_classes(sentences, checkpoints.load(folder).label_names, folder.uri)  # case does not count
    with pytest.raises(UserError, match=r"has the classes positive, negative, but .* has negative, positive"):
        datasets.check_classes(sentences, checkpoints.load(other).label_names, other.uri)


@pytest.mark.usefixtures("one_thread")
def test_a_text_has_the_same_scores_in_any_batch(bert: Path, texts: list[str]) -> None:
    checkpoint = checkpoints.load(Folder(bert))
    together = checkpoint.probabilities(texts[:12])
    alone = torch.cat([checkpoint.probabilities([text]) for text in texts[:12]])
    assert torch.equal(together, alone)
    rows = pa.table({"text": texts[:12]})["text"].to_pylist()
    assert np.isfinite(checkpoint.predict_margins([checkpoint.encoder.encode(row) for row in rows]).numpy()).all()
