"""The machine that a cell runs on."""

import os
import platform
from pathlib import Path

from flat_dist.reproduction.cards import Machine

CPU_INFO = Path("/proc/cpuinfo")


def this_machine(gpu: str | None = None) -> Machine:
    """Processor and usable cores of this machine.

    Args:
        gpu: its name, if one is used.
    """
    return Machine(_processor(), len(os.sched_getaffinity(0)), gpu)


def _processor() -> str:
    """The processor's name as Linux tells it, or else the architecture."""
    lines = CPU_INFO.read_text(encoding="utf-8").splitlines() if CPU_INFO.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.machine()
