"""The table that a run ends with."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table


@dataclass(frozen=True)
class Result:
    """One model under one attack, on the test split. Shares are in [0, 1]; None where nothing was measured."""

    training: str
    """base, adv or flat."""
    round: int
    """Rounds of training behind the model."""
    attack: str
    trained_on: bool
    """Whether training saw this attack."""
    accuracy: float
    """On the whole test split."""
    after_attack_accuracy: float
    """Of the n attacked examples; already wrong ones count as wrong (paper, Table 3)."""
    attack_success_rate: float | None
    mean_queries: float | None
    words_changed: float | None
    n: int
    kendall_tau: float | None = None
    """Of integrated gradients on original/adversarial pairs (paper, Table 3)."""
    top5_intersection: float | None = None
    pairs: int = 0
    """Pairs explained."""


COLUMNS = {
    "accuracy %": lambda row: _percent(row.accuracy),
    "after attack %": lambda row: _percent(row.after_attack_accuracy),
    "success %": lambda row: _percent(row.attack_success_rate),
    "queries": lambda row: "" if row.mean_queries is None else f"{row.mean_queries:.0f}",
    "words changed %": lambda row: _percent(row.words_changed),
    "Kendall's tau": lambda row: "" if row.kendall_tau is None else f"{row.kendall_tau:.2f}",
    "top-5": lambda row: "" if row.top5_intersection is None else f"{row.top5_intersection:.2f}",
    "n": lambda row: str(row.n),
    "pairs": lambda row: str(row.pairs),
}


def _by_attack(results: Sequence[Result]) -> list[Result]:
    return sorted(results, key=lambda row: (not row.trained_on, row.attack))


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"


def _name(row: Result) -> str:
    return row.attack if row.trained_on else f"{row.attack} (unseen)"


def table(results: Sequence[Result], title: str) -> Table:
    """Results for a terminal."""
    drawn = Table("attack", "training", *COLUMNS, title=title, title_justify="left")
    for row in _by_attack(results):
        drawn.add_row(_name(row), row.training, *(column(row) for column in COLUMNS.values()))
    return drawn


def markdown(results: Sequence[Result]) -> str:
    """Results as a Markdown table."""
    head = ["attack", "training", *COLUMNS]
    lines = [head, ["---"] * 2 + ["---:"] * len(COLUMNS)]
    lines += [[_name(row), row.training, *(column(row) for column in COLUMNS.values())] for row in _by_attack(results)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
