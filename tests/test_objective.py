import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from flat_dist.config.schema import ModelConfig, ObjectiveConfig
from flat_dist.data.batches import Batch, Examples
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models.classifier import TextClassifier
from flat_dist.training.objective import Objective, cross_entropy, divergence, importance_difference, mask_entropy

MODEL = ModelConfig(embedding_dim=2, kernels=2, kernel_widths=(1,), mask_hidden_size=2, dropout=0.0, vectors=None)


class KnownMask(nn.Module):
    """phi(word) = sigmoid(weight * first component); the mask itself is all ones."""

    def __init__(self, weight: float):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))

    def log_odds(self, embedded: Tensor) -> Tensor:
        return self.weight * embedded[..., 0]

    def importance(self, embedded: Tensor) -> Tensor:
        return self.log_odds(embedded).sigmoid()

    def forward(self, embedded: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones_like(embedded[..., 0]), self.log_odds(embedded)


def make_model(mask: nn.Module | None = None) -> TextClassifier:
    torch.manual_seed(3)
    model = checkpoints.build(MODEL, vocabulary_size=8, classes=2)
    model.mask = mask
    return model


CLEAN = Examples(([2, 3, 4], [5, 6]), np.array([0, 1]))
ADVERSARIAL = Examples(
    ([2, 7, 4], [7, 6], [3]), np.array([0, 1, 1]), (((([3], 1), ([7], 1)),), ((([5], 0), ([7], 0)),), ())
)


def batches() -> tuple[Batch, Batch]:
    return CLEAN.batch([0, 1]), ADVERSARIAL.batch([0, 1, 2])


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def entropy(p: float) -> float:
    return -p * math.log(p) - (1 - p) * math.log(1 - p)


def test_cross_entropy_by_hand_and_the_floor_of_the_double_softmax() -> None:
    logits, labels = torch.tensor([[0.0, math.log(3)], [100.0, -100.0]]), torch.tensor([1, 0])
    torch.testing.assert_close(cross_entropy(logits, labels), torch.tensor([-math.log(0.75), 0.0]))
    # Even a certain and right prediction costs ln(1 + 1/e) = 0.313 there (paper/reference-code, row 9).
    assert cross_entropy(logits, labels, double_softmax=True)[1].item() == pytest.approx(math.log(1 + math.exp(-1)))


def test_entropy_reductions_by_hand() -> None:
    importance = torch.tensor([[0.5, 0.25, 0.9], [0.1, 0.6, 0.6]])
    real = torch.tensor([[True, True, True], [True, False, False]])

    def value(reduction: str) -> list[float]:
        return mask_entropy(importance.logit(), real, reduction, 10, torch.tensor(0.6).logit).tolist()

    sums = [entropy(0.5) + entropy(0.25) + entropy(0.9), entropy(0.1)]
    assert value("sum") == pytest.approx(sums)
    assert value("mean") == pytest.approx([sums[0] / 3, sums[1]])
    assert value("padded_mean") == pytest.approx([(sums[0] + 7 * entropy(0.6)) / 10, (sums[1] + 9 * entropy(0.6)) / 10])


def test_importance_difference_and_its_gradient_by_hand() -> None:
    model = make_model(KnownMask(1.0))
    x = model.embedding.weight[:, 0].tolist()
    difference = importance_difference(model, ADVERSARIAL.batch([0, 1, 2]).swaps)
    expected = [abs(sigmoid(x[3]) - sigmoid(x[7])), abs(sigmoid(x[5]) - sigmoid(x[7]))]
    assert difference.tolist() == pytest.approx(expected)
    difference.sum().backward()

    def slope(word: int) -> float:  # d phi / d weight
        return sigmoid(x[word]) * (1 - sigmoid(x[word])) * x[word]

    signs = [math.copysign(1, sigmoid(x[word]) - sigmoid(x[7])) for word in (3, 5)]
    by_hand = signs[0] * (slope(3) - slope(7)) + signs[1] * (slope(5) - slope(7))
    assert by_hand != 0
    assert model.mask.weight.grad.item() == pytest.approx(by_hand, rel=1e-5)


@pytest.mark.parametrize("pieces", ["mean", "max"])
def test_importance_of_several_pieces_is_their_mean_or_max(pieces: str) -> None:
    model = make_model(KnownMask(1.0))
    # The padding of the shorter sides must not count: phi(padding) = 0.5 here, which is more than any of these words'.
    model.embedding.weight.data[3:, 0] = torch.tensor([-1.0, -2.0, -3.0, -4.0, -5.0])
    phi = torch.sigmoid(model.embedding.weight[:, 0]).tolist()
    examples = Examples(([2],), np.array([0]), (((([3, 4], 0), ([5], 0)), (([6], 2), ([7, 5, 3], 1))),))
    several = max if pieces == "max" else lambda values: sum(values) / len(values)
    expected = [abs(several([phi[3], phi[4]]) - phi[5]), abs(phi[6] - several([phi[7], phi[5], phi[3]]))]
    assert importance_difference(model, examples.batch([0]).swaps, pieces).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("entropy_name", ["mean", "sum", "padded_mean"])
@pytest.mark.parametrize("pairs", ["pairs", "union"])
@pytest.mark.parametrize("weighting", ["balanced", "union"])
@pytest.mark.parametrize("double_softmax", [False, True])
@pytest.mark.parametrize("weight", [1.0, 0.4])
def test_the_whole_loss_by_hand(
    entropy_name: str, pairs: str, weighting: str, double_softmax: bool, weight: float
) -> None:
    config = ObjectiveConfig(
        0.3, 0.7, entropy_name, pairs, weighting, double_softmax=double_softmax, adversarial_weight=weight
    )
    model = make_model(KnownMask(1.5))
    clean, adversarial = batches()
    terms = Objective(model, config, max_length=10)(clean, adversarial)

    phi = torch.sigmoid(1.5 * model.embedding.weight[:, 0]).tolist()
    means = []
    for examples in (CLEAN, ADVERSARIAL):
        costs, entropies = [], []
        for ids, label in zip(examples.ids, examples.labels, strict=True):
            tensor = torch.tensor([ids])
            p = model(tensor, tensor != 0).logits_BC.softmax(-1)[0]
            p = p.softmax(-1) if double_softmax else p
            costs.append(-math.log(p[label].item()))
            total = sum(entropy(phi[word]) for word in ids)
            divisor = {"mean": len(ids), "sum": 1, "padded_mean": 10}[entropy_name]
            padding = (10 - len(ids)) * entropy(0.5) if entropy_name == "padded_mean" else 0.0
            entropies.append((total + padding) / divisor)
        means.append(sum(costs) / len(costs) - 0.3 * sum(entropies) / len(entropies))
    means[1] *= weight
    prediction = means[0] + means[1] if weighting == "balanced" else (2 * means[0] + 3 * means[1]) / 5
    difference = (abs(phi[3] - phi[7]) + abs(phi[5] - phi[7])) / (3 if pairs == "pairs" else 5)
    assert terms["loss"].item() == pytest.approx(prediction + 0.7 * difference, rel=1e-5)
    assert terms["importance_difference"].item() == pytest.approx(difference, rel=1e-5)


@pytest.mark.parametrize("double_softmax", [False, True])
def test_adversarial_texts_can_follow_the_prediction_on_their_clean_twins_by_hand(double_softmax: bool) -> None:
    model = make_model(KnownMask(1.5))
    config = ObjectiveConfig(0.0, 0.0, double_softmax=double_softmax, adversarial_weight=0.4)
    config = replace(config, adversarial_target="prediction")
    terms = Objective(model, config, 10)(CLEAN.batch([0, 1]), ADVERSARIAL.batch([0, 1]))

    def probabilities(ids: list[int]) -> list[float]:
        p = model(torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.bool)).logits_BC.softmax(-1)[0]
        return (p.softmax(-1) if double_softmax else p).tolist()

    clean, twins = ([probabilities(ids) for ids in examples.ids[:2]] for examples in (CLEAN, ADVERSARIAL))
    divergences = [
        sum(p * math.log(p / q) for p, q in zip(*pair, strict=True)) for pair in zip(clean, twins, strict=True)
    ]
    cross_entropy = -(math.log(clean[0][0]) + math.log(clean[1][1])) / 2
    assert min(divergences) > 0
    assert terms["adversarial_divergence"].item() == pytest.approx(sum(divergences) / 2, rel=1e-4)
    assert terms["loss"].item() == pytest.approx(cross_entropy + 0.4 * sum(divergences) / 2, rel=1e-5)


