import math

import pytest
import torch

from flat_dist.models.mask import WordMask, bernoulli_entropy


def make_mask(temperature: float = 1.0) -> WordMask:
    torch.manual_seed(0)
    return WordMask(embedding_dim=4, hidden_size=8, temperature=temperature)


def test_importance_is_the_second_of_two_softmax_outputs() -> None:
    mask = make_mask()
    words = torch.randn(3, 4)
    hidden = torch.tanh(words @ mask.network[0].weight.T + mask.network[0].bias)
    logits = hidden @ mask.network[2].weight.T + mask.network[2].bias
    expected = torch.sigmoid(logits[:, 1] - logits[:, 0])
    torch.testing.assert_close(mask.importance(words), expected)


def test_inference_multiplies_words_by_their_importance() -> None:
    mask = make_mask().eval()
    words = torch.randn(2, 3, 4)
    selected, log_odds = mask(words)
    torch.testing.assert_close(selected, words * mask.importance(words)[..., None])
    torch.testing.assert_close(log_odds.sigmoid(), mask.importance(words))


def test_training_keeps_or_drops_whole_words_as_often_as_their_importance_says() -> None:
    mask = make_mask().train()
    words = torch.randn(1, 5, 4)
    with torch.no_grad():
        selected, log_odds = mask(words.expand(4000, 5, 4))
    kept = (selected == words).all(-1)
    dropped = (selected == 0).all(-1)
    assert (kept | dropped).all()
    # Four standard errors of a mean of 4,000 draws.
    assert (kept.float().mean(0) - log_odds[0].sigmoid()).abs().max() < 4 * 0.5 / math.sqrt(4000)


def test_sampled_masks_have_a_gradient() -> None:
    mask = make_mask().train()
    selected, _ = mask(torch.randn(2, 3, 4))
    selected.sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in mask.parameters())


def test_entropy_by_hand() -> None:
    log_odds = torch.tensor([0.0, math.log(0.25 / 0.75), math.log(0.75 / 0.25)])
    quarter = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    torch.testing.assert_close(bernoulli_entropy(log_odds), torch.tensor([math.log(2), quarter, quarter]))


@pytest.mark.parametrize("log_odds", [-200.0, -3.0, 0.5, 200.0])
def test_entropy_and_its_gradient_are_finite_however_certain_the_mask_is(log_odds: float) -> None:
    value = torch.tensor(log_odds, requires_grad=True)
    entropy = bernoulli_entropy(value)
    entropy.backward()
    # dH / d log-odds = -log-odds * phi * (1 - phi)
    phi = torch.sigmoid(torch.tensor(log_odds))
    torch.testing.assert_close(value.grad, -log_odds * phi * (1 - phi))
    assert math.isfinite(entropy.item())
