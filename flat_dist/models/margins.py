"""Margins: a score of classes that ranks texts as the probability does, but that rounding never stops.

In float32 a probability is exactly 1 once the logits are about 17 apart. Dividing the logits by a temperature would
keep it below 1, but changes the ranking of texts if there are more than two classes; the log-odds keep it.
"""

import math
from collections.abc import Callable

import numpy as np
import torch


def margins(logits_BC: torch.Tensor) -> torch.Tensor:
    """Margins (B, C) of classes, float64 on the CPU: log(p / (1 - p)), a logit minus the logsumexp of the others.

    exp and log are computed number by number: vectorised ones may round a number by its place in the batch, and no
    score may depend on the other texts of its batch.

    Args:
        logits_BC: logits of two or more classes.
    """
    logits = logits_BC.double().cpu().numpy()
    others_BCC = np.where(np.eye(logits.shape[1], dtype=bool), -np.inf, logits[:, None, :])
    largest_BC = others_BCC.max(axis=2)
    total_BC = _each(math.exp, others_BCC - largest_BC[:, :, None]).sum(axis=2)
    return torch.from_numpy(logits - (largest_BC + _each(math.log, total_BC)))


def _each(function: Callable[[float], float], values: np.ndarray) -> np.ndarray:
    return np.fromiter(map(function, values.ravel().tolist()), np.float64, values.size).reshape(values.shape)
