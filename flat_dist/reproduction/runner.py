"""Runs the cells of a reproduction on Ray, one after another, with workers that stay warm."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata

from flat_dist.attack.pool.actor import AttackWorker
from flat_dist.evaluation.attribution_worker import AttributionWorker
from flat_dist.pipeline.stages import Environment
from flat_dist.report.cards import VERSIONS
from flat_dist.reproduction.cards import FORMAT, Card
from flat_dist.reproduction.machine import this_machine
from flat_dist.reproduction.measure import CellRun
from flat_dist.reproduction.plan import FOLDER, HOUR, Planned
from flat_dist.runtime import capacity, hardware
from flat_dist.runtime.progress import Display
from flat_dist.scheduling.worker import Worker
from flat_dist.scheduling.worker_group import WarmWorkers, WorkerGroup
from flat_dist.storage.folder import Folder
from flat_dist.tracking.tracker import NoTracker
from flat_dist.training.single_task import train_alone


@dataclass(frozen=True)
class Runner:
    """Runs cells.

    Args:
        storage: folder of the stages.
        machine: the cluster's GPU.
        command: that cards name.
        display: shows the progress.
    """

    storage: str
    machine: hardware.Machine
    command: str
    display: Display

    def run(self, one: Planned, expected: float) -> tuple[Card, Mapping[str, bytes]]:
        """Train and measure the models of a cell; stages that are complete are not run again.

        Args:
            one: the cell.
            expected: hours, for the card.

        Returns:
            The card, and PNG files by name.

        Raises:
            UserError: training diverged, or an attack cannot run.
            IncompleteError: an attack has no result.
        """
        marks = Folder(self.storage) / FOLDER
        resumed = marks.exists(one.mark)
        marks.write_json(one.mark, {"cell": one.cell.name})
        began = time.monotonic()
        config, described = hardware.resolve(one.config, self.machine)
        self.display.log_line(described)
        on_cpu = config.attack.device == config.training.device == "cpu"
        attackers, explainers = self._workers if on_cpu else (None, None)
        environment = Environment(Folder(self.storage), NoTracker(), self.display, train_alone, attackers)
        finding = CellRun(one.cell, config, one.dataset, environment, explainers).run()
        gpu = None if on_cpu else self.machine.gpu
        card = Card(
            format=FORMAT,
            cell=one.cell,
            identity=one.identity,
            settings=dict(one.settings),
            machine=this_machine(gpu),
            hours=round((time.monotonic() - began) / HOUR, 4),
            resumed=resumed,
            estimated_hours=round(expected, 4),
            command=self.command,
            date=time.strftime("%Y-%m-%d"),
            versions={name: metadata.version(name) for name in VERSIONS},
            measured=finding.measured,
        )
        return card, finding.pictures

    @cached_property
    def _workers(self) -> tuple[WorkerGroup | None, WorkerGroup | None]:
        """Workers for attacks and explanations that stay from one stage to the next, because their start takes 15 to 25
        seconds, which a cell would spend ten times. In a Ray of this process alone nothing else needs their CPUs while
        they work; in a cluster of others they would take CPUs that Ray believes to be free."""
        if capacity.joined():
            return None, None
        return self._warm(AttackWorker), self._warm(AttributionWorker)

    def _warm(self, worker: type[Worker]) -> WorkerGroup:
        return WarmWorkers(worker).group(int(capacity.total()["CPU"]))
