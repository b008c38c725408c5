"""Seeds that depend only on their purpose."""

import hashlib
from typing import Any


def derive_seed(*parts: Any) -> int:
    """A seed below 2**63 from all parts, whose `repr` must be the same in every process."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big") >> 1
