"""A reproduction as a command: it shows the plan, or runs what is missing on Ray and writes cards and page."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata

from flat_dist import cli
from flat_dist.config.errors import IncompleteError, UserError
from flat_dist.report.cards import VERSIONS
from flat_dist.reproduction import cards
from flat_dist.reproduction.cards import FORMAT, Card
from flat_dist.reproduction.machine import this_machine
from flat_dist.reproduction.plan import HOUR, Estimate, Order, Planned, estimate
from flat_dist.reproduction.recipes import options_of
from flat_dist.runtime import hardware
from flat_dist.runtime.progress import Display
from flat_dist.storage.folder import Folder
from flat_dist.storage.lock import exclusive_lock

FOLDER = "reproduction"
"""Folder in the storage: the lock, and a mark of each cell that was begun."""


@dataclass(frozen=True)
class Reproduction:
    """A reproduction.

    Args:
        order: what to reproduce, and where.
        command: that cards name.
        as_json: whether to print one JSON object as the last line.
    """

    order: Order
    command: str
    as_json: bool = False

    @cached_property
    def _results(self) -> Folder:
        return Folder(self.order.results)

    def show_plan(self) -> None:
        """Print the cells, what is done, and the expected hours."""
        planned = self.order.plan()
        expected = estimate(planned)
        if self.as_json:
            rows = [
                {"cell": one.cell.name, "current": one.is_current, "hours": expected.hours.get(one.cell.name, 0.0)}
                for one in planned
            ]
            cli.print_json({"cells": rows, "hours": expected.total, "calibrated_by": expected.finished})
            return
        for number, one in enumerate(planned, 1):
            print(f"{number}. {one.cell.name}: {_state(one, expected)} ({options_of(one.cell)})")
        print(f"{len(expected.hours)} of {len(planned)} cells are missing: {expected.describe()}")

    def run(self) -> None:
        """Run the cells that have no current card, one after another, and write a card after each.

        Raises:
            UserError: the selection, the data or a folder cannot be used.
            IncompleteError: a cell failed; the others were run.
        """
        from flat_dist.reproduction.publish import publish
        from flat_dist.runtime import cluster

        planned = self.order.plan()
        expected = estimate(planned)
        missing = [one for one in planned if not one.is_current]
        publish(self._results)
        failed = {}
        if missing:
            lock = Folder(self.order.storage) / FOLDER
            with cluster.connected(), Display(as_json=self.as_json) as display:
                machine = cluster.machine(self.order.hardware, display.log_line)
                display.log_line(f"{len(missing)} of {len(planned)} cells are missing: {expected.describe()}")
                with exclusive_lock(lock, "this reproduction", log_line=display.log_line):
                    for number, one in enumerate(missing, 1):
                        name = one.cell.name
                        display.log_line(f"cell {number} of {len(missing)}: {name}, {_state(one, expected)}")
                        try:
                            self._run(one, expected.hours[name], machine, display)
                        except UserError as error:  # the hours of the other cells must not be lost
                            failed[name] = str(error)
                            display.log_line(f"{name} failed: {error}")
                            continue
                        publish(self._results)
        self._show(planned, failed)

    def _run(self, one: Planned, expected: float, machine: hardware.Machine, display: Display) -> None:
        """Run a cell, and write its card and pictures."""
        from flat_dist.pipeline.stages import Environment
        from flat_dist.reproduction.measure import CellRun
        from flat_dist.reproduction.publish import write_pictures
        from flat_dist.tracking.tracker import NoTracker
        from flat_dist.training.single_task import train_alone

        marks = Folder(self.order.storage) / FOLDER
        resumed = marks.exists(one.mark)
        marks.write_json(one.mark, {"cell": one.cell.name})
        began = time.monotonic()
        config, described = hardware.resolve(one.config, machine)
        display.log_line(described)
        environment = Environment(Folder(self.order.storage), NoTracker(), display, train_alone)
        finding = CellRun(one.cell, config, one.dataset, environment).run()
        write_pictures(self._results, finding.pictures)
        gpu = machine.gpu if "cuda" in (config.training.device, config.attack.device) else None
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
        cards.write(self._results, card)
        display.log_line(f"{one.cell.name}: {card.hours:.2f} hours")

    def _show(self, planned: Sequence[Planned], failed: dict[str, str]) -> None:
        """Print where the page is, and what failed."""
        from flat_dist.reproduction.page import PAGE

        print(f"page:  {self._results.uri}/{PAGE}\ncards: {self._results.uri}/{cards.CARDS}")
        if self.as_json:
            names = [one.cell.name for one in planned if one.cell.name not in failed]
            cli.print_json({"cells": names, "failed": failed, "results": self._results.uri})
        if failed:
            raise IncompleteError(
                f"{len(failed)} of {len(planned)} cells failed ({'; '.join(failed)}): see the lines above, and run the "
                "command again"
            )


def _state(one: Planned, expected: Estimate) -> str:
    """What happens to a cell."""
    if one.is_current:
        return "done"
    minutes = 60 * expected.factor * expected.hours[one.cell.name]
    outdated = ", its card is of other settings" if one.known is not None else ""
    return f"about {minutes:.0f} minutes{outdated}"
