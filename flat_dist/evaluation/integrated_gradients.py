"""Integrated gradients: the contribution of each word to the probability of each class (paper, Section 5.2).

Shape letters: B texts, T words, C classes, D embedding dimensions, S steps of the path, N points of paths (steps times
texts).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from captum.attr import IntegratedGradients
from torch import Tensor, nn

from flat_dist.config.errors import UserError
from flat_dist.models.classifier import TextClassifier

BASELINE = 0.0
"""Factor of every word vector at the start of the path. Special pieces do not change along the path."""

WORDS_PER_BATCH = 4096
"""Maximum number of word vectors in a batch, including padding; it limits memory for texts of any length."""


@dataclass(frozen=True)
class Attributions:
    """Word attributions of a batch of texts, on the CPU."""

    words: Tensor
    """Contribution of piece t to the probability of class c, (B, C, T), float32; 0 at padding and special pieces."""
    error: Tensor
    """Difference between the sum of a text's attributions and the change in probability, (B, C)."""

    def by_word(self, spans: Sequence[Sequence[tuple[int, int]]]) -> list[np.ndarray]:
        """An array (C, words) for each text: the sums over the pieces of each word."""
        return [
            np.stack([words_CT[:, start:end].sum(1) for start, end in spans_of_text], axis=1)
            if spans_of_text
            else words_CT[:, :0]
            for words_CT, spans_of_text in zip(self.words.numpy(), spans, strict=True)
        ]


@torch.no_grad()
def integrated_gradients(
    model: TextClassifier, ids_BT: Tensor, real_BT: Tensor, steps: int, words_per_batch: int = WORDS_PER_BATCH
) -> Attributions:
    """Integrated gradients (Sundararajan et al. 2017) of every class with respect to every word.

    The path runs from zero vectors to the word vectors, with Gauss-Legendre quadrature. A word's attribution is the sum
    over its D numbers. Completeness: the attributions add up to the probability minus that of the baseline.

    Captum gets one factor for each word vector, from 0 to 1. By the chain rule, the attribution of the factor
    is the sum over the vector on the same path, so captum need not keep D numbers for each word.

    The explained function is the softmax probability, not the logit: adding a constant to all logits changes no
    prediction, LIME explains probabilities too, and the CNN and LSTM of the released code return them. The paper does
    not say which function, baseline and number of steps it uses.

    Args:
        model: left in evaluation mode; no gradient is kept on its parameters.
        ids_BT: word ids, (B, T).
        real_BT: True at real words, False at padding, (B, T). Each text starts at the first column.
        steps: points on the path of each text; 50 is captum's default.
        words_per_batch: word vectors in a batch; it changes memory and time, not the result.

    Raises:
        UserError: the attributions are not finite numbers.
    """
    model.eval()
    lengths_B = (real_BT * torch.arange(1, real_BT.shape[1] + 1, device=real_BT.device)).amax(dim=1)
    results: dict[int, tuple[Tensor, Tensor]] = {}
    for rows, length in _batches(lengths_B.tolist(), words_per_batch // steps):
        batch = ids_BT[rows, :length], real_BT[rows, :length]
        words_BCT, error_BC = _explain(model, *batch, steps, max(len(rows), words_per_batch // length))
        results.update(zip(rows, zip(words_BCT.cpu(), error_BC.cpu(), strict=True), strict=True))
    return _gather(results, *ids_BT.shape)


def _explain(model: TextClassifier, ids_BT: Tensor, real_BT: Tensor, steps: int, points: int) -> tuple[Tensor, Tensor]:
    """Attributions (B, C, T) and completeness error (B, C) of one batch, at most `points` points at a time."""
    embedded_BTD, is_word_B1T = model.embed(ids_BT), model.words(ids_BT, real_BT).unsqueeze(1)

    def probabilities(factors_N1T: Tensor) -> Tensor:
        factors_SBT = factors_N1T.squeeze(1).unflatten(0, (-1, len(ids_BT)))
        return model.classify_scaled(embedded_BTD, real_BT, factors_SBT).softmax(-1).flatten(0, 1)

    method = IntegratedGradients(probabilities)
    # Captum's own function takes one class a call, and so repeats the forward pass for each class.
    method.gradient_func = _class_gradients
    end_B1T = torch.ones_like(is_word_B1T, dtype=embedded_BTD.dtype)
    start_B1T = end_B1T.masked_fill(is_word_B1T, BASELINE)
    with _differentiable(model):
        words_BCT = method.attribute(end_B1T, start_B1T, n_steps=steps, internal_batch_size=points)
    end_BC, start_BC = probabilities(torch.cat([end_B1T, start_B1T])).chunk(2)
    return words_BCT, words_BCT.sum(dim=-1) - (end_BC - start_BC)


def _class_gradients(
    forward_fn: Callable[..., Tensor],
    inputs: tuple[Tensor],
    target_ind: None = None,
    additional_forward_args: None = None,
) -> tuple[Tensor]:
    """Gradients (N, C, T) of each class's probability from one forward pass, in the form of captum's function."""
    with torch.enable_grad():
        totals_C = forward_fn(*inputs).sum(dim=0).unbind()
    # Probabilities add up to 1, so their gradients add up to 0: the last class needs no backward pass.
    gradients = [torch.autograd.grad(total, inputs, retain_graph=True)[0] for total in totals_C[:-1]]
    gradients.append(-torch.stack(gradients).sum(dim=0))
    return (torch.cat(gradients, dim=1),)


def _batches(lengths: list[int], words: int) -> Iterator[tuple[list[int], int]]:
    """Rows of similar length, and the length of the longest; at most `words` words, but at least one row.

    Texts without words are left out.
    """
    order = [row for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]) if lengths[row]]
    start = 0
    while start < len(order):
        length = lengths[order[start]]
        rows = order[start : start + max(1, words // length)]
        yield rows, length
        start += len(rows)


def _differentiable(model: TextClassifier) -> AbstractContextManager[None]:
    """Turn off cuDNN for recurrent layers: it has no backward pass in evaluation mode."""
    recurrent = any(isinstance(module, nn.RNNBase) for module in model.modules())
    return torch.backends.cudnn.flags(enabled=False) if recurrent else nullcontext()


def _gather(results: dict[int, tuple[Tensor, Tensor]], texts: int, length: int) -> Attributions:
    """Put the rows back in order, with padding on the right."""
    if not results:
        raise UserError("no text has a word to explain: give texts with at least one word")
    classes = next(iter(results.values()))[0].shape[0]
    words_BCT, error_BC = torch.zeros(texts, classes, length), torch.zeros(texts, classes)
    for row, (words_CT, error_C) in results.items():
        words_BCT[row, :, : words_CT.shape[1]], error_BC[row] = words_CT, error_C
    if not torch.isfinite(words_BCT).all():
        raise UserError(
            "the model's attributions are not finite numbers: its weights have diverged; "
            "train it again with a lower learning rate"
        )
    return Attributions(words_BCT, error_BC)
