import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from flat_dist.config.schema import Config, ModelConfig, ObjectiveConfig, TrainingConfig
from flat_dist.data.batches import Examples
from flat_dist.models import checkpoint as checkpoints
from flat_dist.storage.folder import Folder
from flat_dist.training.batching import plan_epoch
from flat_dist.training.loop import DivergenceError, Loop, TrainingData, accuracy
from flat_dist.training.optimizer import make_optimizer, rate_factor

pytestmark = pytest.mark.usefixtures("one_thread")  # of models this small more threads make hard work

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
    swaps = tuple(((([text[-1]], len(text) - 1), ([23 - text[-1]], len(text) - 1)),) for text in clean.ids[:70])
    adversarial = Examples(tuple(perturbed), clean.labels[:70], swaps)
    return TrainingData(clean, adversarial if pairs else None, dev)


def make_loop(
    kind: str,
    model_name: str = "cnn",
    pairs: bool = True,
    model: ModelConfig = MODEL,
    weighting: str = "balanced",
    **training: object,
) -> Loop:
    architecture = replace(model, name=model_name)
    config = Config(
        model=architecture,
        objective=ObjectiveConfig(beta=0.1, gamma=0.5, weighting=weighting),
        training=TrainingConfig(batch_size=16, **training),
    )
    torch.manual_seed(2)
    network = checkpoints.build(architecture, vocabulary_size=22, classes=2)
    if kind == "flat":
        checkpoints.add_mask(network, architecture)
    return Loop(network, make_data(pairs), config, "test", learning_rate=0.01)


def run(loop: Loop, epochs: int) -> list[float]:
    losses: list[float] = []
    loop.run(epochs, lambda _, metrics: losses.append(metrics["loss"]))
    return losses


@pytest.mark.parametrize("buckets", [1, 3])
@pytest.mark.parametrize("weighting", ["balanced", "union"])
def test_an_epoch_sees_every_clean_example_once(weighting: str, buckets: int) -> None:
    training = TrainingConfig(batch_size=8, buckets=buckets)
    config = Config(objective=ObjectiveConfig(weighting=weighting), training=training)
    steps = plan_epoch(np.arange(50), np.arange(30), config, seed=4)
    assert sorted(np.concatenate([step.clean for step in steps]).tolist()) == list(range(50))
    adversarial = np.concatenate([step.attacked for step in steps])
    if weighting == "union":
        assert sorted(adversarial.tolist()) == list(range(30))
        assert all(len(step.clean) + len(step.attacked) <= 8 for step in steps)
    else:
        assert [len(step.attacked) for step in steps] == [len(step.clean) for step in steps]
        assert np.bincount(adversarial, minlength=30).min() >= 1  # all once before any comes twice
        assert np.bincount(adversarial, minlength=30).max() <= 2


@pytest.mark.parametrize("buckets", [1, 2])
def test_plans_depend_on_the_seed_alone_and_clean_epochs_have_no_adversaries(buckets: int) -> None:
    config = Config(training=TrainingConfig(batch_size=8, buckets=buckets))
    lengths, nothing = np.arange(20), np.empty(0, int)
    first, again, other = (plan_epoch(lengths, nothing, config, seed) for seed in (1, 1, 2))
    assert all((a.clean == b.clean).all() for a, b in zip(first, again, strict=True))
    assert any((a.clean != b.clean).any() for a, b in zip(first, other, strict=True))
    assert all(len(step.attacked) == len(step.twins) == 0 for step in first)


def padding(lengths: np.ndarray, batches: list[np.ndarray]) -> int:
    return sum(int(lengths[batch].max() * len(batch) - lengths[batch].sum()) for batch in batches if len(batch))


