"""Seeds that depend on what they are for, and on nothing else."""

import hashlib
from typing import Any


def derive_seed(*parts: Any) -> int:
    """A seed below 2**63 that depends on all the parts, which must print the same in every process."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big") >> 1
