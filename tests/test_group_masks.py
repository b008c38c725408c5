"""Masks that groups of words share, against products and clusters made by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from flat_dist.config.errors import UserError
from flat_dist.config.schema import Config, DataConfig, ModelConfig, ObjectiveConfig
from flat_dist.data.batches import to_batch
from flat_dist.data.datasets import Dataset
from flat_dist.data.encoder import Encoder
from flat_dist.data.preprocessing import Vocabulary
from flat_dist.evaluation.integrated_gradients import integrated_gradients
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models import factory
from flat_dist.models.checkpoint import Checkpoint
from flat_dist.models.classifier import TextClassifier, WordClassifier
from flat_dist.models.cnn import CNN
from flat_dist.models.gradients import loss_gradient, mean_vectors
from flat_dist.models.word_groups import cluster
from flat_dist.resources.assets import Assets
from flat_dist.resources.synonyms import vectors_of
from flat_dist.resources.textattack_setup import activate
from flat_dist.storage.folder import Folder
from flat_dist.training.objective import Objective

WORDS = ["good", "fine", "bad", "awful", "film", "the"]
GROUPS = [0, 0, 1, 1, 2, 2, 0, 3]
"""Of padding, the unknown word, and `WORDS`; 0: none."""
MASKS = [0.5, 2.0, -1.0]
IDS = torch.tensor([[2, 3, 4, 5, 6, 7, 1], [4, 7, 2, 0, 0, 0, 0]])


def build(name: str, groups: int = 3, masks: list[float] | None = None) -> tuple[ModelConfig, WordClassifier]:
    torch.manual_seed(1)
    config = ModelConfig(name=name, embedding_dim=6, kernels=4, hidden_size=5, vectors=None, group_masks=groups)  # type: ignore[arg-type]
    model = checkpoints.build(config, len(GROUPS), 2)
    if model.groups is not None:
        model.groups.group_V.copy_(torch.tensor(GROUPS))
        if masks is not None:
            model.groups.values_G.data = torch.tensor(masks)
    return config, model.eval()


def by_hand(model: WordClassifier) -> WordClassifier:
    """The same model without groups, whose vectors are multiplied by the masks."""
    plain = build(model_name(model), groups=0)[1]
    plain.load_state_dict({name: value for name, value in model.state_dict().items() if "groups" not in name})
    with torch.no_grad():
        for row, group in enumerate(GROUPS):
            plain.embedding.weight[row] *= 1.0 if group == 0 else MASKS[group - 1]
    return plain


def model_name(model: WordClassifier) -> str:
    return "cnn" if isinstance(model, CNN) else "lstm"


def logits(model: TextClassifier) -> Tensor:
    return model(IDS, IDS != 0).logits_BC


def checkpoint_of(name: str) -> Checkpoint:
    config, model = build(name, masks=MASKS)
    return Checkpoint(model, config, Encoder(Vocabulary.from_json(["<pad>", "<unk>", *WORDS]), 9), ("neg", "pos"))


@pytest.mark.parametrize("name", ["cnn", "lstm"])
def test_masks_of_1_change_no_bit(name: str) -> None:
    assert torch.equal(logits(build(name)[1]), logits(build(name, groups=0)[1]))


@pytest.mark.parametrize("name", ["cnn", "lstm"])
def test_each_vector_is_multiplied_by_the_mask_of_its_group(name: str) -> None:
    model = build(name, masks=MASKS)[1]
    for row, group in enumerate(GROUPS):
        expected = model.embedding.weight[row] * (1.0 if group == 0 else MASKS[group - 1])
        assert torch.equal(model.embed(torch.tensor(row)), expected)
    assert torch.equal(logits(model), logits(by_hand(model)))
    assert not torch.equal(logits(model), logits(build(name)[1]))


def test_the_gradient_of_a_mask_is_that_of_its_words() -> None:
    model = build("cnn", masks=MASKS)[1]
    model.embeddings.requires_grad_(False)  # as in training with frozen vectors
    batch = to_batch([[2, 3, 4, 5, 6], [4, 7, 2]], np.array([0, 1]))
    terms = Objective(model, ObjectiveConfig(), 9)(batch, None)
    terms["loss"].backward()
    vectors_BTD = model.embedding(batch.ids_BT).requires_grad_()
    factors_BT = torch.tensor([1.0, *MASKS])[torch.tensor(GROUPS)[batch.ids_BT]].requires_grad_()
    found = model.classify(factors_BT.unsqueeze(-1) * vectors_BTD, batch.real_BT)
    torch.nn.functional.cross_entropy(found, batch.labels_B).backward()
    assert model.groups is not None and factors_BT.grad is not None and model.groups.values_G.grad is not None
    of_groups = [factors_BT.grad[torch.tensor(GROUPS)[batch.ids_BT] == group].sum() for group in (1, 2, 3)]
    torch.testing.assert_close(model.groups.values_G.grad, torch.stack(of_groups))
    assert model.groups.values_G.grad.abs().min() > 0
    assert model.embedding.weight.grad is None


@pytest.mark.parametrize("name", ["cnn", "lstm"])
@pytest.mark.usefixtures("one_thread")
def test_an_attack_and_explanations_see_the_masks(name: str, assets: Assets) -> None:
    activate(assets)
    from flat_dist.attack.victim import Victim

    checkpoint = checkpoint_of(name)
    texts = ["good fine bad", "the film is awful", "bad"]
    expected = by_hand(checkpoint.model)  # type: ignore[arg-type]
    ids = [checkpoint.encoder.encode(text) for text in texts]
    for text, encoded, row in zip(texts, ids, Victim(checkpoint)(texts), strict=True):
        batch = to_batch([encoded])
        torch.testing.assert_close(row, expected(batch.ids_BT, batch.real_BT).logits_BC[0].softmax(-1), msg=text)
    batch = to_batch(ids)
    explained = [integrated_gradients(model, batch.ids_BT, batch.real_BT, 20) for model in (checkpoint.model, expected)]
    torch.testing.assert_close(*(one.words for one in explained))
    # what the gradient chooses substitutes by
    labels = np.array([0, 1, 1])
    torch.testing.assert_close(loss_gradient(checkpoint.model, ids, labels), loss_gradient(expected, ids, labels))
    torch.testing.assert_close(mean_vectors(checkpoint.model, [(2, 5)]), mean_vectors(expected, [(2, 5)]))
    parts = [torch.tensor([[0, 2], [1, 2]]), torch.tensor([[0, 1, 2, 3]])]
    found, wanted = (
        model.classify_parts(model.embed(torch.tensor([2, 3, 5, 7])), parts) for model in (checkpoint.model, expected)
    )
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("name", ["cnn", "lstm"])
def test_a_checkpoint_has_the_groups_and_their_masks(name: str, tmp_path: Path) -> None:
    saved, folder = checkpoint_of(name), Folder(tmp_path)
    checkpoints.save(saved, folder)
    loaded = checkpoints.load(folder)
    assert loaded.config == saved.config and torch.equal(logits(loaded.model), logits(saved.model))
    tensors = load_tensors(folder.read(checkpoints.WEIGHTS))
    assert tensors["groups.group_V"].tolist() == GROUPS and tensors["groups.values_G"].tolist() == MASKS
    tensors["groups.group_V"][3] = 4
    described = folder.read_json(checkpoints.DESCRIPTION)
    folder.write_json(
        checkpoints.DESCRIPTION, described | {"weights": folder.write(checkpoints.WEIGHTS, save_tensors(tensors))}
    )
    with pytest.raises(UserError, match=r"groups.group_V has other groups than 0 to 3"):
        checkpoints.load(folder)


def test_a_checkpoint_without_groups_says_nothing_of_them(victim: Folder) -> None:
    described = victim.read_json(checkpoints.DESCRIPTION)
    assert "group_masks" not in described["model"] and checkpoints.load(victim).config.group_masks == 0


def test_near_directions_are_one_group() -> None:
    directions = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    generator, of = np.random.default_rng(0), np.arange(30) % 3
    lengths = generator.uniform(0.1, 9.0, (30, 1))  # the length of a vector does not count
    vectors_ND = lengths * (directions[of] + generator.normal(0, 0.05, (30, 3)))
    found = cluster(vectors_ND, 3, seed=5)
    assert sorted(set(found)) == [1, 2, 3] and len({(one, other) for one, other in zip(found, of, strict=True)}) == 3
    np.testing.assert_array_equal(found, cluster(vectors_ND, 3, seed=5))


def dataset() -> Dataset:
    texts = ["a good fine film", "a bad awful film with a story", "xqzzy great nice movie"]
    rows = pa.table({"text": texts, "label": [1, 0, 1], "example_id": ["a", "b", "c"]})
    return Dataset(rows, rows, rows, ("negative", "positive"), "made up")


def test_the_initial_model_groups_the_words_that_have_a_counter_fitted_vector(assets: Assets) -> None:
    config = Config(data=DataConfig(), model=ModelConfig(group_masks=3))
    made, said = factory.initial(config, dataset(), masked=False)
    words = made.encoder.vocabulary.words  # type: ignore[union-attr]
    rows, _ = vectors_of(words, "counterfit", assets)
    assert [words[row] for row in rows] == [word for word in words if word not in ("<pad>", "<unk>", "xqzzy")]
    groups_V = made.model.groups.group_V  # type: ignore[union-attr, operator]
    assert groups_V.nonzero().flatten().tolist() == rows and set(groups_V[rows].tolist()) == {1, 2, 3}
    assert f"{len(rows)} words in 3 groups, by GloVe 6B 50d counter-fitted to WordNet 3.0" in said
    again, _ = factory.initial(config, dataset(), masked=False)
    assert torch.equal(again.model.groups.group_V, groups_V)  # type: ignore[union-attr, arg-type]
    plain, _ = factory.initial(replace(config, model=ModelConfig()), dataset(), masked=False)
    texts = ["a good film", "bad story"]
    assert torch.equal(made.probabilities(texts), plain.probabilities(texts))


def test_more_groups_than_words_with_a_vector_are_refused(tmp_path: Path) -> None:
    config = Config(model=ModelConfig(group_masks=50))
    with pytest.raises(UserError, match=r"--model.group-masks is 50, but only \d+ words of the training texts have"):
        factory.initial(config, dataset(), masked=False)
    table = tmp_path / "table.json"
    table.write_text('{"good": ["fine"]}')
    own = replace(config, model=ModelConfig(group_masks=2), attack=replace(config.attack, synonyms=str(table)))
    with pytest.raises(UserError, match="only 0 words of the training texts"):
        factory.initial(own, dataset(), masked=False)
