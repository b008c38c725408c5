"""How long cells take: a list of their work, and measured speeds."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from flat_dist.config.schema import ADVERSARIAL, Config
from flat_dist.data.datasets import Dataset
from flat_dist.reproduction.cards import Card, Machine
from flat_dist.reproduction.cells import TABLE_10, Cell
from flat_dist.reproduction.growing import configs
from flat_dist.reproduction.recipes import kinds_of, rows_of

Key = tuple[Any, ...]
"""A piece of work: a stage, or stages that run together. Cells that share it have the same key."""

WORDS = 19.0
"""Mean number of words of a text of SST-2, on which the speeds were measured. Time grows with the words."""


@dataclass(frozen=True)
class Speeds:
    """Seconds of one core of an AMD EPYC (2026-11-30), on SST-2."""

    training: Mapping[str, float]
    """A text in an epoch, by model: vectors frozen."""
    substitutes: Mapping[str, float]
    """A clean text in an epoch with its substitute, by model: vectors trained."""
    attack: Mapping[tuple[str, str], float]
    """A text, by model and attack, on probabilities, if the model is easily fooled, as base is."""
    robust: Mapping[str, float]
    """How much longer the texts of adv and FLAT take, by recipe, with the second attack, on margins."""
    transfer: Mapping[str, float]
    """A text, by attack of Table 4, with both forms of scores."""
    explain: Mapping[str, float]
    """A pair, by model, with both methods."""
    start: float
    """Start and end of a stage, in seconds of wall time."""


MEASURED = Speeds(
    training={"cnn": 0.9e-3, "lstm": 2.2e-3},
    substitutes={"cnn": 2.9e-3, "lstm": 7.0e-3},
    attack={
        ("cnn", "textfooler"): 0.02,
        ("lstm", "textfooler"): 0.024,
        ("cnn", "pwws"): 0.012,
        ("lstm", "pwws"): 0.020,
    },
    robust={"released": 2.0, "paper": 1.3, "ours": 3.5},
    transfer={"pwws": 0.03, "genetic": 1.3, "iga": 0.6, "pso": 0.5, "clare": 4.0, "bae": 1.2},
    explain={"cnn": 0.035, "lstm": 0.15},
    start=3.0,
)


@dataclass(frozen=True)
class Texts:
    """Sizes of a dataset."""

    train: int
    test: int
    words: float
    """Mean number of words of a training text, at most the config's maximum length."""


def texts_of(dataset: Dataset, max_length: int) -> Texts:
    """The sizes of a dataset, for texts that are cut at a length."""
    lengths = [min(len(text.split()), max_length) for text in dataset.train["text"].to_pylist()]
    return Texts(dataset.train.num_rows, dataset.test.num_rows, sum(lengths) / len(lengths))


