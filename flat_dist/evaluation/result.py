"""Models under attack, and what was measured of them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

import pyarrow as pa

from flat_dist.evaluation.attributions import AttributionMethod
from flat_dist.evaluation.consistency import Consistency
from flat_dist.storage.folder import Folder


@dataclass(frozen=True)
class Result:
    """One model under one attack, on one split. Shares are in [0, 1]; None where nothing was measured."""

    training: str
    """base, adv or flat."""
    round: int
    """Rounds of training behind the model."""
    attack: str
    trained_on: bool | None
    """Whether training saw this attack; None where that is not known."""
    accuracy: float
    """On the whole split."""
    after_attack_accuracy: float
    """Of the n attacked examples; already wrong ones count as wrong (paper, Table 3)."""
    attack_success_rate: float | None
    mean_queries: float | None
    words_changed: float | None
    n: int
    interpretations: Mapping[str, Consistency] = field(default_factory=dict)
    """Consistency on original/adversarial pairs, by method: ig (paper, Table 3), lime (paper, Table 8)."""

    def metrics(self, split: str) -> dict[str, float | None]:
        """Its numbers on a split, by the names that they are tracked under; those by k are left out."""
        under, values = f"{split}/{self.attack}", asdict(self)
        names = ("after_attack_accuracy", "attack_success_rate", "mean_queries", "words_changed", "n")
        found: dict[str, float | None] = {f"{split}/accuracy": self.accuracy}
        found |= {f"{under}/{name}": values[name] for name in names}
        for method, consistency in self.interpretations.items():
            numbers = asdict(consistency) | {"top_5": consistency.top_5}
            found |= {f"{under}/{method}/{name}": value for name, value in numbers.items() if name != "top_k"}
        return found


@dataclass(frozen=True)
class Test:
    """A model under an attack."""

    kind: str
    """Kind of training, or name of the checkpoint."""
    number: int
    """Rounds of training behind it."""
    checkpoint: Folder
    attack: str
    shards: Folder
    """Where the attack's rows are."""


@dataclass(frozen=True)
class Explained:
    """Pairs of a test that were explained."""

    test: Test
    method: AttributionMethod
    pairs: pa.Table
    """Rows of `flat_dist.evaluation.attributions.SCHEMA`."""
    folder: Folder
    """Where they are kept."""
