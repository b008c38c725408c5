"""Orders in which an attacker who knows the model changes words: adaptive attacks, which FLAT's mask must withstand.

A defence should be measured under attacks that know it (Tramèr et al., NeurIPS 2020). The attack textfooler-importance
or textfooler-gradient is TextFooler, but the model itself orders the words, instead of queries with a word left out. No
query is counted for that.

The model is at inference, as when it answers the attack, and the loss is that of the true class. (TextAttack's own
ranking by gradients draws dropout and masks, and uses the predicted class.)

Shapes: B texts, T pieces of a text, D size of a word vector, N words of a text, K candidates of a word.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from flat_dist.config.attacks import GRADIENT, IMPORTANCE, order_of, recipe_of
from flat_dist.data.batches import to_batch
from flat_dist.models.checkpoint import Checkpoint
from flat_dist.models.gradients import loss_gradient, mean_vectors

Span = tuple[int, int]
"""Where a word starts and ends in its text."""

WordScores = Callable[[str, Sequence[Span], int], np.ndarray]
"""Scores (N,) of words, higher for those to change earlier: from a text, its words, and the true class."""


def attack_on(attack: str, masked: bool) -> str:
    """The attack that is run on a model: without a mask there is no importance, so the gradient orders the words."""
    return attack if masked or order_of(attack) != IMPORTANCE else f"{recipe_of(attack)}-{GRADIENT}"


@torch.no_grad()
def importance_scores(checkpoint: Checkpoint, text: str, spans: Sequence[Span], label: int) -> np.ndarray:
    """Importance phi of words (N,), as log-odds: they order words as phi does, also where it rounds to 1.

    A word of several pieces has their mean; words that the model does not read have -inf, and come last.

    Args:
        checkpoint: a model with a mask.
        text: the text.
        spans: its words.
        label: has no effect.
    """
    batch = to_batch([checkpoint.encoder.encode(text)]).to(checkpoint.device)
    log_odds_BT = checkpoint.model.eval()(batch.ids_BT, batch.real_BT).log_odds_BT
    words = [log_odds_BT[0, _pieces(checkpoint, text, span)] for span in spans]
    return np.array([float(log_odds.mean()) if len(log_odds) else -np.inf for log_odds in words])


def gradient_scores(
    checkpoint: Checkpoint,
    candidates: Callable[[str], Sequence[str]],
    text: str,
    spans: Sequence[Span],
    label: int,
) -> np.ndarray:
    """The largest first-order rise of the loss that a candidate of each word promises, (N,).

    This is `gradient . (candidate - word)`, through the mask, as in HotFlip (Ebrahimi et al. 2018) and in training with
    `training.adversaries: gradient`. The norm of the gradient alone would rank a word by a direction in which it has no
    candidate. Of several pieces, gradients are added up, and vectors averaged. Words without candidates, and those that
    the model does not read, have -inf, and come last.

    Args:
        checkpoint: any model.
        candidates: what may replace a word.
        text: the text.
        spans: its words.
        label: the true class.
    """
    ids = checkpoint.encoder.encode(text)
    gradient_TD = loss_gradient(checkpoint.model, [ids], np.array([label]))[0]
    scores = []
    for start, end in spans:
        own = _pieces(checkpoint, text, (start, end))
        others = [pieces for other in candidates(text[start:end]) if (pieces := _read(checkpoint, other))]
        if not ids[own] or not others:
            scores.append(-np.inf)
            continue
        word_1D, candidates_KD = mean_vectors(checkpoint.model, [ids[own], *others]).tensor_split([1])
        scores.append(float(((candidates_KD - word_1D) @ gradient_TD[own].sum(0)).max()))
    return np.array(scores)


def _pieces(checkpoint: Checkpoint, text: str, span: Span) -> slice:
    """Positions of a word's pieces in the encoded text; empty if the model does not read the word."""
    return slice(*(checkpoint.encoder.end_of_pieces(text, position) for position in span))


def _read(checkpoint: Checkpoint, word: str) -> tuple[int, ...]:
    """The pieces that the model reads of a word alone; empty if it reads nothing."""
    encoder = checkpoint.encoder.for_words
    return encoder.encode(word)[slice(*(encoder.end_of_pieces(word, position) for position in (0, len(word))))]
