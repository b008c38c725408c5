"""The actor that explains pairs."""

from flat_dist.scheduling.session import Session
from flat_dist.scheduling.worker import Worker


class AttributionWorker(Worker):
    """Explains chunks of pairs for any attribution job."""

    def make_session(self) -> Session:
        """A session that holds the model."""
        from flat_dist.evaluation.attribution_session import AttributionSession

        return AttributionSession()
