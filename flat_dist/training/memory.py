"""Whether a model and its batches fit into the memory of a GPU."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from flat_dist.config.errors import UserError
from flat_dist.config.schema import Config
from flat_dist.models.classifier import TextClassifier
from flat_dist.models.transformer import Transformer
from flat_dist.runtime.hardware import GIB

CUDA_GIB = 0.6
"""GPU memory of CUDA itself: its context, and the workspaces of its libraries."""

FRAGMENTATION = 1.25
"""Factor on the size of activations: the backward pass creates others, and allocators leave gaps. Measured: BERT-base
at length 250 and micro-batch 8 uses 6.9 GiB of a CPU's memory, and the estimate is 6.8."""


def peak_gib(device: torch.device) -> float:
    """The most GPU memory that this process's tensors have taken, in GiB; 0 on a CPU."""
    return torch.cuda.max_memory_allocated(device) / GIB if device.type == "cuda" else 0.0


@dataclass(frozen=True)
class Estimate:
    """GPU memory of a training, by purpose, in GiB."""

    micro_batch: int
    checkpointing: bool
    parts: dict[str, float]

    @property
    def total(self) -> float:
        """The sum, in GiB."""
        return sum(self.parts.values())

    def describe(self) -> str:
        """The sum in words."""
        terms = " + ".join(f"{name} {gib:.2f}" for name, gib in self.parts.items())
        saving = ", gradient checkpointing" if self.checkpointing else ""
        return f"{terms} = {self.total:.2f} GiB (micro-batch {self.micro_batch}{saving})"


def estimate(
    model: TextClassifier, config: Config, micro_batch: int, checkpointing: bool, bytes_per_text: int
) -> Estimate:
    """Memory of weights, gradients, the optimiser's moments, and activations of clean and adversarial texts.

    Args:
        model: to train.
        config: lengths and precision.
        micro_batch: clean texts at a time, with as many adversarial ones.
        checkpointing: keep only each layer's input, and one layer's activations at a time.
        bytes_per_text: from `activation_bytes`.
    """
    weights = sum(parameter.numel() for parameter in model.parameters())
    texts = 2 * micro_batch
    kept = bytes_per_text * texts
    if checkpointing and isinstance(model, Transformer):
        settings = model.backbone.config
        inputs = settings.num_hidden_layers * config.data.max_length * settings.hidden_size * 4
        kept = (inputs + bytes_per_text // settings.num_hidden_layers) * texts
    parts = {
        "weights": 4 * weights / GIB,
        "gradients": 4 * weights / GIB,
        "moments": 8 * weights / GIB,
        "activations": FRAGMENTATION * kept / GIB,
        "CUDA": CUDA_GIB,
    }
    if config.training.precision == "bfloat16":
        parts["bfloat16 weights"] = 2 * weights / GIB
    return Estimate(micro_batch, checkpointing, parts)


def activation_bytes(model: TextClassifier, config: Config) -> int:
    """Bytes that autograd keeps for the backward pass of a text of maximum length."""
    one, two = (_kept(model, config, texts) for texts in (1, 2))
    return two - one


def _kept(model: TextClassifier, config: Config, texts: int) -> int:
    kept: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage  # kept alive, so that no other tensor gets its address
        return tensor

    ids_BT = torch.zeros(texts, config.data.max_length, dtype=torch.long)
    training = model.training
    model.train()
    with (
        torch.random.fork_rng(devices=[]),
        torch.autocast("cpu", torch.bfloat16, enabled=config.training.precision == "bfloat16"),
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
    ):
        model(ids_BT, torch.ones_like(ids_BT, dtype=torch.bool)).logits_BC.logsumexp(-1).sum()
    model.train(training)
    return sum(storage.nbytes() for storage in kept.values())


def fit(model: TextClassifier, config: Config) -> tuple[Config, str]:
    """The config with the largest micro-batch that fits in GPU memory, and the estimate in one sentence.

    Gradients are summed over micro-batches. Gradient checkpointing is used if not even one example fits without it, or
    if the config says so.

    Raises:
        UserError: it cannot fit; the message has the sum.
    """
    training = config.training
    per_text = activation_bytes(model, config)
    last = None
    for micro_batch, checkpointing in _choices(model, config):
        last = estimate(model, config, micro_batch, checkpointing, per_text)
        if last.total <= training.memory_gib:
            chosen = replace(training, micro_batch=micro_batch, checkpointing=checkpointing)
            message = f"training memory: {last.describe()} of {training.memory_gib:g} GiB"
            return replace(config, training=chosen), message
    arithmetic = last.describe() if last else ""
    raise UserError(
        f"{config.model.name} at length {config.data.max_length} does not fit into {training.memory_gib:g} GiB of GPU "
        f"memory: {arithmetic}; lower --data.max-length, or use a smaller encoder or a larger GPU "
        "(--training.memory-gib)"
    )


def _choices(model: TextClassifier, config: Config) -> Iterator[tuple[int, bool]]:
    training = config.training
    share = math.ceil(training.batch_size / training.workers)
    sizes = [training.micro_batch] if training.micro_batch else []
    while not training.micro_batch and share:
        sizes.append(share)
        share //= 2
    options = [True] if training.checkpointing else [False, True]
    for checkpointing in options:
        if not checkpointing or isinstance(model, Transformer):
            yield from ((size, checkpointing) for size in sizes)
