"""Variational word masks (paper, Sections 3.2 and 3.4; Chen & Ji, EMNLP 2020).

Shapes: B texts, T words, D size of a word vector; `...` stands for any leading shape.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class WordMask(nn.Module):
    """Inference network of q(W | x): how likely each word is to be selected, from its embedding alone.

    The released code's network: Linear(D, 400), tanh, Linear(400, 2).
    """

    def __init__(self, embedding_dim: int, hidden_size: int, temperature: float):
        super().__init__()
        self.temperature = temperature
        self.network = nn.Sequential(nn.Linear(embedding_dim, hidden_size), nn.Tanh(), nn.Linear(hidden_size, 2))

    def log_odds(self, embedded: Tensor) -> Tensor:
        """ln(phi / (1 - phi)) of words (..., D) as (...)."""
        logits = self.network(embedded)
        return logits[..., 1] - logits[..., 0]

    def importance(self, embedded: Tensor) -> Tensor:
        """Global importance phi of words (..., D) as (...), in (0, 1): the expectation of the mask."""
        return self.log_odds(embedded).sigmoid()

    def forward(self, embedded_BTD: Tensor) -> tuple[Tensor, Tensor]:
        """Selected words (B, T, D), Eq. 4, and the log-odds of their importance (B, T).

        In training a binary mask is drawn with the straight-through Gumbel-softmax; at inference each word is
        multiplied by its importance (paper, Section 3.4).
        """
        logits = self.network(embedded_BTD)
        log_odds_BT = logits[..., 1] - logits[..., 0]
        if self.training:
            mask_BT = F.gumbel_softmax(logits, tau=self.temperature, hard=True)[..., 1]
        else:
            mask_BT = log_odds_BT.sigmoid()
        return mask_BT.unsqueeze(-1) * embedded_BTD, log_odds_BT


def bernoulli_entropy(log_odds: Tensor) -> Tensor:
    """Entropy, in nats, of masks with these log-odds; same shape.

    From log-odds, because a probability that rounds to 0 or 1 has no finite gradient.
    """
    size = log_odds.abs()
    return F.softplus(-size) + size * torch.sigmoid(-size)
