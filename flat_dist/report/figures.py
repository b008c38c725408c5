"""The report's charts, each as SVG to stand inside a page and as PNG (paper, Figures 4, 5 and 6).

Nothing here depends on the machine's matplotlib settings or on the time: the same numbers give the same bytes.
"""

import html
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from flat_dist.evaluation.consistency import KS
from flat_dist.evaluation.result import Result
from flat_dist.evaluation.word_importance import Correlation, Words
from flat_dist.report.formatting import fixed, significant, standard_error
from flat_dist.report.summary_table import METHODS

INK = "#010203"
"""Text and axes. The SVG takes the colour of the text around it instead."""

COLOURS = {"base": "#7d828a", "adv": "#d55e00", "flat": "#1a80c4"}
"""At least 3 to 1 against white and against near black, and told apart by those who see fewer colours."""

OTHER_COLOURS = ("#009e73", "#b8568f", "#a07800")
MARKERS = ("s", "^", "o", "D", "v", "P")
DASHES = ("--", "-.", "-", ":", (0, (5, 1)), (0, (1, 1, 4, 1)))

SIZE = (4.2, 3.1)
"""Inches: as wide as a telephone shows without making the text smaller."""

STYLE: dict[Any, Any] = {
    "axes.edgecolor": INK,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 10,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "font.size": 10,
    "grid.alpha": 0.15,
    "grid.color": INK,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "lines.markersize": 5,
    "svg.fonttype": "none",  # text stays text: it takes the page's font
    "svg.hashsalt": "flat_dist",
    "text.color": INK,
    "text.parse_math": False,  # names are the user's, and may hold a dollar sign
    "xtick.color": INK,
    "ytick.color": INK,
}

SCATTERS = {
    "word_frequency-substitution_frequency": ("word frequency", "substitution frequency"),
    "importance-word_frequency": ("word frequency", "importance"),
    "importance-substitution_frequency": ("substitution frequency", "importance"),
}
"""Figure 4 (a) to (c): what is on the horizontal and on the vertical axis, by the pair of Table 9."""


@dataclass(frozen=True)
class Chart:
    """One chart."""

    name: str
    """File name, without its ending."""
    label: str
    """What it shows, for those who do not see it."""
    svg: str
    """An element for an HTML page, on whatever background and in the colour of the text around it."""
    png: bytes
    """The same on white."""


def rounds(results: Sequence[Result]) -> list[Chart]:
    """Accuracy on attacked and on clean examples by rounds of training, a line for each training."""
    return [
        render_chart(
            f"rounds-{name}",
            f"{title} in percent by rounds of training",
            partial(_draw_rounds, results=results, title=title, field=field),
        )
        for name, title, field in (
            ("after-attack", "after-attack accuracy", "after_attack_accuracy"),
            ("accuracy", "clean accuracy", "accuracy"),
        )
    ]


