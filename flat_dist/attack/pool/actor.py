"""The actor that attacks."""

from flat_dist.scheduling.session import Session
from flat_dist.scheduling.worker import Worker


class AttackWorker(Worker):
    """Attacks chunks of any attack job."""

    def make_session(self) -> Session:
        """A session that holds the attack's resources."""
        from flat_dist.attack.pool.session import AttackSession

        return AttackSession()
