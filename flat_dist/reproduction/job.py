"""A reproduction as a command: it shows the plan, or runs what is missing on Ray and writes cards and page."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from flat_dist import cli
from flat_dist.config.errors import IncompleteError, UserError
from flat_dist.reproduction import cards
from flat_dist.reproduction.plan import FOLDER, Estimate, Order, Planned, estimate
from flat_dist.reproduction.recipes import options_of
from flat_dist.runtime.progress import Display
from flat_dist.storage.folder import Folder
from flat_dist.storage.lock import exclusive_lock

if TYPE_CHECKING:
    from flat_dist.reproduction.runner import Runner


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
            options = options_of(one.cell, self.order.measures.rounds)
            print(f"{number}. {one.cell.name}: {_state(one, expected)} ({options})")
        print(f"{len(expected.hours)} of {len(planned)} cells are missing: {expected.describe()}")

    def run(self) -> None:
        """Run the cells that have no current card, one after another, and write a card after each.

        Raises:
            UserError: the selection, the data or a folder cannot be used.
            IncompleteError: a cell failed; the others were run.
        """
        from flat_dist.reproduction.publish import publish
        from flat_dist.reproduction.runner import Runner
        from flat_dist.runtime import cluster

        planned = self.order.plan()
        missing = [one for one in planned if not one.is_current]
        publish(self._results)
        failed: dict[str, str] = {}
        if missing:
            lock = Folder(self.order.storage) / FOLDER
            with cluster.connected(), Display(as_json=self.as_json) as display:
                machine = cluster.machine(self.order.hardware, display.log_line)
                with exclusive_lock(lock, "this reproduction", log_line=display.log_line):
                    runner = Runner(self.order.storage, machine, self.command, display)
                    failed = self._run_all(missing, estimate(planned), runner)
        self._show(planned, failed)

    def _run_all(self, missing: Sequence[Planned], expected: Estimate, runner: "Runner") -> dict[str, str]:
        """Run cells. Returns why some failed, by name: the others are run in any case."""
        from flat_dist.reproduction.publish import publish, write_pictures

        log_line, failed = runner.display.log_line, {}
        log_line(f"{len(missing)} cells to run: {expected.describe()}")
        for number, one in enumerate(missing, 1):
            name = one.cell.name
            log_line(f"cell {number} of {len(missing)}: {name}, {_state(one, expected)}")
            try:
                card, pictures = runner.run(one, expected.hours[name])
            except UserError as error:
                failed[name] = str(error)
                log_line(f"{name} failed: {error}")
                continue
            write_pictures(self._results, pictures)  # before the card, which says that the cell is complete
            cards.write(self._results, card)
            publish(self._results)
            log_line(f"{name}: {card.hours:.2f} hours")
        return failed

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
