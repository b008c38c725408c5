"""The optimiser, and the schedule of its learning rate."""

from collections import defaultdict

import torch
from torch import nn

from flat_dist.config.schema import TrainingConfig


def make_optimizer(model: nn.Module, config: TrainingConfig, learning_rate: float) -> torch.optim.Optimizer:
    """Adam, or AdamW with weight decay on matrices only, not on biases and normalisation (released BERT code).

    `initial_lr` of a group is its rate before the schedule; the word mask may have its own rate.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = defaultdict(list)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            own = config.mask_learning_rate if name.startswith("mask.") else 0.0
            decay = config.weight_decay if config.optimizer == "adamw" and parameter.ndim > 1 else 0.0
            groups[own or learning_rate, decay].append(parameter)
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    return kind(
        {"params": parameters, "lr": rate, "initial_lr": rate, "weight_decay": decay}
        for (rate, decay), parameters in groups.items()
    )


def rate_factor(step: int, steps: int, config: TrainingConfig) -> float:
    """Factor of the learning rate in step `step` (from 0) of `steps`."""
    warmup = round(config.warmup * steps)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return (steps - step) / (steps - warmup) if config.schedule == "linear" else 1.0
