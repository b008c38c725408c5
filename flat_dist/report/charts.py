"""How charts are drawn: their style, and their form as SVG inside a page and as PNG.

A chart depends only on its numbers, not on the machine's matplotlib settings or the time. So the same numbers give the
same bytes.
"""

import html
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

INK = "#010203"
"""Colour of text and axes. In the SVG, it is replaced by the colour of the text around it."""

COLOURS = {"base": "#7d828a", "adv": "#d55e00", "flat": "#1a80c4"}
"""Colours with a contrast of at least 3:1 on white and on near black, safe for colour-blind readers."""

OTHER_COLOURS = ("#009e73", "#b8568f", "#a07800")
MARKERS = ("s", "^", "o", "D", "v", "P")
DASHES = ("--", "-.", "-", ":", (0, (5, 1)), (0, (1, 1, 4, 1)))

SIZE = (4.2, 3.1)
"""Inches. This width fits a phone without shrinking the text."""

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
    "svg.fonttype": "none",  # keep text as text, in the page's font
    "svg.hashsalt": "flat_dist",
    "text.color": INK,
    "text.parse_math": False,  # names come from the user, and may contain a dollar sign
    "xtick.color": INK,
    "ytick.color": INK,
}


@dataclass(frozen=True)
class Chart:
    """One chart."""

    name: str
    """File name without its ending."""
    label: str
    """Description for screen readers."""
    svg: str
    """An element for an HTML page: no background, in the colour of the text around it."""
    png: bytes
    """The same on white."""


def styles(trainings: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Colour, marker and dash of each model: base, adv and flat first, then other names."""
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
    """Render a chart.

    Args:
        name: file name without its ending.
        label: description for screen readers.
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
    """An SVG file as an element of a page: without its header and styles, and with ids that are unique in the page."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", body, flags=re.DOTALL)
    root = body[: body.index(">") + 1]
    box = re.search(r'viewBox="[^"]*"', root)
    head = f'<svg role="img" aria-label="{html.escape(label)}" {box.group() if box else ""} class="{name}">'
    return head + re.sub(r"<[^>]*>", lambda tag: _own_tag(tag.group(), name), body[len(root) :])


def _own_tag(tag: str, name: str) -> str:
    """A tag whose ids and references start with the chart's name, in the colour of the page's text."""
    tag = tag.replace("xlink:href=", "href=").replace(INK, "currentColor")
    return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", tag)