def test_the_divergence_moves_the_prediction_on_the_clean_text_too() -> None:
    logits, target = torch.tensor([[0.3, -0.1]], requires_grad=True), torch.tensor([[1.0, 0.0]], requires_grad=True)
    divergence(logits, target).sum().backward()
    p, q = sigmoid(1.0), sigmoid(0.4)  # of the first class
    assert logits.grad.tolist()[0] == pytest.approx([q - p, p - q], rel=1e-5)
    slope = p * (1 - p) * (math.log(p / q) - math.log((1 - p) / (1 - q)))  # d KL / d target, of the first logit
    assert target.grad.tolist()[0] == pytest.approx([slope, -slope], rel=1e-4)


@pytest.mark.parametrize("weighting", ["balanced", "union"])
def test_adversarial_training_is_flat_with_masks_one_and_no_coefficients_to_the_bit(weighting: str) -> None:
    gradients = []
    for mask in (None, KnownMask(1.5)):
        model = make_model(mask)
        objective = Objective(model, ObjectiveConfig(beta=0.0, gamma=0.0, weighting=weighting), 10)
        loss = objective(*batches())["loss"]
        loss.backward()
        shared = {name: value.grad for name, value in model.named_parameters() if not name.startswith("mask")}
        gradients.append((loss, shared))
    (plain, plain_gradients), (flat, flat_gradients) = gradients
    assert torch.equal(plain, flat)
    assert all(torch.equal(plain_gradients[name], flat_gradients[name]) for name in plain_gradients)


