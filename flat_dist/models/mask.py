"""Variational word masks (paper, Sections 3.2 and 3.4; Chen & Ji, EMNLP 2020).

Shapes: B texts, T words, D size of a word vector; `...` means any leading shape.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class WordMask(nn.Module):
    """Inference network of q(W | x): the probability that a word is selected, from its embedding.

    The released code's network: Linear(D, 400), tanh, Linear(400, 2). It computes in float32 also under autocast:
    Eq. 3 compares importance scores whose difference may be below the precision of bfloat16.
    """

    def __init__(self, embedding_dim: int, hidden_size: int, temperature: float, sample: bool = True):
        super().__init__()
        self.temperature, self.sample = temperature, sample
        self.network = nn.Sequential(nn.Linear(embedding_dim, hidden_size), nn.Tanh(), nn.Linear(hidden_size, 2))

    @torch.no_grad()
    def start_at(self, importance: float) -> None:
        """Give all words nearly this importance, in (0, 1). A tenth of the differences between words remains."""
        output = self.network[2]
        assert isinstance(output, nn.Linear)
        output.weight.mul_(0.1)
        output.bias.copy_(torch.tensor([0.0, math.log(importance / (1.0 - importance))]))

    def logits(self, embedded: Tensor) -> Tensor:
        """Logits (..., 2) for dropping and for selecting words (..., D)."""
        with torch.autocast(embedded.device.type, enabled=False):
            return self.network(embedded.float())

    def log_odds(self, embedded: Tensor) -> Tensor:
        """ln(phi / (1 - phi)) of words (..., D) as (...)."""
        logits = self.logits(embedded)
        return logits[..., 1] - logits[..., 0]

    def importance(self, embedded: Tensor) -> Tensor:
        """Global importance phi of words (..., D) as (...), in (0, 1): the expectation of the mask."""
        return _importance(self.logits(embedded))

    def forward(self, embedded_BTD: Tensor) -> tuple[Tensor, Tensor]:
        """Masks of words (B, T), which multiply their embeddings (Eq. 4), and the log-odds of their importance.

        In training a mask is 0 or 1, drawn with the straight-through Gumbel-softmax (unless `sample` is off); at
        inference it is the importance itself (paper, Section 3.4).
        """
        logits = self.logits(embedded_BTD)
        log_odds_BT = logits[..., 1] - logits[..., 0]
        if self.training and self.sample:
            return F.gumbel_softmax(logits, tau=self.temperature, hard=True)[..., 1], log_odds_BT
        return _importance(logits), log_odds_BT


def _importance(logits: Tensor) -> Tensor:
    """Probabilities (...) of selecting words, from logits (..., 2).

    As a softmax, which is computed alike everywhere: on a CPU a sigmoid differs in the last bit at a tensor's end.
    """
    return logits.softmax(-1)[..., 1]


def bernoulli_entropy(log_odds: Tensor) -> Tensor:
    """Entropy, in nats, of masks with these log-odds; same shape.

    From log-odds, because a probability that rounds to 0 or 1 has no finite gradient.
    """
    size = log_odds.abs()
    return F.softplus(-size) + size * torch.sigmoid(-size)
