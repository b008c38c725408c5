"""Runs the cells of a reproduction on Ray, one after another, with workers that stay warm."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata

from flat_dist.config.schema import Config
from flat_dist.pipeline.run_worker import run_workers, trainer
from flat_dist.pipeline.stages import Environment
from flat_dist.report.cards import VERSIONS
from flat_dist.reproduction.cards import FORMAT, Card
from flat_dist.reproduction.machine import this_machine
from flat_dist.reproduction.measure import CellRun
from flat_dist.reproduction.plan import FOLDER, HOUR, Planned
from flat_dist.runtime import hardware
from flat_dist.runtime.progress import Display
from flat_dist.scheduling.worker_group import WorkerGroup
from flat_dist.storage.folder import Folder
from flat_dist.tracking.tracker import NoTracker


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
    _kept: dict[str, WorkerGroup | None] = field(default_factory=dict)

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
        workers = self._workers_for(config)
        train = trainer(config, workers)
        environment = Environment(Folder(self.storage), NoTracker(), self.display, train, workers)
        finding = CellRun(one.cell, config, one.dataset, environment).run()
        gpu = self.machine.gpu if "cuda" in (config.training.device, config.attack.device) else None
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

    def _workers_for(self, config: Config) -> WorkerGroup | None:
        """Workers that stay from one cell to the next."""
        if "workers" not in self._kept:
            self._kept["workers"] = run_workers(config)
        return self._kept["workers"]