def test_entropy_is_maximised_and_gamma_pulls_pairs_together() -> None:
    model = make_model(KnownMask(2.0))

    def gradient(beta: float, gamma: float) -> float:
        model.zero_grad()
        Objective(model, ObjectiveConfig(beta=beta, gamma=gamma), 10)(*batches())["loss"].backward()
        return model.mask.weight.grad.item()

    assert gradient(0, 0) == 0  # an all-ones mask carries nothing of phi into the prediction
    assert gradient(1, 0) > 0  # descent makes the weight smaller, phi nearer 0.5
    assert gradient(0, 1) != 0


def test_masks_learn_from_the_prediction_and_from_gamma() -> None:
    model = make_model()
    checkpoints.add_mask(model, MODEL)
    Objective(model.train(), ObjectiveConfig(), 10)(*batches())["loss"].backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.mask.parameters())


@pytest.mark.parametrize("target", ["label", "prediction"])
def test_workers_shares_average_to_the_whole_batch(target: str) -> None:
    model = make_model(KnownMask(1.5))
    config = ObjectiveConfig(gamma=0.7, adversarial_target=target)
    chosen = [0, 1, 2] if target == "label" else [0, 1]
    whole = Objective(model, config, 10)(CLEAN.batch([0, 1]), ADVERSARIAL.batch(chosen))["loss"]
    shares = [
        Objective(model, config, 10, world_size=2)(CLEAN.batch([0, 1], rank, 2), ADVERSARIAL.batch(chosen, rank, 2))[
            "loss"
        ]
        for rank in (0, 1)
    ]
    torch.testing.assert_close(sum(shares) / 2, whole)


@pytest.mark.parametrize("options", [{"weighting": "union"}, {"adversarial_target": "prediction"}])
def test_a_worker_without_a_share_adds_nothing_and_has_a_gradient_for_every_parameter(options: dict[str, str]) -> None:
    model = make_model(KnownMask(1.5))
    config = ObjectiveConfig(gamma=0.7, **options)
    whole = Objective(model, config, 10)(CLEAN.batch([0]), ADVERSARIAL.batch([0]))["loss"]
    first, second = (
        Objective(model, config, 10, world_size=2)(CLEAN.batch([0], rank, 2), ADVERSARIAL.batch([0], rank, 2))
        for rank in (0, 1)
    )
    assert first.keys() == second.keys()
    assert second["loss"].item() == 0
    torch.testing.assert_close((first["loss"] + second["loss"]) / 2, whole)
    second["loss"].backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_pairs_without_swaps_cost_nothing_and_clean_data_alone_is_enough() -> None:
    model = make_model(KnownMask(1.5))
    objective = Objective(model, ObjectiveConfig(gamma=5.0), 10)
    without = Examples(([2, 3],), np.array([0]), ((),))
    assert objective(CLEAN.batch([0]), without.batch([0]))["importance_difference"].item() == 0
    terms = objective(CLEAN.batch([0, 1]), None)
    assert "importance_difference" not in terms
    assert math.isfinite(terms["loss"].item())
    with pytest.raises(ValueError, match="needs swaps"):
        objective(None, replace(CLEAN.batch([0]), swaps=None))


def test_word_dropout_replaces_word_vectors_by_zeros_in_training_only(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model()
    clean, _ = batches()
    draws = torch.tensor([[0.1, 0.5, 0.9], [0.29, 0.31, 0.0]])  # below 0.3 a word is dropped; the last one is padding
    monkeypatch.setattr(torch, "rand", lambda shape, device: draws)
    objective = Objective(model, ObjectiveConfig(), 5, word_dropout=0.3)
    kept = torch.tensor([[0.0, 1.0, 1.0], [0.0, 1.0, 1.0]])
    embedded = model.embedding(clean.ids_BT) * kept.unsqueeze(-1)
    by_hand = nn.functional.cross_entropy(model.classify(embedded, clean.real_BT), clean.labels_B)
    plain = nn.functional.cross_entropy(model(clean.ids_BT, clean.real_BT).logits_BC, clean.labels_B)
    assert objective.train()(clean, None)["loss"].item() == pytest.approx(by_hand.item())
    assert objective.eval()(clean, None)["loss"].item() == pytest.approx(plain.item())
    assert by_hand.item() != pytest.approx(plain.item())


def test_word_dropout_drops_words_at_its_rate() -> None:
    model = make_model()
    torch.manual_seed(0)
    text = Examples([[2, 3, 4, 5, 6] * 40] * 50, np.zeros(50, dtype=np.int64)).batch(list(range(50)))
    seen: list[Tensor] = []
    own = model.predict_embedded

    def predict(embedded: Tensor, real: Tensor) -> object:
        seen.append(embedded)
        return own(embedded, real)

    model.predict_embedded = predict  # type: ignore[method-assign, assignment]
    Objective(model, ObjectiveConfig(), 200, word_dropout=0.3).train()(text, None)["loss"].backward()
    dropped = (seen[0] == 0).all(-1).float().mean().item()
    assert dropped == pytest.approx(0.3, abs=4 * math.sqrt(0.3 * 0.7 / 10_000))
