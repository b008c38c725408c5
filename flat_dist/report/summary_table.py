"""The table that a run prints at its end."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from flat_dist.config.schema import WORST
from flat_dist.evaluation.classes import UNBALANCED, unbalanced
from flat_dist.evaluation.top_k import TOP_HEADING
from flat_dist.report.attack_notes import attack_notes, marked
from flat_dist.report.formatting import spread
from flat_dist.report.table import Table
from flat_dist.report.terminal import TerminalTable

if TYPE_CHECKING:
    from flat_dist.evaluation.result import Result
    from flat_dist.evaluation.significance import Interval

BAR = "\\|"
"""A vertical bar inside a cell of a Markdown table."""

METHODS = {"ig": "IG", "lime": "LIME"}
"""Attribution methods, and their names in tables."""


NOT_REPORTED = "-"
"""After-attack accuracy of a model that predicts one class for all texts."""


def _tau(method: str) -> Callable[["Result"], str]:
    return lambda row: _two(row.interpretations[method].common.kendall_tau) if method in row.interpretations else ""


def _top(method: str) -> Callable[["Result"], str]:
    return lambda row: _two(row.interpretations[method].common.top) if method in row.interpretations else ""


COLUMNS: dict[str, Callable[["Result"], str]] = {
    "accuracy %": lambda row: _percent(row.accuracy),
    "after attack %": lambda row: _with_interval(row.after_attack_accuracy, row.after_attack_interval) or NOT_REPORTED,
    "success %": lambda row: _percent(row.attack_success_rate),
    "queries": lambda row: "" if row.mean_queries is None else f"{row.mean_queries:.0f}",
    "changed %": lambda row: _percent(row.words_changed),
    "n": lambda row: str(row.n),
    "tau IG": _tau("ig"),
    f"{TOP_HEADING} IG": _top("ig"),
    "tau LIME": _tau("lime"),
    f"{TOP_HEADING} LIME": _top("lime"),
}


ABOUT_PAIRS = f"tau, {TOP_HEADING}: over the texts that the attack changed for every model in the table"
"""Says what these columns are about."""


MACRO_F1 = "macro F1 %"
"""Heading of the column that unbalanced classes add."""

ABOUT_F1 = (
    f"macro F1: mean F1 of the classes, shown because the largest has at least {UNBALANCED:g} times as many texts as "
    "the smallest"
)
"""Says what this column is about."""


def _shows_f1(results: Sequence["Result"]) -> bool:
    return any(unbalanced(row.by_class) for row in results)


def _columns(results: Sequence["Result"]) -> dict[str, Callable[["Result"], str]]:
    """The columns after attack and training, without those of what was not measured; macro-F1 follows accuracy where
    classes are unbalanced."""
    (name, accuracy), *others = COLUMNS.items()
    macro_f1 = {MACRO_F1: lambda row: _percent(row.macro_f1)} if _shows_f1(results) else {}
    columns: dict[str, Callable[[Result], str]] = {name: accuracy, **macro_f1, **dict(others)}
    return {name: column for name, column in columns.items() if any(map(column, results))}


def _about(results: Sequence["Result"]) -> str:
    about = [ABOUT_F1] if _shows_f1(results) else []
    about += [ABOUT_PAIRS] if any(row.interpretations for row in results) else []
    return "; ".join([*about, *attack_notes(results)])


def _by_attack(results: Sequence["Result"]) -> list["Result"]:
    return sorted(results, key=lambda row: (row.attack == WORST, not row.trained_on, row.attack))


def _two(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"


def _with_interval(share: float | None, interval: "Interval | None") -> str:
    """A share and its 95 % interval."""
    return _percent(share) + ("" if share is None or interval is None else spread(share, interval))


def _name(row: "Result") -> str:
    return f"{marked(row)} (unseen)" if row.trained_on is False else marked(row)


def table(results: Sequence["Result"], title: str) -> TerminalTable:
    """Results for a terminal."""
    columns = _columns(results)
    rows = [(_name(row), row.training, *(column(row) for column in columns.values())) for row in _by_attack(results)]
    return TerminalTable(Table(("attack", "training", *columns), rows, 2, title), _about(results))


def markdown(results: Sequence["Result"]) -> str:
    """Results as a Markdown table."""
    columns = _columns(results)
    lines = [["attack", "training", *columns], ["---"] * 2 + ["---:"] * len(columns)]
    lines += [[_name(row), row.training, *(column(row) for column in columns.values())] for row in _by_attack(results)]
    rows = "".join(f"| {' | '.join(cell.replace('|', BAR) for cell in line)} |\n" for line in lines)
    return f"{rows}\n{about}.\n" if (about := _about(results)) else rows
