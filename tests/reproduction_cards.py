"""Made-up cards of a reproduction, for tests that need no model."""

from collections.abc import Mapping

from flat_dist.reproduction.cards import (
    FORMAT,
    Attacked,
    Card,
    Correlated,
    Explained,
    Machine,
    Measured,
    Spent,
    Trained,
)
from flat_dist.reproduction.cells import FIRST_SEED, Cell, DatasetName, Use
from flat_dist.reproduction.published import published

MACHINE = Machine("a processor", 2)

RIGHT = {"base": "111110", "adv": "111100", "flat": "111101"}
AFTER = {"base": "100000", "adv": "110000", "flat": "11110-"}
TAUS = {"base": "0:0.100 1:0.200", "adv": "0:0.300 2:0.100", "flat": "0:0.500 1:0.100 2:0.400"}


def explained(taus: str) -> Explained:
    return Explained(0.25, 0.5, 2, 0.75, 0.875, 0.5, [0.1 * k for k in range(1, 11)], [0.5] * 10, taus, taus)


def attacked(
    cell: Cell, training: str, outcomes: str, attack: str | None = None, methods: tuple[str, ...] = ("ig", "lime")
) -> Attacked:
    known = [letter for letter in outcomes if letter != "-"]
    share = known.count("1") / len(known) if known else None
    return Attacked(
        after_attack_accuracy=share,
        probabilities=None if share is None else share + 0.125,
        saturated=0.25,
        failed_unchanged=0.5,
        success_rate=0.5,
        mean_queries=30.0,
        words_changed=0.2,
        n=len(known),
        outcomes=outcomes,
        paper=published(cell, training, attack or cell.attack),
        explained={method: explained(TAUS[training]) for method in methods},
    )


def card(
    seed: int = FIRST_SEED,
    *,
    recipe: str = "ours",
    after: Mapping[str, str] = AFTER,
    right: Mapping[str, str] = RIGHT,
    hours: float = 0.5,
    resumed: bool = False,
) -> Card:
    """A card of Tables 2, 3, 7 and 8: a CNN on SST-2, trained against TextFooler."""
    cell = Cell("main", "sst2", "cnn", "textfooler", recipe, seed)  # type: ignore[arg-type]
    trainings = {
        name: Trained(
            int(name != "base"),
            letters.count("1") / len(letters),
            0.75,
            letters,
            {"textfooler": attacked(cell, name, after[name])},
        )
        for name, letters in right.items()
    }
    return finished(
        cell, Measured(trainings, {"textfooler": ["synonyms"]}, {"train": 9, "dev": 5, "test": 6}), hours, resumed
    )


def other_card(use: Use) -> Card:
    """A card of Table 4, 5 or 9, of an LSTM on SST-2; or of Table 10, of a CNN on AG News."""
    cell = Cell(use, "sst2", "lstm", "textfooler", "paper", FIRST_SEED)
    if use == "groups":
        cell = Cell(use, "ag_news", "cnn", "textfooler", "paper", FIRST_SEED)
    attacks = ("pwws", "genetic") if use == "transfer" else ("textfooler",)
    rows = {"ablation": ("flat-gamma-0", "flat"), "groups": ("base", "groups-20")}.get(use, ("base", "flat"))
    trainings = {
        row: Trained(
            1, 0.5, 0.75, "111000", {attack: attacked(cell, row, "110000", attack, methods=()) for attack in attacks}
        )
        for row in rows
    }
    correlations = {"importance-word_frequency": Correlated(-0.5, 0.25, 9, -0.028, 0.001)} if use == "words" else {}
    return finished(cell, Measured(trainings, {}, {"train": 9, "dev": 5, "test": 6}, correlations))


GROWN = {
    "base": "100000",
    "adv-attack-1": "110000",
    "flat-attack-1": "110000",
    "adv-attack-2": "111000",
    "flat-attack-2": "11110-",
    "adv-gradient-1": "111100",
    "flat-gradient-1": "111110",
    "adv-gradient-2": "111100",
    "flat-gradient-2": "111110",
    "adv-smoothed-1": "111100",
    "flat-smoothed-1": "111111",
    "adv-smoothed-2": "111110",
    "flat-smoothed-2": "111111",
}
"""Outcomes of two rounds of growing data, by row."""


def growing_card(
    seed: int = FIRST_SEED, dataset: DatasetName = "customer_reviews", after: Mapping[str, str] = GROWN
) -> Card:
    """A card about growing data: two rounds of a CNN."""
    cell = Cell("growing", dataset, "cnn", "textfooler", "ours", seed)
    trainings, spent = {}, {}
    for row, outcomes in after.items():
        number = 0 if row == "base" else int(row[-1])
        found = {"textfooler": attacked(cell, row, outcomes, methods=())}
        trainings[row] = Trained(number, 5 / 6, 0.75, "111110", found)
        if number:
            spent[row] = Spent(12 * number, 10.0 * number, 30.0 * number if "attack" in row else 0.0)
    texts = {"train": 9, "dev": 5, "test": 6}
    return finished(cell, Measured(trainings, {"textfooler": ["synonyms"]}, texts, spent=spent))


def finished(cell: Cell, measured: Measured, hours: float = 0.5, resumed: bool = False) -> Card:
    return Card(
        format=FORMAT,
        cell=cell,
        identity="0123456789abcdef",
        settings={"cell": {}, "config": {}},
        machine=MACHINE,
        hours=hours,
        resumed=resumed,
        estimated_hours=0.25,
        command="python jobs/reproduce.py --tables 2,3 --data FOLDER",
        date="2026-11-30",
        versions={"torch": "1"},
        measured=measured,
    )
