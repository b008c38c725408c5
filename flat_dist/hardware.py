"""What training and attacks run on: this machine's GPU or CPU, its arithmetic, and whether a model fits.

Figures of the GTX 1080, the paper's own card, are reports of others: float32 6.8, float16 6.9 and (emulated) bfloat16
3.6 TFLOPS, so that half precision saves memory there, and no time.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from flat_dist.config import Config, UserError
from flat_dist.models.classifier import TextClassifier
from flat_dist.models.transformer import Transformer

GIB = 2**30

CUDA_GIB = 0.6
"""What CUDA takes for itself: its context, and the workspaces of its libraries."""
ATTACK_GIB = 3.0
"""What one attack worker takes of a GPU: CUDA, sentence encoder, victim, and their batches."""
FRAGMENTATION = 1.25
"""Memory that activations take, for each byte of them: the backward pass makes others, and allocators leave gaps.
BERT-base at length 250 and micro-batch 8 took 6.9 GiB of a CPU's memory, which is planned as 6.8."""

PASCAL_WHEELS = "https://download.pytorch.org/whl/cu126"
"""The last builds of PyTorch with kernels for cards before Turing (sm_75)."""


@dataclass(frozen=True)
class Profile:
    """How to use a kind of machine."""

    device: str
    precision: str
    """Arithmetic of training: bfloat16 from Ampere (sm_80); before, it is emulated or missing."""
    memory_gib: float = 0.0
    """GPU memory that this project may use."""
    attack_workers: int = 0
    """Attack workers that share a GPU."""


PROFILES = {
    "cpu": Profile("cpu", "float32"),
    "gtx1080": Profile("cuda", "float32", 7.5, 2),
    "a100": Profile("cuda", "bfloat16", 39.0, 6),
    "h100": Profile("cuda", "bfloat16", 78.0, 8),
}


@dataclass(frozen=True)
class Machine:
    """The GPU that torch can use, or why there is none."""

    gpu: str | None = None
    """Name of the card."""
    capability: tuple[int, int] = (0, 0)
    """Compute capability, such as (6, 1)."""
    memory_gib: float = 0.0
    problem: str = "there is no GPU"
    """One sentence that says why no GPU can be used."""


def detect() -> Machine:
    """Look for a GPU, and run a kernel on it."""
    if not torch.cuda.is_available():
        build = "" if torch.version.cuda else f" (this torch, {torch.__version__}, is built for CPUs)"
        return Machine(problem=f"torch finds no GPU{build}")
    properties = torch.cuda.get_device_properties(0)
    capability = (properties.major, properties.minor)
    if not has_kernels(torch.cuda.get_arch_list(), capability):
        return Machine(problem=_without_kernels(properties.name, capability))
    try:
        (torch.zeros(1, device="cuda") + 1).item()
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        return Machine(problem=f"{properties.name} does not run with torch {torch.__version__} ({reason})")
    return Machine(properties.name, capability, properties.total_memory / GIB)


def has_kernels(built_for: list[str], capability: tuple[int, int]) -> bool:
    """Whether a build has kernels for a card: of its major version and no later minor one, or PTX of an earlier one."""
    for name in built_for:
        kind, _, number = name.partition("_")
        digits = number.rstrip("af")  # sm_90a, sm_120f
        if not digits.isdigit():
            continue
        version = int(digits[:-1]), int(digits[-1])
        if kind == "compute" and version <= capability:
            return True
        if kind == "sm" and version[0] == capability[0] and version[1] <= capability[1]:
            return True
    return False


def _without_kernels(name: str, capability: tuple[int, int]) -> str:
    version = torch.__version__.partition("+")[0]
    label = PASCAL_WHEELS.rsplit("/")[-1]  # without it, pip is satisfied with the build that is installed
    source = f"+{label} --index-url {PASCAL_WHEELS}" if capability < (7, 5) else " --upgrade"
    return (
        f"{name} (sm_{capability[0]}{capability[1]}) has no kernels in this build of torch ({torch.__version__}, made "
        f"for {', '.join(torch.cuda.get_arch_list())}): pip install torch=={version}{source}"
    )


def resolve(config: Config, machine: Machine, imagine: bool = False) -> tuple[Config, str]:
    """The config with all that depends on the hardware filled in, and one sentence on what was chosen.

    Args:
        config: a run.
        machine: what `detect` found.
        imagine: take a GPU for granted that the config names, to plan for it.

    Raises:
        UserError: the config names a GPU, and there is none that works.
    """
    name, profile = config.hardware, PROFILES.get(config.hardware)
    if profile is None:
        name, profile = _fitting(machine)
        said = f"hardware: {machine.gpu or machine.problem}, so {name}"
    elif profile.device == "cuda" and machine.gpu is None and not imagine:
        raise UserError(f"--hardware {name} needs a GPU, but {machine.problem}; --hardware cpu does without")
    else:
        said = f"hardware: {name}, as asked for"
    training, attack = config.training, config.attack
    share = _share(min(profile.attack_workers, int(profile.memory_gib / ATTACK_GIB)))
    devices = [profile.device if chosen == "auto" else chosen for chosen in (training.device, attack.device)]
    training = replace(
        training,
        device=devices[0],
        precision=profile.precision if training.precision == "auto" else training.precision,
        memory_gib=training.memory_gib or profile.memory_gib,
    )
    gpus = attack.gpus_per_worker or (share if devices[1] == "cuda" else 0.0)
    attack = replace(attack, device=devices[1], gpus_per_worker=gpus)
    return replace(config, hardware=name, training=training, attack=attack), said


def _fitting(machine: Machine) -> tuple[str, Profile]:
    """The profile for a card, with the card's own memory."""
    if machine.gpu is None:
        return "cpu", PROFILES["cpu"]
    major = machine.capability[0]
    name = "gtx1080" if major < 8 else "a100" if major < 9 else "h100"
    return name, replace(PROFILES[name], memory_gib=round(machine.memory_gib - 0.5, 1))


def _share(workers: int) -> float:
    """A share of a GPU of which so many fit; Ray takes none of 1 for a share."""
    return min(math.floor(1000 / max(workers, 1)) / 1000, 0.99)


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
