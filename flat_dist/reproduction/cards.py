"""The card of a cell: one JSON file with what was run, on which machine, and all numbers, beside the paper's."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from flat_dist.config.schema import Config
from flat_dist.config.serialization import content_hash
from flat_dist.pipeline import run_folder
from flat_dist.report.paper import Numbers
from flat_dist.reproduction.cells import Cell
from flat_dist.storage import stage
from flat_dist.storage.folder import Folder

FORMAT = "flat_dist.reproduction/1"
"""Raised when cards get other fields: older ones are then not current."""

CARDS = "cards"
"""Folder of the cards in the results."""


@dataclass(frozen=True)
class Machine:
    """Where a cell ran."""

    processor: str
    cores: int
    """Those that this process may use."""
    gpu: str | None = None


@dataclass(frozen=True)
class Explained:
    """Consistency of one model's explanations under one attack, by one method. None where it is undefined."""

    kendall_tau: float | None
    """On the texts that the attack changed for all models of the cell."""
    top_5: float | None
    pairs: int
    """Number of these texts that were explained."""
    all_kendall_tau: float | None
    """Over all texts, in which unchanged ones count 1, as in the paper."""
    all_top_5: float | None
    unchanged: float | None
    """Share of all texts that the attack left unchanged."""
    top_k: list[float]
    """On the common pairs, for k from 1 to 10; empty if there is none."""
    all_top_k: list[float]
    taus: str
    """tau of at most 300 of the common pairs, as `flat_dist.reproduction.outcomes.encode_pairs` writes it."""
    tops: str
    """Top-5 intersection of the same pairs."""


@dataclass(frozen=True)
class Attacked:
    """One model under one attack. Shares are in [0, 1]; None where the model predicts one class for all texts."""

    after_attack_accuracy: float | None
    """For each text the worse outcome of the attack on probabilities and of that on margins."""
    probabilities: float | None
    """Under the attack that sees probabilities alone."""
    saturated: float | None
    """Share of the texts whose probability is exactly 1 before the attack."""
    failed_unchanged: float | None
    """Share of failed attacks that changed no word."""
    success_rate: float | None
    mean_queries: float | None
    words_changed: float | None
    n: int
    """Attacked texts."""
    outcomes: str
    """Whether each text of the split is right after the attack, as `flat_dist.reproduction.outcomes.encode` writes it;
    empty where the model predicts one class."""
    paper: Numbers
    """The paper's numbers."""
    explained: dict[str, Explained] = field(default_factory=dict)
    """By method: ig, lime."""

    @property
    def decided_by_rounding(self) -> float | None:
        """Share of the texts that are right after the attack on probabilities alone."""
        if self.probabilities is None or self.after_attack_accuracy is None:
            return None
        return self.probabilities - self.after_attack_accuracy


@dataclass(frozen=True)
class Trained:
    """One model of a cell."""

    round: int
    accuracy: float
    """On the test texts."""
    dev_accuracy: float
    right: str
    """Whether each test text is right without an attack."""
    attacks: dict[str, Attacked]
    """By the attack on the test texts."""


@dataclass(frozen=True)
class Correlated:
    """A correlation of Table 9."""

    r: float | None
    p: float | None
    n: int
    """Number of words."""
    paper_r: float | None
    paper_p: float | None


@dataclass(frozen=True)
class Spent:
    """The work in all rounds of a model so far, without base and without measurements."""

    steps: int
    """Optimiser steps."""
    training_seconds: float | None
    """Of the training worker. None: a training was interrupted after its last epoch, and its time is not known."""
    attack_seconds: float
    """On training texts, added up over the workers; of an attack that was continued, since the interruption."""

    @property
    def seconds(self) -> float | None:
        """Of all workers."""
        return None if self.training_seconds is None else self.training_seconds + self.attack_seconds


@dataclass(frozen=True)
class Measured:
    """The numbers of a cell."""

    trainings: dict[str, Trained]
    """By base, adv and flat; or by the name of a row of Table 5 or 10, or of `flat_dist.reproduction.growing`."""
    stand_ins: dict[str, list[str]]
    """Resources of each attack that stood in for TextAttack's."""
    texts: dict[str, int]
    """Number of texts by split."""
    correlations: dict[str, Correlated] = field(default_factory=dict)
    """Table 9, by pair."""
    counted_in: str = ""
    """Table 9: the attacked texts in which replaced words were counted."""
    spreads: dict[str, list[float]] = field(default_factory=dict)
    """Figure 5: minimum, quartiles and maximum of the difference of importance between a word and its synonyms."""

    clustered: str = ""
    """Table 10: the vectors by which words were put into groups."""

    spent: dict[str, Spent] = field(default_factory=dict)
    """Growing data: the work behind each model."""
    equal_compute: str = ""
    """Growing data: what models of the same round have in common, whatever their source of adversarial texts."""


@dataclass(frozen=True)
class Card:
    """A finished cell."""

    format: str
    cell: Cell
    identity: str
    """Hash of all that decides the numbers, up to the machine."""
    settings: dict[str, Any]
    """What the hash is of, apart from versions of formats."""
    machine: Machine
    hours: float
    """Of the run that finished the cell, without the stages that it found complete."""
    resumed: bool
    """Whether an earlier run did a part of it, so that `hours` has less than all."""
    estimated_hours: float
    """What was expected for the same work."""
    command: str
    date: str
    versions: dict[str, str]
    measured: Measured


def settings_of(cell: Cell, config: Config, fingerprint: str) -> dict[str, Any]:
    """All that decides the numbers of a cell. Hardware is left out: cards of several machines stand side by side.

    Args:
        cell: what is trained and measured.
        config: its config, before the hardware is resolved.
        fingerprint: of the dataset.
    """
    return {"cell": asdict(cell), "config": run_folder.identity(config, fingerprint)}


def identity_of(settings: Mapping[str, Any]) -> str:
    """The hash of settings and of the versions of cards and stages."""
    return content_hash({"format": FORMAT, "stages": stage.VERSION, **settings})


def read(results: Folder) -> dict[str, Card]:
    """All cards in the folder of the results, by the name of the cell.

    Raises:
        DamagedFileError: one is damaged.
    """
    folder = results / CARDS
    names = sorted(name for name in folder.names() if name.endswith(".json"))
    remedy = "delete it, and run the command again: the cell is measured from its stages"
    cards = [folder.read_json(name, Card, remedy) for name in names if _is_of_format(folder, name)]
    return {card.cell.name: card for card in cards}


def _is_of_format(folder: Folder, name: str) -> bool:
    """Whether a card has the format of this version; others are not read."""
    values = folder.read_json(name)
    return not isinstance(values, dict) or values.get("format") in (None, FORMAT)


def write(results: Folder, card: Card) -> None:
    """Write a card."""
    (results / CARDS).write_json(f"{card.cell.name}.json", asdict(card))