# Of 128 texts sorted into eight batches each batch spans an eighth of their lengths. Where adversaries are few and come
# again and again, the end of one order and the beginning of the next share batches.
@pytest.mark.parametrize(("adversaries", "saved"), [(400, 5), (150, 2)])
@pytest.mark.parametrize("weighting", ["balanced", "union"])
def test_texts_of_a_batch_are_of_similar_length_with_buckets(weighting: str, adversaries: int, saved: int) -> None:
    generator = np.random.default_rng(0)
    clean, adversarial = generator.integers(5, 100, 400), generator.integers(5, 100, adversaries)
    wasted = []
    for buckets in (1, 8):
        training = TrainingConfig(batch_size=16, buckets=buckets)
        config = Config(objective=ObjectiveConfig(weighting=weighting), training=training)
        steps = plan_epoch(clean, adversarial, config, seed=3)
        wasted.append(
            (padding(clean, [step.clean for step in steps]), padding(adversarial, [step.attacked for step in steps]))
        )
    (plain_clean, plain_adversarial), (sorted_clean, sorted_adversarial) = wasted
    assert sorted_clean < plain_clean / 5
    assert sorted_adversarial < plain_adversarial / saved
    longest = [int(clean[step.clean].max()) for step in steps[:8] if len(step.clean)]
    assert longest != sorted(longest)


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


def test_training_that_diverges_ends_at_once_and_says_so() -> None:
    loop = make_loop("flat")
    seen: list[dict[str, float]] = []
    loop.run(1, lambda _, metrics: seen.append(metrics))
    loop.optimizer.param_groups[0]["initial_lr"] = 1e30
    message = r"training of test diverged in epoch 2 \(.*loss is (nan|inf).*--training.round-clip"
    with pytest.raises(DivergenceError, match=message):
        loop.run(3, lambda _, metrics: seen.append(metrics))
    assert len(seen) == len(loop.state.history) == 1


def test_a_weight_that_the_last_step_broke_is_divergence_too() -> None:
    loop = make_loop("flat")
    loop.parameters[0].data[0] = torch.inf
    with pytest.raises(DivergenceError, match=r"in epoch 1 \(a weight is not finite\)"):
        loop._check_finite({"loss": 0.5})


def test_frozen_embeddings_stay_and_are_not_optimised() -> None:
    loop = make_loop("flat")
    loop.model.embedding.weight.requires_grad_(False)
    frozen = Loop(loop.model, loop.data, loop.config, "test", 0.01)
    before = loop.model.embedding.weight.clone()
    run(frozen, 1)
    assert torch.equal(before, loop.model.embedding.weight)


@pytest.mark.parametrize("weighting", ["balanced", "union"])
@pytest.mark.parametrize("kind", ["adv", "flat"])
@pytest.mark.parametrize("model_name", ["cnn", "lstm"])
def test_a_batch_in_parts_is_the_whole_batch(model_name: str, kind: str, weighting: str) -> None:
    still = replace(MODEL, dropout=0.0, sample_masks=False)
    # 16 texts in parts of at most 5, and the last step's few in parts of which some have no text of one kind.
    whole, parts = (make_loop(kind, model_name, model=still, weighting=weighting, micro_batch=size) for size in (0, 5))
    calls = []
    parts.objective.register_forward_hook(lambda module, inputs, output: calls.append(inputs))
    assert run(parts, 2) == pytest.approx(run(whole, 2), rel=1e-5)
    for name, value in whole.model.state_dict().items():
        torch.testing.assert_close(parts.model.state_dict()[name], value, rtol=0, atol=1e-5)
    sizes = [max(len(batch.labels_B) for batch in batches if batch) for batches in calls]
    assert max(sizes) <= 5
    for metrics, others in zip(whole.state.history, parts.state.history, strict=True):
        assert metrics == pytest.approx(others, rel=1e-4)


@pytest.mark.parametrize(
    ("schedule", "warmup", "expected"),
    [
        ("constant", 0.0, [1, 1, 1, 1, 1]),
        ("constant", 0.4, [1 / 3, 2 / 3, 1, 1, 1]),
        ("linear", 0.0, [1, 4 / 5, 3 / 5, 2 / 5, 1 / 5]),
        ("linear", 0.4, [1 / 3, 2 / 3, 1, 2 / 3, 1 / 3]),
    ],
)
def test_the_rate_rises_and_falls_in_straight_lines(schedule: str, warmup: float, expected: list[float]) -> None:
    config = TrainingConfig(schedule=schedule, warmup=warmup)
    assert [rate_factor(step, 5, config) for step in range(5)] == pytest.approx(expected)
    assert rate_factor(5, 5, config) == (0 if schedule == "linear" else 1)


