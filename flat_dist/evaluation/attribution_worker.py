"""The actor that explains pairs, and how many of them a config asks for."""

from dataclasses import replace

from flat_dist.config.schema import Config
from flat_dist.runtime import capacity
from flat_dist.scheduling.session import Session
from flat_dist.scheduling.worker import Worker
from flat_dist.scheduling.worker_group import WorkerGroup, ray_group


class AttributionWorker(Worker):
    """Explains chunks of pairs for any attribution job."""

    def make_session(self) -> Session:
        """A session that holds the model."""
        from flat_dist.evaluation.attribution_session import AttributionSession

        return AttributionSession()


def attribution_workers(config: Config) -> WorkerGroup:
    """One worker for each CPU; on GPUs, one for each GPU.

    An autoscaling cluster is asked for more: for as many as there are attack workers.
    """
    device = config.training.device
    group = ray_group(AttributionWorker, device, 1.0 if device == "cuda" else 0.0)
    wanted = config.attack.workers
    return replace(group, wanted=max(wanted, group.capacity(capacity.total()))) if wanted else group
