import json
from pathlib import Path

import numpy as np
import pytest
import torch

from flat_dist.config import Config, ModelConfig, ObjectiveConfig, TrainingConfig
from flat_dist.data.batches import Examples
from flat_dist.data.storage import Folder
from flat_dist.models import checkpoint as checkpoints
from flat_dist.training.loop import Loop, TrainingData, accuracy, plan_epoch

MODEL = ModelConfig(embedding_dim=8, kernels=6, hidden_size=7, mask_hidden_size=5, vectors=None)
LOSSES = Path(__file__).parent / "losses.json"


def make_data(pairs: bool = True) -> TrainingData:
    """Texts of words 2 to 21, positive when they hold more high words than low ones; adversaries swap one word."""
    generator = np.random.default_rng(0)

    def draw(count: int) -> Examples:
        ids = [generator.integers(2, 22, size=generator.integers(3, 9)).tolist() for _ in range(count)]
        return Examples(tuple(ids), np.array([int(np.mean(text) > 11.5) for text in ids]))

    clean, dev = draw(150), draw(60)
    perturbed = [[*text[:-1], 23 - text[-1]] for text in clean.ids[:70]]
    swaps = tuple((([text[-1]], [23 - text[-1]]),) for text in clean.ids[:70])
    adversarial = Examples(tuple(perturbed), clean.labels[:70], swaps)
    return TrainingData(clean, adversarial if pairs else None, dev)


def make_loop(kind: str, model_name: str = "cnn", pairs: bool = True, **training: object) -> Loop:
    config = Config(
        model=MODEL,
        objective=ObjectiveConfig(beta=0.1, gamma=0.5),
        training=TrainingConfig(batch_size=16, **training),
    )
    torch.manual_seed(2)
    architecture = ModelConfig(**{**MODEL.__dict__, "name": model_name})
    model = checkpoints.build(architecture, vocabulary_size=22, classes=2, masked=kind == "flat")
    return Loop(model, make_data(pairs), config, "test", learning_rate=0.01)


def run(loop: Loop, epochs: int) -> list[float]:
    losses: list[float] = []
    loop.run(epochs, lambda _, metrics: losses.append(metrics["loss"]))
    return losses


@pytest.mark.parametrize("weighting", ["balanced", "union"])
def test_an_epoch_sees_every_clean_example_once(weighting: str) -> None:
    config = Config(objective=ObjectiveConfig(weighting=weighting), training=TrainingConfig(batch_size=8))
    steps = plan_epoch(50, 30, config, seed=4)
    assert sorted(np.concatenate([clean for clean, _ in steps]).tolist()) == list(range(50))
    adversarial = np.concatenate([indices for _, indices in steps])
    if weighting == "union":
        assert sorted(adversarial.tolist()) == list(range(30))
        assert all(len(clean) + len(other) <= 8 for clean, other in steps)
    else:
        assert [len(other) for _, other in steps] == [len(clean) for clean, _ in steps]
        assert np.bincount(adversarial, minlength=30).min() >= 1  # all once before any comes twice
        assert np.bincount(adversarial, minlength=30).max() <= 2


def test_plans_depend_on_the_seed_alone_and_clean_epochs_have_no_adversaries() -> None:
    config = Config(training=TrainingConfig(batch_size=8))
    first, again, other = (plan_epoch(20, 0, config, seed) for seed in (1, 1, 2))
    assert all((a == b).all() for (a, _), (b, _) in zip(first, again, strict=True))
    assert any((a != b).any() for (a, _), (b, _) in zip(first, other, strict=True))
    assert all(len(indices) == 0 for _, indices in first)


@pytest.mark.parametrize("kind", ["base", "adv", "flat"])
@pytest.mark.parametrize("model_name", ["cnn", "lstm"])
def test_training_reproduces_the_losses_on_record(kind: str, model_name: str) -> None:
    losses = run(make_loop(kind, model_name, pairs=kind != "base"), 3)
    recorded = json.loads(LOSSES.read_text())[f"{model_name}-{kind}"]
    assert losses == pytest.approx(recorded, rel=1e-4)


@pytest.mark.parametrize("kind", ["adv", "flat"])
def test_the_model_learns(kind: str) -> None:
    loop = make_loop(kind)
    before = accuracy(loop.model, loop.data.dev)
    run(loop, 25)
    assert max(loop.state.best_accuracy, before) == loop.state.best_accuracy >= 0.8


@pytest.mark.parametrize("kind", ["adv", "flat"])
def test_a_loop_restored_after_an_epoch_goes_on_as_if_nothing_had_happened(kind: str, tmp_path: Path) -> None:
    whole = make_loop(kind)
    losses = run(whole, 4)
    first = make_loop(kind)
    run(first, 2)
    first.save(Folder(tmp_path))
    second = make_loop(kind)
    second.restore(Folder(tmp_path))
    assert run(second, 4) == losses[2:]
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name])
    assert second.state.history == whole.state.history
    assert all(torch.equal(value, second.state.best_weights[name]) for name, value in whole.state.best_weights.items())


def test_the_best_epoch_on_dev_is_kept_or_the_last() -> None:
    loop = make_loop("adv")
    run(loop, 6)
    accuracies = [metrics["dev_accuracy"] for metrics in loop.state.history]
    assert loop.state.best_accuracy == max(accuracies)
    assert loop.state.best_epoch == accuracies.index(max(accuracies)) + 1
    last = make_loop("adv", select="last")
    run(last, 3)
    assert last.state.best_epoch == 3
    assert all(torch.equal(value, last.model.state_dict()[name]) for name, value in last.state.best_weights.items())


def test_the_gradient_is_clipped() -> None:
    loop = make_loop("adv", clip=1e-3)

    def enlarge(parameter: torch.Tensor) -> None:
        parameter.grad.mul_(1e6)

    for parameter in loop.parameters:
        parameter.register_post_accumulate_grad_hook(enlarge)
    loop.run(1, lambda *_: None)
    norm = torch.cat([parameter.grad.flatten() for parameter in loop.parameters]).norm()
    assert norm.item() == pytest.approx(1e-3, rel=1e-3)


def test_frozen_embeddings_stay_and_are_not_optimised() -> None:
    loop = make_loop("flat")
    loop.model.embedding.weight.requires_grad_(False)
    frozen = Loop(loop.model, loop.data, loop.config, "test", 0.01)
    before = loop.model.embedding.weight.clone()
    run(frozen, 1)
    assert torch.equal(before, loop.model.embedding.weight)
