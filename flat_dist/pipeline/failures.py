"""Attacks on test texts that failed, while the others went on."""

from collections.abc import Sequence
from dataclasses import dataclass

from flat_dist.config.errors import IncompleteError, UserError, first_line
from flat_dist.models.artifact import ModelArtifact


@dataclass(frozen=True)
class FailedAttack:
    """An attack that has no result."""

    training: str
    """The kind of training, or the name of a checkpoint."""
    round: int
    attack: str
    cause: str
    """What was wrong, in words."""

    @classmethod
    def on(cls, model: ModelArtifact, attack: str, error: Exception) -> "FailedAttack":
        """An attack on a model that failed with an error."""
        raised = getattr(error, "cause", None) or error  # Ray wraps errors of its workers
        cause = str(raised) if isinstance(raised, UserError) else f"{type(raised).__name__}: {first_line(raised)}"
        return cls(model.model_name, model.round, attack, cause)

    def describe(self) -> str:
        """What has no result, and why."""
        return f"{self.attack} on {self.training}: {self.cause}"


def check_complete(failures: Sequence[FailedAttack]) -> None:
    """Raise IncompleteError if there are failures."""
    if failures:
        raise IncompleteError(
            f"{len(failures)} of the attacks have no result ({'; '.join(each.describe() for each in failures)}): "
            "correct that, and run the same command again, which repeats nothing else"
        )
