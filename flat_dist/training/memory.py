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
"""What CUDA takes for itself: its context, and the workspaces of its libraries."""


FRAGMENTATION = 1.25
"""Memory that activations take, for each byte of them: the backward pass makes others, and allocators leave gaps.
BERT-base at length 250 and micro-batch 8 took 6.9 GiB of a CPU's memory, which is planned as 6.8."""


def peak_gib(device: torch.device) -> float:
    """The most GPU memory that this process's tensors have taken, in GiB; 0 on a CPU."""
    return torch.cuda.max_memory_allocated(device) / GIB if device.type == "cuda" else 0.0


@dataclass(frozen=True)
class Estimate:
    """GPU memory that training takes, by what for, in GiB."""

    micro_batch: int
    checkpointing: bool
    parts: dict[str, float]

    @property
    def total(self) -> float:
        """GiB in all."""
        return sum(self.parts.values())

    def describe(self) -> str:
        """The arithmetic."""
        terms = " + ".join(f"{name} {gib:.2f}" for name, gib in self.parts.items())
        saving = ", gradient checkpointing" if self.checkpointing else ""
        return f"{terms} = {self.total:.2f} GiB (micro-batch {self.micro_batch}{saving})"


def estimate(
    model: TextClassifier, config: Config, micro_batch: int, checkpointing: bool, bytes_per_text: int
) -> Estimate:
    """What training takes: weights, gradients, the optimiser's moments, and activations of clean and adversarial texts.

    Args:
        model: what is trained.
        config: lengths and precision.
        micro_batch: clean texts at a time; as many adversarial ones come with them.
        checkpointing: keep each layer's input only, and one layer's activations at a time.
        bytes_per_text: what `activation_bytes` measured.
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
    """Bytes that autograd keeps for the backward pass of one more text of the greatest length."""
    one, two = (_kept(model, config, texts) for texts in (1, 2))
    return two - one


def _kept(model: TextClassifier, config: Config, texts: int) -> int:
    kept: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage  # held, so that no later one gets its address
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

    Gradients add up over micro-batches, so that the optimiser's step is that of the whole batch. Gradient checkpointing
    is used where not even one example fits without it, or where the config asks for it.

    Raises:
        UserError: it cannot fit; the arithmetic is in the message.
    """
    training = config.training
    per_text = activation_bytes(model, config)
    last = None
    for micro_batch, checkpointing in _choices(model, config):
        last = estimate(model, config, micro_batch, checkpointing, per_text)
        if last.total <= training.memory_gib:
            chosen = replace(training, micro_batch=micro_batch, checkpointing=checkpointing)
            said = f"training memory: {last.describe()} of {training.memory_gib:g} GiB"
            return replace(config, training=chosen), said
    arithmetic = last.describe() if last else ""
    raise UserError(
        f"{config.model.name} at length {config.data.max_length} cannot be trained in {training.memory_gib:g} GiB: "
        f"{arithmetic}; lower --data.max_length, or take a smaller encoder or a larger GPU (--training.memory_gib)"
    )


def _choices(model: TextClassifier, config: Config) -> Iterator[tuple[int, bool]]:
    training = config.training
    share = math.ceil(training.batch_size / training.workers)
    sizes = [training.micro_batch] if training.micro_batch else []
    while not training.micro_batch and share:
        sizes.append(share)
        share //= 2
    ways = [True] if training.checkpointing else [False, True]
    for checkpointing in ways:
        if not checkpointing or isinstance(model, Transformer):
            yield from ((size, checkpointing) for size in sizes)
