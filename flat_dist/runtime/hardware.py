"""The hardware for training and attacks: GPU or CPU, and its precision.

For the GTX 1080, the paper's card, others report 6.8 TFLOPS in float32, 6.9 in float16, and 3.6 in emulated bfloat16:
half precision saves memory there, but no time.
"""

import ctypes
import math
from dataclasses import dataclass, replace

from flat_dist.config.errors import UserError
from flat_dist.config.schema import Config, Device, Hardware, Precision

GIB = 2**30

ATTACK_GIB = 3.0
"""GPU memory of one attack worker: CUDA, sentence encoder, victim, and their batches."""

DRIVER = "libcuda.so.1"
"""The library of the NVIDIA driver."""

PASCAL_WHEELS = "https://download.pytorch.org/whl/cu126"
"""The last builds of PyTorch with kernels for GPUs before Turing (sm_75)."""


@dataclass(frozen=True)
class Profile:
    """Settings for a kind of machine."""

    device: Device
    precision: Precision
    """Precision of training: bfloat16 from Ampere (sm_80) on; older GPUs emulate it or do not have it."""
    memory_gib: float = 0.0
    """GPU memory that this project may use."""
    attack_workers: int = 0
    """Attack workers that share a GPU."""


PROFILES: dict[Hardware, Profile] = {
    "cpu": Profile("cpu", "float32"),
    "gtx1080": Profile("cuda", "float32", 7.5, 2),
    "a100": Profile("cuda", "bfloat16", 39.0, 6),
    "h100": Profile("cuda", "bfloat16", 78.0, 8),
}


@dataclass(frozen=True)
class Machine:
    """The GPU that torch can use, or the reason why there is none."""

    gpu: str | None = None
    """Name of the GPU."""
    capability: tuple[int, int] = (0, 0)
    """Compute capability, such as (6, 1)."""
    memory_gib: float = 0.0
    problem: str = "there is no GPU"
    """Why no GPU can be used, as a clause."""


def detect() -> Machine:
    """Look for a GPU and run a kernel on it. PyTorch is imported only if there is an NVIDIA driver."""
    if not has_driver():
        return Machine(problem=f"this machine has no NVIDIA driver ({DRIVER} is missing)")
    import torch

    if not torch.cuda.is_available():
        build = "" if torch.version.cuda else f" (this torch, {torch.__version__}, is built for CPUs)"
        return Machine(problem=f"torch finds no GPU{build}")
    properties = torch.cuda.get_device_properties(0)
    capability = (properties.major, properties.minor)
    if not has_kernels(torch.cuda.get_arch_list(), capability):
        problem = _without_kernels(properties.name, capability, torch.__version__, torch.cuda.get_arch_list())
        return Machine(problem=problem)
    try:
        (torch.zeros(1, device="cuda") + 1).item()
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        return Machine(problem=f"{properties.name} does not run with torch {torch.__version__} ({reason})")
    return Machine(properties.name, capability, properties.total_memory / GIB)


def has_driver() -> bool:
    """Whether the library of the NVIDIA driver can be loaded, which PyTorch needs to use a GPU."""
    try:
        ctypes.CDLL(DRIVER)
    except OSError:
        return False
    return True


def has_kernels(built_for: list[str], capability: tuple[int, int]) -> bool:
    """Whether a build has kernels for a GPU: of its major version and no later minor version, or earlier PTX."""
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


def _without_kernels(name: str, capability: tuple[int, int], version: str, built_for: list[str]) -> str:
    label = PASCAL_WHEELS.rsplit("/")[-1]  # without the label, pip keeps the installed build
    source = f"+{label} --index-url {PASCAL_WHEELS}" if capability < (7, 5) else " --upgrade"
    return (
        f"{name} (sm_{capability[0]}{capability[1]}) has no kernels in this build of torch ({version}, made "
        f"for {', '.join(built_for)}): pip install torch=={version.partition('+')[0]}{source}"
    )


def resolve(config: Config, machine: Machine, imagine: bool = False) -> tuple[Config, str]:
    """The config with the settings of the hardware filled in, and one sentence about the choice.

    Args:
        config: a run.
        machine: what `detect` found.
        imagine: assume the GPU that the config names, to plan for it.

    Raises:
        UserError: the config names a GPU, but no GPU can be used.
    """
    name, profile = config.hardware, PROFILES.get(config.hardware)
    if profile is None:
        name, profile = _profile_for(machine)
        summary = f"hardware: {machine.gpu or machine.problem}, so {name}"
    elif profile.device == "cuda" and machine.gpu is None and not imagine:
        raise UserError(f"--hardware {name} needs a GPU, but {machine.problem}; use --hardware cpu")
    else:
        summary = f"hardware: {name}, as configured"
    training, attack = config.training, config.attack
    share = _share(min(profile.attack_workers, int(profile.memory_gib / ATTACK_GIB)))
    devices = [profile.device if device == "auto" else device for device in (training.device, attack.device)]
    training = replace(
        training,
        device=devices[0],
        precision=profile.precision if training.precision == "auto" else training.precision,
        memory_gib=training.memory_gib or profile.memory_gib,
    )
    gpus = attack.gpus_per_worker or (share if devices[1] == "cuda" else 0.0)
    attack = replace(attack, device=devices[1], gpus_per_worker=gpus)
    return replace(config, hardware=name, training=training, attack=attack), summary


def _profile_for(machine: Machine) -> tuple[Hardware, Profile]:
    """The profile for a GPU, with its actual memory."""
    if machine.gpu is None:
        return "cpu", PROFILES["cpu"]
    major = machine.capability[0]
    name: Hardware = "gtx1080" if major < 8 else "a100" if major < 9 else "h100"
    return name, replace(PROFILES[name], memory_gib=round(machine.memory_gib - 0.5, 1))


def _share(workers: int) -> float:
    """Share of a GPU for so many workers, below 1 because Ray does not treat 1 as a share."""
    return min(math.floor(1000 / max(workers, 1)) / 1000, 0.99)
