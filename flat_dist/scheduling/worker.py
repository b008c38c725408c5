"""The Ray actor that processes chunks. Its session imports the large packages, so that the driver does not."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import ray

from flat_dist.config.errors import UserError
from flat_dist.runtime.timeline import Span
from flat_dist.scheduling.liveness import Heartbeat
from flat_dist.scheduling.session import Session, Watched


@dataclass(frozen=True)
class Answer:
    """What a worker's call returns."""

    result: Any
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Seconds spent in the call, by component; and counts of a stage."""
    process: str = ""
    """Name of the worker's process."""
    spans: Sequence[Span] = ()
    """What the process did since its last call."""


OPTIONS: dict[str, Any] = {"max_restarts": 0, "max_task_retries": 0, "concurrency_groups": {"heartbeat": 1}}
"""How Ray runs a worker: one call after another, while a second thread answers `Worker.heartbeat`. Ray restarts and
retries nothing: the driver decides what happens after a crash."""


class Worker(ABC):
    """Processes chunks of any job of its kind, and keeps what the last job needed."""

    def __init__(self) -> None:
        self.error: UserError | None = None
        began = time.time()
        try:
            self.session = self.make_session()
            self.current: Watched = self.session
            self.session.recorder.spans.append(Span("import", began, time.time()))
        except UserError as error:  # if it were raised here, Ray would wrap it in a traceback
            self.error = error

    @abstractmethod
    def make_session(self) -> Session:
        """Make the session of this process."""

    def session_for(self, job: Any) -> Session:
        """The session that processes a job."""
        return self.session

    def ready(self) -> str:
        """Id of the worker's node, once it has started.

        Raises:
            UserError: the worker cannot work, for a reason that the user can correct.
        """
        if self.error:
            raise self.error
        node: str = ray.get_runtime_context().get_node_id()
        return node

    @ray.method(concurrency_group="heartbeat")
    def heartbeat(self) -> Heartbeat:
        """Time since the last progress. A stopped process does not answer."""
        return Heartbeat(time.monotonic() - self.current.watchdog.last_tick, self.current.loading)

    def run(self, job: Any, number: int, examples: pa.Table) -> Answer:
        """Process a whole unit and write it."""
        return self._measured(job, lambda session: session.run(job, number, session.read(examples)))

    def process(self, job: Any, examples: pa.Table) -> Answer:
        """Process a part of a unit: the results of its examples."""
        return self._measured(job, lambda session: session.process(job, session.read(examples)))

    def write(self, job: Any, number: int, results: Sequence[Any]) -> Answer:
        """Write a unit that was processed in several chunks."""
        return self._measured(job, lambda session: session.write(job, number, results))

    def _measured(self, job: Any, work: Callable[[Session], Any]) -> Answer:
        self.current = session = self.session_for(job)
        before = session.seconds()
        with session.recorder.phase(session.PHASE):
            result = work(session)
        seconds = {name: spent - before.get(name, 0.0) for name, spent in session.seconds().items()}
        return Answer(result, seconds, *session.recorder.take())
