"""The pictures of the results: Figure 6 from cards; Figures 4 and 5 from the words of a model, when its cell runs."""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes

from flat_dist.evaluation.top_k import KS
from flat_dist.report.charts import Chart, render_chart, styles
from flat_dist.reproduction.cards import Card
from flat_dist.reproduction.cells import TRAININGS

METHOD = "ig"
"""Figure 6 is about integrated gradients."""

SMALLEST_SCALE = 0.03
"""Space above and below the curves."""


def top_k_charts(groups: Mapping[tuple[str, ...], Sequence[Card]]) -> list[Chart]:
    """Top-k intersections by k on the texts that the attack changed for all three models, means over seeds: a chart for
    each cell of the paper and recipe (Figure 6)."""
    charts = []
    for key, cards in groups.items():
        curves = top_k_curves(cards) if key[0] == "main" else {}
        if curves:
            name = f"{'-'.join(key[1:])}-top-k-{METHOD}"
            label = f"top-k intersection of integrated gradients by k: {', '.join(key[1:])}"
            charts.append(render_chart(name, label, partial(_draw, curves=curves, title=", ".join(key[1:]))))
    return charts


def top_k_curves(cards: Sequence[Card]) -> dict[str, list[float]]:
    """The intersection for each k by training, means over seeds; empty unless every seed has them for all trainings."""
    curves: dict[str, list[float]] = {}
    for training in TRAININGS:
        own = [card.measured.trainings[training].attacks[card.cell.attack].explained.get(METHOD) for card in cards]
        if not all(one is not None and one.top_k for one in own):
            return {}
        curves[training] = np.mean([one.top_k for one in own if one is not None], axis=0).tolist()
    return curves


def _draw(axes: Axes, curves: Mapping[str, Sequence[float]], title: str) -> None:
    for training, style in styles(list(curves)).items():
        axes.plot(list(KS), curves[training], label=training, **style)
    shares = [share for curve in curves.values() for share in curve]
    axes.set(title=title, xlabel="k", ylabel="top-k intersection", xticks=list(KS))
    axes.set_ylim(min(shares) - SMALLEST_SCALE, max(shares) + SMALLEST_SCALE)
    axes.legend()