def record_rates(loop: Loop) -> list[float]:
    rates: list[float] = []
    loop.optimizer.register_step_pre_hook(
        lambda optimizer, *_: rates.extend({group["lr"] for group in optimizer.param_groups})
    )
    return rates


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_the_schedule_extends_over_the_steps_of_a_stage_also_after_a_restart(optimizer: str, tmp_path: Path) -> None:
    schedule = {"optimizer": optimizer, "schedule": "linear", "warmup": 0.1, "weight_decay": 0.01}
    whole, second = make_loop("flat", **schedule), make_loop("flat", **schedule)
    rates, later_rates = record_rates(whole), record_rates(second)
    whole.run(3, lambda loop, metrics: loop.save(Folder(tmp_path)) if metrics["epoch"] == 1 else None)
    # Ten steps an epoch, 30 in all: three of warm-up, then 27 down to 0, which step 31 would have.
    rising = [0.01 * number / 4 for number in (1, 2, 3)]
    assert rates == pytest.approx(rising + [0.01 * left / 27 for left in range(27, 0, -1)])
    second.restore(Folder(tmp_path))
    run(second, 3)
    assert later_rates == rates[10:]
    assert second.state.history == whole.state.history
    assert all(torch.equal(value, second.model.state_dict()[name]) for name, value in whole.model.state_dict().items())


def test_weight_decay_spares_biases_and_normalisation() -> None:
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 3))
    model[3].requires_grad_(False)
    names = {parameter: name for name, parameter in model.named_parameters()}

    def groups(optimizer: torch.optim.Optimizer) -> list[tuple[float, list[str]]]:
        assert all(group["lr"] == 0.02 for group in optimizer.param_groups)
        return [
            (group["weight_decay"], sorted(names[one] for one in group["params"])) for group in optimizer.param_groups
        ]

    adamw = make_optimizer(model, TrainingConfig(optimizer="adamw", weight_decay=0.3), 0.02)
    assert isinstance(adamw, torch.optim.AdamW)
    assert groups(adamw) == [(0.3, ["0.weight", "1.weight"]), (0.0, ["1.bias", "2.bias", "2.weight"])]
    adam = make_optimizer(model, TrainingConfig(optimizer="adam", weight_decay=0.3), 0.02)
    assert type(adam) is torch.optim.Adam
    assert groups(adam) == [(0, ["0.weight", "1.bias", "1.weight", "2.bias", "2.weight"])]


@pytest.mark.parametrize("model_name", ["cnn", "lstm"])
def test_bfloat16_trains_with_importance_in_float32(model_name: str) -> None:
    still = replace(MODEL, dropout=0.0, sample_masks=False)
    losses = run(make_loop("flat", model_name, model=still), 2)
    loop = make_loop("flat", model_name, model=still, precision="bfloat16")
    seen: dict[str, set[torch.dtype]] = {"logits": set(), "importance": set()}
    hooks = [
        module.register_forward_hook(lambda module, inputs, output, name=name: seen[name].add(output.dtype))
        for name, module in (("logits", loop.model.output), ("importance", loop.model.mask.network))
    ]
    loop.objective.train()
    loop.train_epoch(2)
    assert seen == {"logits": {torch.bfloat16}, "importance": {torch.float32}}
    for hook in hooks:
        hook.remove()
    again = run(make_loop("flat", model_name, model=still, precision="bfloat16"), 2)
    assert again == pytest.approx(losses, rel=0.02)
    assert again != losses
    assert all(parameter.dtype == torch.float32 for parameter in loop.parameters)


def test_the_mask_may_have_a_rate_of_its_own_under_the_same_schedule() -> None:
    loop = make_loop("flat", mask_learning_rate=0.5, schedule="linear")
    groups = {group["initial_lr"]: group for group in loop.optimizer.param_groups}
    assert sorted(groups) == [0.01, 0.5]
    assert {id(one) for one in groups[0.5]["params"]} == {id(one) for one in loop.model.mask.parameters()}
    run(loop, 1)
    assert groups[0.5]["lr"] / groups[0.01]["lr"] == pytest.approx(50)
    assert groups[0.01]["lr"] == pytest.approx(0.01 / 10)  # the last of ten steps
