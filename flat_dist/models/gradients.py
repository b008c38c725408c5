"""Gradients of a loss on the word vectors of texts, for choosing which words to change.

Shapes: B texts, T pieces, D size of a word vector, C classes, U words.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from flat_dist.data.batches import to_batch
from flat_dist.models.classifier import TextClassifier


def loss_gradient(model: TextClassifier, ids: Sequence[Sequence[int]], labels: np.ndarray) -> Tensor:
    """Gradient (B, T, D) of each text's loss on its word vectors, through the word mask, at inference.

    The loss is the negative log-odds of the label. Its gradient has the direction of the cross-entropy's, but does not
    vanish in float32 where the probability of the label rounds to 1.
    """
    device = model.output.weight.device
    batch = to_batch(ids, labels).to(device)
    with _at_inference(model), torch.enable_grad():
        embedded_BTD = model.embed(batch.ids_BT).detach().requires_grad_()
        logits_BC = model.classify(embedded_BTD, batch.real_BT).float()
        label_B1 = batch.labels_B.unsqueeze(1)
        others_BC = logits_BC.scatter(1, label_B1, -torch.inf)
        loss = (others_BC.logsumexp(1) - logits_BC.gather(1, label_B1).squeeze(1)).sum()
        (gradient_BTD,) = torch.autograd.grad(loss, embedded_BTD)
    return gradient_BTD


@torch.no_grad()
def mean_vectors(model: TextClassifier, words: Sequence[Sequence[int]]) -> Tensor:
    """Mean vector (U, D) of each word's pieces; every word has at least one."""
    device = model.output.weight.device
    flat = torch.tensor([piece for pieces in words for piece in pieces], device=device)
    sizes_U = torch.tensor([len(pieces) for pieces in words], device=device)
    vectors = model.embed(flat)
    owner = torch.repeat_interleave(torch.arange(len(words), device=device), sizes_U)
    sums_UD = vectors.new_zeros(len(words), vectors.shape[1]).index_add_(0, owner, vectors)
    return sums_UD / sizes_U.unsqueeze(1)


@contextmanager
def _at_inference(model: nn.Module) -> Iterator[None]:
    """Without dropout and mask sampling. An LSTM of one layer has none, and cuDNN needs it in training mode."""
    training = model.training
    model.eval()
    for module in model.modules():
        if isinstance(module, nn.RNNBase):
            module.train()
    try:
        yield
    finally:
        model.train(training)
