import subprocess
import sys
from pathlib import Path

import pytest
import torch

from flat_dist.config.errors import UserError
from flat_dist.config.schema import ModelConfig
from flat_dist.data.batches import to_batch
from flat_dist.data.encoder import Encoder
from flat_dist.data.preprocessing import Vocabulary
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models.checkpoint import Checkpoint
from flat_dist.models.classifier import TextClassifier
from flat_dist.models.cnn import CNN, MaxPool
from flat_dist.models.vectors import initial_vectors
from flat_dist.storage.folder import Folder

SMALL = {"embedding_dim": 6, "kernels": 4, "hidden_size": 5, "mask_hidden_size": 7, "vectors": None}
KINDS = [("cnn", False), ("cnn", True), ("lstm", False), ("lstm", True)]


def build(name: str, masked: bool) -> tuple[ModelConfig, torch.nn.Module]:
    torch.manual_seed(1)
    config = ModelConfig(name=name, **SMALL)
    model = checkpoints.build(config, vocabulary_size=11, classes=3)
    if masked:
        checkpoints.add_mask(model, config)
    return config, model.eval()


@pytest.mark.parametrize(("name", "masked"), KINDS)
def test_logits_do_not_depend_on_padding_or_on_the_batch(name: str, masked: bool) -> None:
    _, model = build(name, masked)
    texts = [[2, 3, 4, 5, 6, 7], [8], [9, 10, 2, 3]]
    together = to_batch(texts)
    wide = torch.nn.functional.pad(together.ids_BT, (0, 9))
    for row, text in enumerate(texts):
        alone = model(*(getattr(to_batch([text]), name) for name in ("ids_BT", "real_BT"))).logits_BC[0]
        for ids in (together.ids_BT, wide):
            torch.testing.assert_close(model(ids, ids != 0).logits_BC[row], alone, rtol=0, atol=1e-6)


def test_cnn_features_are_the_largest_window_activations() -> None:
    _, model = build("cnn", masked=False)
    ids = torch.tensor([[2, 3, 4, 5]])
    words = model.embed(ids)[0]
    expected = []
    for convolution in model.convolutions:
        width = convolution.kernel_size[0]
        windows = [words[start : start + width] for start in range(max(4 - width + 1, 1))]
        padded = [torch.cat([window, window.new_zeros(width - len(window), 6)]) for window in windows]
        values = [torch.einsum("kdw,wd->k", convolution.weight, window) + convolution.bias for window in padded]
        expected.append(torch.stack(values).relu().amax(0))
    torch.testing.assert_close(model.features(words[None], ids != 0)[0], torch.cat(expected))


def test_lstm_features_are_the_largest_states_of_real_words() -> None:
    _, model = build("lstm", masked=False)
    ids = torch.tensor([[2, 3, 4, 0, 0]])
    states, _ = model.lstm(model.embed(torch.tensor([[2, 3, 4]])))
    torch.testing.assert_close(model.features(model.embed(ids), ids != 0), states.amax(1).tanh())


def test_importance_depends_only_on_the_word_and_needs_a_mask() -> None:
    _, model = build("cnn", masked=True)
    prediction = model(torch.tensor([[2, 3], [3, 2]]), torch.ones(2, 2, dtype=torch.bool))
    importance = prediction.log_odds_BT.sigmoid()
    torch.testing.assert_close(importance[0], importance[1].flip(0))
    positions = torch.tensor([[0, 1], [7, 3]])
    torch.testing.assert_close(importance, model.importance(torch.tensor([[2, 3], [3, 2]]), positions))
    unmasked = build("cnn", masked=False)[1]
    for needs_mask in (unmasked.padding_log_odds, lambda: unmasked.importance(torch.tensor([2]), torch.tensor([0]))):
        with pytest.raises(ValueError, match="no word mask"):
            needs_mask()


