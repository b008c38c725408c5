"""Charts of margins by the outcome of an attack, and their numbers."""

from collections.abc import Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes

from flat_dist.evaluation.attack_margins import SATURATED, AttackMargins
from flat_dist.report.charts import COLOURS, INK, Chart, render_chart
from flat_dist.report.formatting import fixed, percent
from flat_dist.report.table import Table

BINS = 30

OUTCOME_COLOURS = {"skipped": COLOURS["base"], "successful": COLOURS["adv"], "failed": COLOURS["flat"]}


def margin_charts(found: Sequence[AttackMargins]) -> list[Chart]:
    """A histogram for each model: margin of the right class before the attack, coloured by the outcome."""
    return [
        render_chart(
            f"margins-{number}",
            f"texts by the margin of the right class before {one.attack} on {one.training}, coloured by outcome",
            partial(_draw, found=one),
        )
        for number, one in enumerate(found)
    ]


def _draw(axes: Axes, found: AttackMargins) -> None:
    everything = np.concatenate([np.zeros(1), *found.by_outcome.values()])
    bins = np.linspace(everything.min(), everything.max() + 1e-6, BINS + 1).tolist()
    shown = {name: values for name, values in found.by_outcome.items() if len(values)}
    if shown:
        axes.hist(
            list(shown.values()), bins, stacked=True, label=list(shown), color=[OUTCOME_COLOURS[n] for n in shown]
        )
        axes.legend()
    if everything.max() > SATURATED:
        axes.axvline(SATURATED, color=INK, linestyle=":")
    axes.set(title=f"{found.training[:24]}, {found.attack}", xlabel="margin of the right class", ylabel="texts")


def margin_table(found: Sequence[AttackMargins]) -> Table:
    """Number of texts, quartiles of the margin, and share above the margin at which probabilities are 1, by outcome."""
    rows = []
    for one in found:
        for outcome, values in one.by_outcome.items():
            quartiles = np.quantile(values, [0.25, 0.5, 0.75]).tolist() if len(values) else [None] * 3
            above = float((values > SATURATED).mean()) if len(values) else None
            numbers = (f"{len(values):,}", *(fixed(value, 1) for value in quartiles), percent(above))
            rows.append((one.attack, one.training, outcome, *numbers))
    head = ("attack", "training", "outcome", "texts", "25 %", "median", "75 %", "probability\nis 1, %")
    return Table(head, rows, text_columns=3)
