"""The part of the results page about growing data: a figure, and two tables under it."""

from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from flat_dist.config.schema import ADVERSARIAL
from flat_dist.report.charts import COLOURS, Chart, render_chart
from flat_dist.report.formatting import DASH, fixed, percent
from flat_dist.report.table import Table
from flat_dist.reproduction.claim_tables import Groups
from flat_dist.reproduction.growing import SOURCES, row_of
from flat_dist.reproduction.growing_numbers import LINES, Growth, growths, measure
from flat_dist.reproduction.records import markdown, wrapped

HEADING = "Growing data"
"""Title of the part; the README links to it."""

LOOKS = {"attack": ("-", "o"), "gradient": ("--", "s"), "smoothed": (":", "D")}
"""Dash and marker of a source. The colours are those of the kinds of training."""

SIZE = (6.4, 4.6)
"""Inches."""

SHIFT = 0.06
"""Rounds between the markers of two lines, so that their intervals do not cover each other."""

ABOUT = (
    "No table of the paper. *attacked texts*: in each round all training texts are attacked, and the models train on "
    "the attacked texts of all rounds so far. *on the fly*: the gradient chooses substitutes in each step; nothing "
    "else differs. *smoothed*: the same from word vectors smoothed over the substitutes; after round 1 these are the "
    "models of the recipe. A round has the same number of optimiser steps for all, and a step as many adversarial "
    "texts as clean ones: that is the equal compute, apart from the attacks. A cell has after-attack accuracy in "
    "percent (of each text the worse outcome of the attack on probabilities and on margins) with its 95 % interval "
    "over seeds and texts; accuracy; and the seconds of training and attack workers in all rounds so far. Round 0 is "
    "base."
)

PAYS = "Differences in percentage points, on the same texts and seeds:"


def by_round(growth: Growth) -> Table:
    """Every model: after-attack accuracy, accuracy and seconds, by round."""
    rows = [["0", "0", *[_cell(growth, "base")] * len(LINES)]]
    for number in range(1, growth.last + 1):
        names = [row_of(kind, source, number) for source, kind in LINES]
        steps = growth.cards[0].measured.spent[names[0]].steps
        rows.append([str(number), str(steps), *(_cell(growth, name) for name in names)])
    return Table(("round", "steps", *(f"{kind}, {SOURCES[source]}" for source, kind in LINES)), rows, 0)


def _cell(growth: Growth, row: str) -> str:
    if row not in growth.right:
        return DASH
    after = growth.shares[row].text if row in growth.shares else DASH
    spent = "" if row == "base" else f"; {fixed(growth.seconds(row), 0)} s"
    return f"{after}; {percent(float(np.nanmean(growth.right[row])))}{spent}"


def differences(growth: Growth) -> Table:
    """Last round against first one, attacked texts against the other sources, and FLAT against adv."""
    last, pairs = growth.last, {}
    if last > 1:
        for source, kind in LINES:
            title = f"{kind}, {SOURCES[source]}: round {last} minus round 1"
            pairs[title] = row_of(kind, source, last), row_of(kind, source, 1)
    for kind in ADVERSARIAL:
        for source in ("gradient", "smoothed"):
            title = f"{kind}, round {last}: attacked texts minus {SOURCES[source]}"
            pairs[title] = row_of(kind, "attack", last), row_of(kind, source, last)
    for source, name in SOURCES.items():
        pairs[f"{name}, round {last}: flat minus adv"] = row_of("flat", source, last), row_of("adv", source, last)
    after, right = (
        measure({title: own[this] - own[other] for title, (this, other) in pairs.items() if {this, other} <= set(own)})
        for own in (growth.after, growth.right)
    )
    rows = [[title, *(own[title].text if title in own else DASH for own in (after, right))] for title in pairs]
    return Table(("difference", "after attack", "accuracy"), rows, 1)


def chart(growth: Growth) -> Chart:
    """After-attack accuracy by round."""
    return render_chart(
        growth.picture, f"after-attack accuracy by round: {growth.title}", partial(_draw, growth=growth), SIZE
    )


def _draw(axes: Axes, growth: Growth) -> None:
    for place, (source, kind) in enumerate(LINES):
        known = {number: growth.shares.get(row_of(kind, source, number)) for number in range(1, growth.last + 1)}
        own = {number: one for number, one in known.items() if one is not None}
        at = np.array(list(own)) + SHIFT * (place - (len(LINES) - 1) / 2)
        means = np.array([one.mean for one in own.values()])
        ends = np.array([(one.interval.low, one.interval.high) for one in own.values()]).reshape(-1, 2).T
        lengths = np.abs(ends - means)  # below and above the mean
        dash, marker = LOOKS[source]
        look: dict[str, Any] = {"color": COLOURS[kind], "label": f"{kind}, {SOURCES[source]}"}
        axes.errorbar(at, 100 * means, 100 * lengths, linestyle=dash, marker=marker, elinewidth=0.8, **look)
    if "base" in growth.shares:
        axes.axhline(100 * growth.shares["base"].mean, color=COLOURS["base"], linewidth=1, label="base")
    axes.set(title=growth.title, xlabel="round", ylabel="after-attack accuracy, %", xticks=range(1, growth.last + 1))
    axes.set_ylim(bottom=0)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=3)  # under the axes: it hides no line


def growing_parts(groups: Groups, figures: str) -> list[str]:
    """The part of the page; empty without such cells.

    Args:
        groups: all cards.
        figures: folder of the pictures, as the page names it.
    """
    parts = []
    for one in growths(groups):
        parts += [f"### {one.title}, {one.seeds}", f"![{one.picture}]({figures}/{one.picture}.png)"]
        parts += [markdown(by_round(one)).rstrip(), PAYS, markdown(differences(one)).rstrip()]
    return [f"## {HEADING}", *wrapped(ABOUT), *parts] if parts else []


def growing_readme(groups: Groups, results: str, page: str, figures: str) -> list[str]:
    """The figure of the first cell, for the README; nothing without one.

    Args:
        groups: all cards.
        results: folder of the results, as the README names it.
        page: name of the page there.
        figures: folder of the pictures there.
    """
    for one in growths(groups):
        link = f"{results}/{page}#{HEADING.lower().replace(' ', '-')}"
        about = (
            f"**Does a growing dataset pay?** After-attack accuracy by round ({one.title}; {one.seeds}, 95 % intervals "
            "over seeds and texts): all training texts are attacked in each round, or substitutes are made on the fly "
            f"in as many steps, also from smoothed vectors, as in the main job ([numbers]({link})):"
        )
        return [*wrapped(about), f"![After-attack accuracy by round]({results}/{figures}/{one.picture}.png)"]
    return []
