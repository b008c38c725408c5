"""Masks that groups of similar words share: the paper's trivial method (Appendix D, Table 10).

Shapes: V words of the vocabulary, G groups; `...` means any leading shape.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class GroupMasks(nn.Module):
    """A mask for each group of words, which multiplies their vectors: a trained number, 1 at first.

    Groups are numbered from 1. Words of group 0 are in no group: their mask is always 1.
    """

    group_V: Tensor
    """Group of each word; a buffer. `flat_dist.models.word_groups` fills it."""

    def __init__(self, vocabulary_size: int, groups: int):
        super().__init__()
        self.values_G = nn.Parameter(torch.ones(groups))
        self.register_buffer("group_V", torch.zeros(vocabulary_size, dtype=torch.long))

    def forward(self, ids: Tensor) -> Tensor:
        """Masks (...) of words (...)."""
        return F.pad(self.values_G, (1, 0), value=1.0)[self.group_V[ids]]