@dataclass(frozen=True)
class CellWork:
    """The work of one cell.

    Args:
        cell: what to train and measure.
        config: its config.
        texts: sizes of its dataset.
        cores: those that work side by side.
    """

    cell: Cell
    config: Config
    texts: Texts
    cores: int

    @property
    def _scale(self) -> float:
        """Time of a text beside one of SST-2."""
        return self.texts.words / WORDS

    @property
    def _place(self) -> Key:
        return self.cell.dataset, self.cell.model, self.cell.recipe, self.cell.seed

    def seconds(self) -> dict[Key, float]:
        """Seconds of each piece of work, if nothing is done yet."""
        if self.cell.use == "growing":
            return self._growing()
        rows = rows_of(self.cell)
        found = self._clean_trainings(rows)
        for row in rows:
            if row.startswith(ADVERSARIAL):
                found |= self._rounds(row)
        return found | self._measurements(rows)

    def _growing(self) -> dict[Key, float]:
        """Base, then the rounds of each source of adversarial texts, with an attack on test texts after each."""
        found = self._clean_trainings(("base",)) | self._measurements(("base",))
        for source, config in configs(self.config).items():
            for row in ADVERSARIAL:
                found |= {(source, *key): value for key, value in replace(self, config=config)._rounds(row).items()}
                tests = self._measurements((row,)).items()
                rounds = range(1, config.training.rounds + 1)
                found |= {(source, number, *key): value for number in rounds for key, value in tests}
        return found

    def _train(self, texts: float, epochs: int, per_text: float, beside: int = 1) -> float:
        """Seconds of a training; `beside` is the number of trainings that run at the same time."""
        return MEASURED.start + texts * epochs * per_text * self._scale / min(self.cores, beside)

    def _clean_trainings(self, rows: Sequence[str]) -> dict[Key, float]:
        training, model = self.config.training, self.cell.model
        seconds = self._train(self.texts.train, training.epochs, MEASURED.training[model])
        own = [row for row in rows if (training.init == "scratch" and row.startswith("flat")) or TABLE_10.get(row)]
        found: dict[Key, float] = {("train", *self._place, row, 0): seconds for row in own}
        if len(own) < len(rows):
            found["train", *self._place, "base"] = seconds
        return found

    def _rounds(self, row: str) -> dict[Key, float]:
        """The attacks and trainings of the rounds of a model."""
        training, model, attack = self.config.training, self.cell.model, self.cell.attack
        beside = len(ADVERSARIAL) if "adv" in kinds_of(self.cell) else 1
        attacked = min(self.config.attack.sample or self.texts.train, self.texts.train)
        found: dict[Key, float] = {}
        for number in range(1, training.rounds + 1):
            if training.adversaries == "gradient":
                per_text, texts = MEASURED.substitutes[model], float(self.texts.train)
            else:
                own = number > 1 or (training.init == "scratch" and row.startswith("flat"))
                of = (row, number) if own else ("base", 1)
                found["attack", *self._place, attack, *of] = self._spread(MEASURED.attack[model, attack] * attacked)
                per_text = MEASURED.training[model]
                texts = self.texts.train + float(attacked * (number if training.shards == "accumulate" else 1))
                if self.config.objective.weighting == "balanced":
                    texts = 2.0 * self.texts.train  # a step has as many adversarial texts as clean ones
            seconds = self._train(texts, training.epochs_per_round, per_text, beside)
            found["train", *self._place, attack, row, number] = seconds
        return found

    def _spread(self, seconds: float) -> float:
        """Seconds of work on SST-2's texts that all cores share."""
        return MEASURED.start + seconds * self._scale / self.cores

    def _measurements(self, rows: Sequence[str]) -> dict[Key, float]:
        """The attacks on test texts, and the explanations."""
        evaluation, model = self.config.evaluation, self.cell.model
        count = min(evaluation.sample or self.texts.test, self.texts.test)
        found: dict[Key, float] = {}
        for row in rows:
            for attack in evaluation.attacks:
                if self.cell.use == "transfer":
                    seconds = MEASURED.transfer[attack] * count
                else:
                    robust = MEASURED.robust[self.cell.recipe] if row.startswith(ADVERSARIAL) else 1.0
                    seconds = MEASURED.attack[model, attack] * count * robust
                trained_on = (self.cell.attack,) if row.startswith(ADVERSARIAL) else ()
                found["test", *self._place, row, *trained_on, attack, count] = self._spread(seconds)
        if evaluation.explain:
            pairs = min(evaluation.ig_pairs or count, count) * len(rows)
            found["explain", *self._place, self.cell.attack] = self._spread(MEASURED.explain[model] * pairs)
        return found


def missing_seconds(work: Iterable[Mapping[Key, float]], done: Iterable[Mapping[Key, float]]) -> list[float]:
    """Seconds of each cell's work that no cell before it has.

    Args:
        work: of the cells to run, in their order.
        done: of the cells that have a card.
    """
    known = {key for one in done for key in one}
    found = []
    for one in work:
        found.append(sum(seconds for key, seconds in one.items() if key not in known))
        known |= one.keys()
    return found


def calibration(cards: Iterable[Card], machine: Machine) -> tuple[float, int]:
    """How much longer finished cells took on such a machine than was expected, and the number of these cells.

    Cells that were continued after an interruption are left out: their hours have less than all.
    """
    own = [card for card in cards if card.machine == machine and not card.resumed and card.estimated_hours > 0]
    expected = sum(card.estimated_hours for card in own)
    return (sum(card.hours for card in own) / expected if own else 1.0), len(own)
