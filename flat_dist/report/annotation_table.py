"""The tables of what people said about adversarial texts."""

from dataclasses import replace

from flat_dist.evaluation.annotation import Annotation, Judged
from flat_dist.report.formatting import fixed, percent
from flat_dist.report.table import Table
from flat_dist.report.terminal import TerminalTable

HEADER = ("pairs of", "pairs", "same\nlabel, %", "adversarial\nfluent, %", "original\nfluent, %")

QUESTIONS = {"same_label": "same label", "fluent": "fluent"}
"""What people were asked, in words."""


def annotation_table(found: Annotation | None) -> Table:
    """Shares over all pairs, by attack and by model; empty if nobody was asked."""
    if found is None:
        return Table((), ())
    groups = {"all": found.all, **found.by_attack, **{f"against {name}": one for name, one in found.by_model.items()}}
    return Table(HEADER, [(name, *_cells(one)) for name, one in groups.items()])


def _cells(one: Judged) -> tuple[str, ...]:
    return (f"{one.pairs:,}", percent(one.same_label), percent(one.fluent), percent(one.fluent_originals))


def kappa_table(found: Annotation | None) -> Table:
    """Agreement of two people; empty with fewer."""
    if found is None or not found.kappa:
        return Table((), ())
    rows = [(QUESTIONS[name], fixed(value), f"{found.both[name]:,}") for name, value in found.kappa.items()]
    return Table(("question", "Cohen\u2019s κ", "answers of both"), rows)


def annotation_summary(found: Annotation | None) -> list[TerminalTable]:
    """The tables for a terminal; none if nobody was asked."""
    tables = {"judged by people": annotation_table(found), "agreement": kappa_table(found)}
    return [TerminalTable(replace(table, title=title)) for title, table in tables.items() if table.rows]
