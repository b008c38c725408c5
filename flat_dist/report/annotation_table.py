"""The tables of what people said about adversarial texts."""

from rich import box
from rich.table import Table as Printed

from flat_dist.evaluation.annotation import Annotation, Judged
from flat_dist.report.formatting import fixed, percent
from flat_dist.report.table import Table

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


def annotation_summary(found: Annotation | None) -> list[Printed]:
    """The tables for a terminal; none if nobody was asked."""
    printed = []
    for title, table in (("judged by people", annotation_table(found)), ("agreement", kappa_table(found))):
        if table.rows:
            shown = Printed(*table.header, title=title, title_justify="left", box=box.SIMPLE_HEAD)
            for row in table.rows:
                shown.add_row(*row)
            printed.append(shown)
    return printed