@pytest.mark.parametrize("name", ["cnn", "lstm"])
def test_masks_multiply_word_vectors(name: str) -> None:
    _, model = build(name, masked=True)
    ids, real = torch.tensor([[2, 3, 4, 5], [6, 7, 0, 0]]), torch.tensor([[True] * 4, [True, True, False, False]])
    vectors = model.embed(ids)
    selected = model.mask.importance(vectors)[..., None] * vectors
    expected = model.output(model.features(selected, real))
    torch.testing.assert_close(model(ids, real).logits_BC, expected)
    torch.testing.assert_close(model.classify(vectors, real), expected)


@pytest.mark.parametrize(("name", "masked"), KINDS)
def test_a_checkpoint_is_saved_and_loaded(name: str, masked: bool, tmp_path: Path) -> None:
    config, model = build(name, masked)
    vocabulary = Vocabulary.build([["good", "bad", "film"]], 0)
    model.embedding = torch.nn.Embedding(len(vocabulary), 6, padding_idx=0)
    saved = Checkpoint(model, config, Encoder(vocabulary, 4), ("negative", "neutral", "positive"))
    folder = Folder(tmp_path / "checkpoint")
    checkpoints.save(saved, folder)
    loaded = checkpoints.load(folder)
    texts = ["good film", "bad", "Good, good; unknown words are here"]
    assert torch.equal(saved.probabilities(texts), loaded.probabilities(texts))
    assert (loaded.config, loaded.encoder, loaded.label_names) == (config, saved.encoder, saved.label_names)
    assert sorted(folder.names()) == ["checkpoint.json", "model.safetensors"]
    before = checkpoints.fingerprint(folder)
    model.output.bias.data += 1
    checkpoints.save(saved, folder)
    assert checkpoints.fingerprint(folder) != before


def test_loading_a_folder_without_a_checkpoint_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no checkpoint"):
        checkpoints.load(Folder(tmp_path))


def test_probabilities_add_up_to_one_and_do_not_depend_on_batch_size() -> None:
    config, model = build("cnn", masked=True)
    vocabulary = Vocabulary.build([["a", "b", "c", "d", "e", "f", "g", "h", "i"]], 0)
    checkpoint = Checkpoint(model.train(), config, Encoder(vocabulary, 50), ("x", "y", "z"))
    texts = ["a b c", "d", "e f g h i a b", "h i"]
    scores = checkpoint.probabilities(texts)
    torch.testing.assert_close(scores.sum(1), torch.ones(4))
    torch.testing.assert_close(scores, checkpoint.probabilities(texts, batch_size=1))
    assert checkpoint.probabilities([]).shape == (0, 3)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", ["cnn", "lstm"])
def test_full_size_models_are_batch_invariant(name: str, masked: bool) -> None:
    torch.manual_seed(0)
    config = ModelConfig(name=name)
    vocabulary = Vocabulary.build([[f"w{number}" for number in range(300)]])
    model = checkpoints.build(config, len(vocabulary), 2)
    if masked:
        checkpoints.add_mask(model, config)
    checkpoint = Checkpoint(model.eval(), config, Encoder(vocabulary, 50), ("x", "y"))
    texts = [" ".join(f"w{n * 7 % 300}" for n in range(start, start + 1 + start % 30)) for start in range(90)]
    scores = checkpoint.probabilities(texts, batch_size=90)
    for size in (1, 2, 3, 13, 64):
        assert torch.equal(scores, checkpoint.probabilities(texts, batch_size=size))


def write_vectors(path: Path, *lines: str) -> str:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return str(path)


def test_vectors_of_a_file_are_used_and_others_are_random(tmp_path: Path) -> None:
    source = write_vectors(tmp_path / "v.txt", "2 3", "good 1 2 3", "other 4 5 6")
    config = ModelConfig(vectors=source, embedding_dim=3)
    vectors, found = initial_vectors(config, ["<pad>", "<unk>", "good", "rare"], seed=0)
    assert found == 1
    assert vectors[0].tolist() == [0, 0, 0]
    assert vectors[2].tolist() == [1, 2, 3]
    assert abs(vectors[[1, 3]]).max() <= 0.25
    again, _ = initial_vectors(config, ["<pad>", "<unk>", "good", "rare"], seed=0)
    assert (vectors == again).all()


