"""The plan of a reproduction: its cells, which of them have a current card, and how long the others take."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from flat_dist.config.schema import Config, Hardware
from flat_dist.config.validation import validate
from flat_dist.data import datasets
from flat_dist.data.datasets import Dataset
from flat_dist.pipeline.plan import check
from flat_dist.reproduction import cards
from flat_dist.reproduction.cards import Card
from flat_dist.reproduction.cells import Cell, Selection
from flat_dist.reproduction.machine import this_machine
from flat_dist.reproduction.recipes import Measures, config_of
from flat_dist.reproduction.speed import CellWork, Key, calibration, missing_seconds, texts_of
from flat_dist.storage.folder import Folder

HOUR = 3600.0

FOLDER = "reproduction"
"""Folder in the storage: the lock, and a mark of each cell that was begun."""


@dataclass(frozen=True)
class Planned:
    """A cell with all that decides its numbers."""

    cell: Cell
    config: Config
    """Before the hardware is resolved."""
    dataset: Dataset
    settings: Mapping[str, Any]
    known: Card | None
    """Its card, if there is one; it may be of other settings."""
    work: Mapping[Key, float]
    """Expected seconds of each piece of its work."""

    @cached_property
    def identity(self) -> str:
        """Hash of `settings`."""
        return cards.identity_of(self.settings)

    @property
    def is_current(self) -> bool:
        """Whether its card has the numbers of these settings."""
        return self.known is not None and self.known.identity == self.identity

    @property
    def mark(self) -> str:
        """Name of the file that says that the cell was begun."""
        return f"{self.cell.name}-{self.identity}.json"


@dataclass(frozen=True)
class Order:
    """What to reproduce, and where.

    Args:
        selection: tables, models, datasets, attacks, recipes and seeds.
        measures: how much to measure.
        data: folder that has the folder of each dataset; None: the Hugging Face hub.
        storage: folder of the stages.
        results: folder of cards, page and pictures.
        hardware: profile.
    """

    selection: Selection
    measures: Measures = field(default_factory=Measures)
    data: str | None = None
    storage: str = "runs"
    results: str = "docs/results"
    hardware: Hardware = "auto"

    def plan(self) -> list[Planned]:
        """The cells in their order.

        Raises:
            UserError: the selection, the data, or a folder cannot be used; or a card is damaged.
        """
        pairs = [
            (cell, config_of(cell, self.data, self.measures, self.storage, self.hardware))
            for cell in self.selection.cells()
        ]
        Folder(self.results).check("--results")
        self.measures.check()
        for config in {cell.group: config for cell, config in pairs}.values():
            validate(config)
            check(config)
        loaded = {config.data.name: config.data for _, config in pairs}
        read = {name: datasets.load(data) for name, data in loaded.items()}
        sizes = {name: texts_of(read[name], data.max_length) for name, data in loaded.items()}
        known, cores = cards.read(Folder(self.results)), this_machine().cores
        return [
            Planned(
                cell,
                config,
                dataset := read[config.data.name],
                cards.settings_of(cell, config, dataset.fingerprint),
                known.get(cell.name),
                CellWork(cell, config, sizes[config.data.name], cores).seconds(),
            )
            for cell, config in pairs
        ]


@dataclass(frozen=True)
class Estimate:
    """How long the cells without a current card take."""

    hours: Mapping[str, float]
    """By the name of the cell, before the calibration."""
    factor: float
    """Calibration by finished cells of this machine."""
    finished: int
    """Number of these cells."""

    @property
    def total(self) -> float:
        """Hours of all cells."""
        return self.factor * sum(self.hours.values())

    def describe(self) -> str:
        """The estimate in one sentence."""
        by = (
            f"{self.finished} finished cells took {self.factor:.2f} times as long as the table says"
            if self.finished
            else "no cell is finished on this machine, so the speeds are those of an AMD EPYC"
        )
        return f"about {self.total:.1f} hours on {this_machine().cores} cores ({by})"


def estimate(planned: Sequence[Planned]) -> Estimate:
    """How long a plan takes on this machine. Work that cells share counts once."""
    missing = [one for one in planned if not one.is_current]
    seconds = missing_seconds([one.work for one in missing], [one.work for one in planned if one.is_current])
    factor, finished = calibration([one.known for one in planned if one.known is not None], this_machine())
    hours = {one.cell.name: spent / HOUR for one, spent in zip(missing, seconds, strict=True)}
    return Estimate(hours, factor, finished)
