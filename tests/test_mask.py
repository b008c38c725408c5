import math

import pytest
import torch

from flat_dist.models.mask import WordMask, bernoulli_entropy


def make_mask(sample: bool = True) -> WordMask:
    torch.manual_seed(0)
    return WordMask(embedding_dim=4, hidden_size=8, temperature=1.0, sample=sample)


def test_importance_is_the_second_of_two_softmax_outputs() -> None:
    mask = make_mask()
    words = torch.randn(3, 4)
    hidden = torch.tanh(words @ mask.network[0].weight.T + mask.network[0].bias)
    logits = hidden @ mask.network[2].weight.T + mask.network[2].bias
    expected = torch.sigmoid(logits[:, 1] - logits[:, 0])
    torch.testing.assert_close(mask.importance(words), expected)


def test_a_mask_starts_near_a_chosen_importance_with_a_tenth_of_the_differences() -> None:
    mask, words = make_mask(), torch.randn(50, 4)
    before = mask.log_odds(words)
    mask.start_at(0.9)
    after = mask.log_odds(words)
    torch.testing.assert_close(after - after[0], (before - before[0]) / 10)
    assert mask.importance(words).mean().item() == pytest.approx(0.9, abs=0.02)


@pytest.mark.parametrize(("training", "sample"), [(False, True), (False, False), (True, False)])
def test_masks_equal_the_importance_at_inference_and_without_sampling(training: bool, sample: bool) -> None:
    mask = make_mask(sample).train(training)
    words = torch.randn(2, 3, 4)
    masks, log_odds = mask(words)
    torch.testing.assert_close(masks, mask.importance(words))
    torch.testing.assert_close(log_odds.sigmoid(), mask.importance(words))


@pytest.mark.usefixtures("one_thread")
def test_a_mask_depends_only_on_its_word() -> None:
    mask = make_mask().eval()
    words = torch.randn(1, 84, 4)
    masks, _ = mask(words)
    for start in range(1, 81):  # to the bit only in calls of one shape: `flat_dist.models.batch_invariance`
        torch.testing.assert_close(mask(words[:, start:])[0], masks[:, start:], rtol=1e-6, atol=0)


def test_in_training_words_are_selected_with_probability_importance() -> None:
    mask = make_mask().train()
    words = torch.randn(1, 5, 4)
    with torch.no_grad():
        masks, log_odds = mask(words.expand(4000, 5, 4))
    kept = masks.round()
    assert (masks - kept).abs().max() < 1e-6  # the straight-through estimate rounds
    assert kept.unique().tolist() == [0, 1]
    # Four standard errors of a mean of 4,000 draws.
    assert (kept.mean(0) - log_odds[0].sigmoid()).abs().max() < 4 * 0.5 / math.sqrt(4000)


def test_sampled_masks_have_a_gradient() -> None:
    mask = make_mask().train()
    masks, _ = mask(torch.randn(2, 3, 4))
    masks.sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in mask.parameters())


def test_masks_are_computed_in_float32_under_autocast() -> None:
    mask = make_mask().eval()
    words = torch.randn(2, 3, 4)
    with torch.autocast("cpu", torch.bfloat16):
        low = words @ words.mT
        masks, log_odds = mask(words)
    assert low.dtype == torch.bfloat16
    assert torch.equal(masks, mask(words)[0]) and torch.equal(log_odds, mask.log_odds(words))


def test_entropy_by_hand() -> None:
    log_odds = torch.tensor([0.0, math.log(0.25 / 0.75), math.log(0.75 / 0.25)])
    quarter = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    torch.testing.assert_close(bernoulli_entropy(log_odds), torch.tensor([math.log(2), quarter, quarter]))


@pytest.mark.parametrize("log_odds", [-200.0, -3.0, 0.5, 200.0])
def test_entropy_and_its_gradient_are_finite_for_certain_masks(log_odds: float) -> None:
    value = torch.tensor(log_odds, requires_grad=True)
    entropy = bernoulli_entropy(value)
    entropy.backward()
    # dH / d log-odds = -log-odds * phi * (1 - phi)
    phi = torch.sigmoid(torch.tensor(log_odds))
    torch.testing.assert_close(value.grad, -log_odds * phi * (1 - phi))
    assert math.isfinite(entropy.item())