@pytest.mark.parametrize(
    ("lines", "message"),
    [(["good 1 2"], "size 2, but --model.embedding-dim is 3"), (["good 1 2 x"], r"v.txt:1 is not a word followed")],
)
def test_wrong_vectors_are_refused(lines: list[str], message: str, tmp_path: Path) -> None:
    source = write_vectors(tmp_path / "v.txt", *lines)
    with pytest.raises(UserError, match=message):
        initial_vectors(ModelConfig(vectors=source, embedding_dim=3), ["<pad>", "<unk>", "good"], seed=0)


def test_missing_vectors_are_refused() -> None:
    with pytest.raises(UserError, match="not a file: give a file of word vectors, glove-6b-50d, or none"):
        initial_vectors(ModelConfig(vectors="nowhere.txt"), ["<pad>"], seed=0)


@pytest.mark.parametrize("masked", [False, True])
def test_variants_by_sums_equal_those_by_convolution(masked: bool) -> None:
    torch.manual_seed(0)
    config = ModelConfig(kernels=7, embedding_dim=6, mask_hidden_size=4)
    model = checkpoints.build(config, 30, 3)
    if masked:
        checkpoints.add_mask(model, config)
    model.eval()
    real_BT = torch.arange(9) < torch.tensor([9, 4, 2, 1]).unsqueeze(1)  # longer and shorter than kernels
    embedded_BTD = model.embed(torch.randint(2, 30, real_BT.shape) * real_BT).detach()
    factors_SBT = torch.rand(5, *real_BT.shape, requires_grad=True)
    ours, plain = (of.classify_scaled(model, embedded_BTD, real_BT, factors_SBT) for of in (CNN, TextClassifier))
    torch.testing.assert_close(ours, plain, atol=1e-6, rtol=0)
    ours, plain = (torch.autograd.grad(logits[..., 1].sum(), factors_SBT)[0] for logits in (ours, plain))
    torch.testing.assert_close(ours, plain, atol=1e-6, rtol=0)
    parts = [torch.randint(0, 9, (size + 1, size)) for size in (1, 2, 4, 8)]
    ours, plain = (of.classify_parts(model, embedded_BTD[0], parts) for of in (CNN, TextClassifier))
    assert ours.shape == (2 + 3 + 5 + 9, 3)
    torch.testing.assert_close(ours, plain, atol=1e-6, rtol=0)


def test_the_gradient_of_max_pool_equals_that_of_amax() -> None:
    torch.manual_seed(0)
    sums_BNSK = torch.randint(0, 3, (2, 5, 4, 3)).double().requires_grad_()  # many are equal
    gradient_BSK = torch.randn(2, 4, 3, dtype=torch.double)
    ours, plain = (
        torch.autograd.grad(largest(sums_BNSK), sums_BNSK, gradient_BSK)[0]
        for largest in (MaxPool.apply, lambda sums: sums.amax(1))
    )
    torch.testing.assert_close(ours, plain)


def test_a_model_of_whole_words_needs_no_transformers(victim: Folder) -> None:
    script = (
        "import sys\n"
        "from flat_dist.storage.folder import Folder\n"
        "from flat_dist.models import checkpoint\n"
        "import flat_dist.training.distributed\n"
        "scores = checkpoint.load(Folder(sys.argv[1])).probabilities(['a good film'])\n"
        "print(scores.shape, 'transformers' in sys.modules)"
    )
    output = subprocess.run([sys.executable, "-c", script, victim.uri], capture_output=True, text=True, check=True)
    assert output.stdout == "torch.Size([1, 2]) False\n"
