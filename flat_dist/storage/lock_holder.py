"""Who holds a folder: what a driver writes about itself there, and whether it still runs."""

import contextlib
import json
import os
import secrets
import socket
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

HOLDER = ".driver.json"
"""Says who holds a folder; on an object store it is the lease."""
UNKNOWN = "another driver"


@dataclass(frozen=True)
class LockHolder:
    """Who says that a folder is his."""

    host: str
    pid: int
    since: float
    """Seconds since 1970 on the holder's clock: shown, never compared."""
    token: str = ""
    machine: str = ""
    """Of processes of one machine, each of which sees whether the other lives; nothing where that is not known."""
    started: int = 0
    """When the process did, in the kernel's ticks: another process may get its number later."""
    renewed: int = 0
    """How often."""

    @classmethod
    def of_this_process(cls) -> "LockHolder":
        """This process, with a new token."""
        pid, token = os.getpid(), secrets.token_hex(8)
        return cls(socket.gethostname(), pid, time.time(), token, _machine(), _started(pid) or 0)

    @classmethod
    def parse(cls, content: bytes) -> "LockHolder | None":
        """Who wrote this; None if that cannot be told, as of a damaged file."""
        with contextlib.suppress(ValueError, TypeError, ArithmeticError, OSError, RecursionError):
            found = json.loads(content)
            holder = cls(**{name: found[name] for name in cls.__dataclass_fields__ if name in found})
            right = all(type(getattr(holder, name)) is kind for name, kind in KINDS.items())
            if right and 0 < holder.pid < 2**31 and holder.host.isprintable():
                time.localtime(holder.since)
                return holder
        return None

    def to_bytes(self) -> bytes:
        """What `parse` reads."""
        return (json.dumps(asdict(self), indent=1) + "\n").encode()

    def __str__(self) -> str:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        return f"process {self.pid} on {self.host[:100]}, since {since}"

    def is_alive(self) -> bool | None:
        """Whether the process runs; None if that cannot be seen from here."""
        if not self.machine or self.machine != _machine():
            return None
        if not psutil.pid_exists(self.pid):
            return False
        started = _started(self.pid)
        return None if started is None or not self.started else started == self.started


KINDS = {"host": str, "pid": int, "since": float, "token": str, "machine": str, "started": int, "renewed": int}


def _machine() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _started(pid: int) -> int | None:
    """When a process started, in ticks since the machine did; 0 if it has ended, None if that cannot be seen."""
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return 0 if state in "ZX" else int(rest[18])
    except (OSError, ValueError, IndexError):
        return None
