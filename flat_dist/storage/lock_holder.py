"""The holder of a folder's lock: what a driver writes about itself, and whether it still runs."""

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
"""File that names the holder; on an object store it is the lease."""
UNKNOWN = "another driver"


@dataclass(frozen=True)
class LockHolder:
    """The driver that holds a lock."""

    host: str
    pid: int
    since: float
    """Seconds since 1970 on the holder's clock; only shown, never compared."""
    token: str = ""
    machine: str = ""
    """Identifies machine and process namespace, where one process can see another; empty if unknown."""
    started: int = 0
    """Start of the process in kernel ticks, because process numbers are used again."""
    renewed: int = 0
    """Number of renewals."""

    @classmethod
    def of_this_process(cls) -> "LockHolder":
        """This process, with a new token."""
        pid, token = os.getpid(), secrets.token_hex(8)
        return cls(socket.gethostname(), pid, time.time(), token, _machine(), _started(pid) or 0)

    @classmethod
    def parse(cls, content: bytes) -> "LockHolder | None":
        """The holder in a file's content; None if the content is damaged."""
        with contextlib.suppress(ValueError, TypeError, ArithmeticError, OSError, RecursionError):
            values = json.loads(content)
            holder = cls(**{name: values[name] for name in cls.__dataclass_fields__ if name in values})
            valid = all(type(getattr(holder, name)) is kind for name, kind in FIELD_TYPES.items())
            if valid and 0 < holder.pid < 2**31 and holder.host.isprintable():
                time.localtime(holder.since)
                return holder
        return None

    def to_bytes(self) -> bytes:
        """Content of the file, for `parse`."""
        return (json.dumps(asdict(self), indent=1) + "\n").encode()

    def __str__(self) -> str:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        return f"process {self.pid} on {self.host[:100]}, since {since}"

    def is_alive(self) -> bool | None:
        """Whether the process runs; None if this process cannot see that."""
        if not self.machine or self.machine != _machine():
            return None
        if not psutil.pid_exists(self.pid):
            return False
        started = _started(self.pid)
        return None if started is None or not self.started else started == self.started


FIELD_TYPES = {"host": str, "pid": int, "since": float, "token": str, "machine": str, "started": int, "renewed": int}


def _machine() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _started(pid: int) -> int | None:
    """Start of a process, in ticks since boot; 0 if it has ended, None if it cannot be seen."""
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return 0 if state in "ZX" else int(rest[18])
    except (OSError, ValueError, IndexError):
        return None