def _draw_rounds(axes: Axes, results: Sequence[Result], title: str, field: str) -> None:
    for training, style in styles([row.training for row in results]).items():
        rows = sorted((row for row in results if row.training == training), key=lambda row: row.round)
        at, shares = [row.round for row in rows], [getattr(row, field) for row in rows]
        percents = [100 * share for share in shares]
        axes.plot(at, percents, label=_short(training), **style)
        if field != "accuracy":  # a result does not say how many clean examples there were
            errors = [100 * (standard_error(share, row.n) or 0) for share, row in zip(shares, rows, strict=True)]
            axes.errorbar(at, percents, errors, fmt="none", ecolor=style["color"], alpha=0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(title=f"{title}, %", xlabel="rounds of training")
    axes.legend()


def top_k(results: Sequence[Result]) -> list[Chart]:
    """Top-k intersections for k from 1 to 10, a chart for each attack and method, a line for each training."""
    attacks = dict.fromkeys(row.attack for row in results)
    panels = {(attack, method): curves_of(results, attack, method) for attack in attacks for method in METHODS}
    shares = [share for curves in panels.values() for curve in curves.values() for share in curve.values()]
    return [
        render_chart(
            f"top-k-{_file_name(attack)}-{method}",
            f"top-k intersection of {METHODS[method]} under {attack} by k",
            partial(
                _draw_top_k,
                curves=curves,
                title=f"{_short(attack)}, {METHODS[method]}",
                between=(min(shares), max(shares)),
            ),
        )
        for (attack, method), curves in panels.items()
        if curves
    ]


def curves_of(results: Sequence[Result], attack: str, method: str) -> dict[str, Mapping[int, float]]:
    """Top-k intersections by training and k, of the models that have any."""
    rows = (row for row in results if row.attack == attack and method in row.interpretations)
    return {row.training: row.interpretations[method].top_k for row in rows if row.interpretations[method].top_k}


def _draw_top_k(
    axes: Axes, curves: Mapping[str, Mapping[int, float]], title: str, between: tuple[float, float]
) -> None:
    for training, style in styles(list(curves)).items():
        ks = sorted(curves[training])
        axes.plot(ks, [curves[training][k] for k in ks], label=_short(training), **style)
    axes.set(title=title, xlabel="k", ylabel="top-k intersection", xticks=list(KS))
    axes.set_ylim(between[0] - 0.03, between[1] + 0.03)  # the same for all, so that they can be compared
    axes.legend()


def scatters(words: Words, correlations: Sequence[Correlation]) -> list[Chart]:
    """Importance, word frequency and substitution frequency against one another, a point for each word."""
    values = {
        "word frequency": words.frequency_V,
        "substitution frequency": words.replaced_V,
        "importance": words.importance_V,
    }
    known = {found.pair: found for found in correlations}
    charts = []
    for pair, (x, y) in SCATTERS.items():
        title = _correlation_title(known.get(pair))
        label = f"{y} against {x}, a point for each of {len(words.words)} words" + (f"; {title}" if title else "")
        draw = partial(_draw_scatter, x=(x, values[x]), y=(y, values[y]), title=title)
        charts.append(render_chart(f"scatter-{_file_name(y)}-{_file_name(x)}", label, draw))
    return charts


def _correlation_title(found: Correlation | None) -> str:
    return "" if found is None else f"r = {fixed(found.r, 3)}, p = {significant(found.p)}, n = {found.n:,}"


def _draw_scatter(axes: Axes, x: tuple[str, np.ndarray], y: tuple[str, np.ndarray], title: str) -> None:
    axes.scatter(x[1], y[1], s=7, alpha=0.55, color=COLOURS["flat"], linewidths=0, rasterized=True)
    axes.set(title=title, xlabel=x[0], ylabel=y[0])
    for name, axis, scale in ((x[0], axes.xaxis, axes.set_xscale), (y[0], axes.yaxis, axes.set_yscale)):
        if name != "importance":  # symlog: most words were never replaced, and 0 has no logarithm
            scale("symlog", linthresh=1, linscale=0.4)
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
            axis.set_minor_locator(NullLocator())


def spread(samples: Mapping[str, np.ndarray]) -> Chart:
    """How far apart the importance of synonyms is: a box for each model, whiskers at 1.5 times the box."""

    def draw(axes: Axes) -> None:
        line = {"color": INK}
        boxes = axes.boxplot(
            [values[~np.isnan(values)] for values in samples.values()],
            tick_labels=[_short(name) for name in samples],
            widths=0.4,
            boxprops=line,
            whiskerprops=line,
            capprops=line,
            medianprops={"color": COLOURS["adv"], "linewidth": 2},
            flierprops={"marker": ".", "markersize": 4, "markeredgecolor": COLOURS["flat"], "alpha": 0.5},
        )
        for outliers in boxes["fliers"]:
            outliers.set_rasterized(True)
        axes.set(ylabel="difference of importance")
        axes.grid(visible=False, axis="x")

    return render_chart("spread", "difference of importance between synonyms, a box for each model", draw)


def styles(trainings: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Colour, marker and dash of each training, base first; other names than base, adv and flat come last."""
    names = [name for name in COLOURS if name in trainings]
    names += [name for name in dict.fromkeys(trainings) if name not in COLOURS]
    slots = {name: slot for slot, name in enumerate(dict.fromkeys([*COLOURS, *names]))}
    colours = (*COLOURS.values(), *OTHER_COLOURS)
    return {
        name: {
            "color": colours[slots[name] % len(colours)],
            "marker": MARKERS[slots[name] % len(MARKERS)],
            "linestyle": DASHES[slots[name] % len(DASHES)],
        }
        for name in names
    }


def render_chart(name: str, label: str, draw: Callable[[Axes], None], size: tuple[float, float] = SIZE) -> Chart:
    """What `draw` draws.

    Args:
        name: file name, without its ending.
        label: what it shows, for those who do not see it.
        draw: draws into empty axes.
        size: inches.
    """
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure.add_subplot())
        png, svg = BytesIO(), BytesIO()
        figure.savefig(png, format="png", dpi=150, facecolor="white", metadata={"Software": None})
        figure.savefig(svg, format="svg", dpi=150, transparent=True, metadata={"Date": None})
    return Chart(name, label, inline(svg.getvalue().decode(), name, label), png.getvalue())


def inline(svg: str, name: str, label: str) -> str:
    """An SVG file as an element of a page: no header, no rules for the rest of the page, no ids that others have."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", body, flags=re.DOTALL)
    root = body[: body.index(">") + 1]
    box = re.search(r'viewBox="[^"]*"', root)
    head = f'<svg role="img" aria-label="{html.escape(label)}" {box.group() if box else ""} class="{name}">'
    return head + re.sub(r"<[^>]*>", lambda tag: _own_tag(tag.group(), name), body[len(root) :])


def _own_tag(tag: str, name: str) -> str:
    """A tag with its ids, and references to them, in the chart's own name, and with the page's ink."""
    tag = tag.replace("xlink:href=", "href=").replace(INK, "currentColor")
    return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", tag)


def _short(name: str) -> str:
    """A name that leaves room for the chart."""
    return name if len(name) <= 24 else f"{name[:23]}…"


def _file_name(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "unnamed"
