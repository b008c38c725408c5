"""The tables of transfer: Table 4 of the paper, and the matrices of who was asked and who was attacked."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from flat_dist.evaluation.result import Result
from flat_dist.evaluation.significance import Interval
from flat_dist.evaluation.transfer import Transfer
from flat_dist.report import paper
from flat_dist.report.attack_notes import marked
from flat_dist.report.formatting import DASH, fixed, percent, spread
from flat_dist.report.table import Table
from flat_dist.report.terminal import TerminalTable

Cell = Callable[[Transfer], str]


def table4(results: Sequence[Result], published: tuple[str, Callable[[Result], paper.Numbers]]) -> Table:
    """After-attack accuracy of each model under each direct attack, as in Table 4 of the paper.

    Args:
        results: sorted by attack.
        published: heading of the paper's numbers, and a function that returns them. A model without any has no row of
            them.
    """
    heading, numbers = published
    attacks = list(dict.fromkeys(row.attack for row in results))
    rows = []
    for model in dict.fromkeys(row.training for row in results):
        own = {row.attack: row for row in results if row.training == model}
        first = next(iter(own.values()))
        rows.append(
            (model, percent(first.accuracy), *(_of(own, name, lambda r: r.after_attack_accuracy) for name in attacks))
        )
        if any(numbers(row).after_attack_accuracy is not None for row in own.values()):
            line = (_of(own, name, lambda row: numbers(row).after_attack_accuracy) for name in attacks)
            rows.append((f"  {' '.join(heading.split())}", percent(numbers(first).accuracy), *line))
    heads = {row.attack: marked(row) for row in results}
    return Table(("training", "no attack, %", *(heads[name] for name in attacks)), rows)


def _of(rows: dict[str, Result], attack: str, number: Callable[[Result], float | None]) -> str:
    return percent(number(rows[attack]) if attack in rows else None)


def transfer_tables(transfers: Sequence[Transfer]) -> dict[str, Table]:
    """After-attack accuracy over all texts, success rate on the common subset, and all numbers one by one."""
    return {
        "transfer": _matrix(transfers, lambda one: _with_interval(one.accuracy, one.accuracy_interval)),
        "transfer_common": _matrix(
            transfers, lambda one: _with_interval(one.common_success_rate, one.common_interval), common=True
        ),
        "transfer_numbers": _numbers(transfers),
    }


def _matrix(transfers: Sequence[Transfer], cell: Cell, common: bool = False) -> Table:
    """For each attack, the models that are asked, by those that the texts were made against."""
    models = list(dict.fromkeys(one.model for one in transfers))
    known = {(one.attack, one.model, one.made_against): one for one in transfers}
    rows = []
    for attack in dict.fromkeys(one.attack for one in transfers):
        for asked in models:
            direct = known.get((attack, asked, asked))
            if direct is None:  # the attack failed on this model
                continue
            cells = [_shown(known.get((attack, asked, source)), cell) for source in models]
            rows.append((attack, asked, cell(direct), *cells, *([f"{direct.common:,}"] if common else [])))
    head = ("attack", "asked", "direct", *(f"made against\n{name}" for name in models))
    return Table((*head, "n") if common else head, rows, text_columns=2)


def _shown(one: Transfer | None, cell: Cell) -> str:
    if one is None:
        return DASH
    return "direct" if one.direct else cell(one)


def _with_interval(share: float | None, interval: Interval | None) -> str:
    return percent(share) + (spread(share, interval) if share is not None and interval else "")


NUMBERS = (
    *(
        "attack",
        "asked",
        "made against",
        "after\nattack, %",
        "success, %",
        "common:\nsuccess, %",
        "common:\ntransferred, %",
    ),
    *("queries", "n", "common\nn", "common,\nsucceeded"),
)


def _numbers(transfers: Sequence[Transfer]) -> Table:
    rows = [
        (
            one.attack,
            one.model,
            "itself (direct)" if one.direct else one.made_against,
            percent(one.accuracy),
            percent(one.success_rate),
            percent(one.common_success_rate),
            percent(one.transferred),
            fixed(one.mean_queries, 0),
            f"{one.n:,}",
            f"{one.common:,}",
            f"{one.succeeded:,}",
        )
        for one in transfers
    ]
    return Table(NUMBERS, rows, text_columns=3)


ABOUT = "direct: attacked itself; others: shown the texts made against a model"
"""Says what the matrix is about."""


def transfer_summary(transfers: Sequence[Transfer]) -> list[TerminalTable]:
    """The matrix of after-attack accuracies for a terminal; none without transfers."""
    if not transfers:
        return []
    matrix = _matrix(transfers, lambda one: percent(one.accuracy))
    return [TerminalTable(replace(matrix, title="transfer: accuracy % after the attack"), ABOUT)]
