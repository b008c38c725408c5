"""The charts of the report (paper, Figures 4, 5 and 6)."""

import re
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from flat_dist.config.schema import WORST
from flat_dist.evaluation.result import Result
from flat_dist.evaluation.top_k import KS
from flat_dist.evaluation.word_importance import Correlation, Words
from flat_dist.report.charts import COLOURS, INK, Chart, render_chart, styles
from flat_dist.report.formatting import fixed, significant, standard_error
from flat_dist.report.summary_table import METHODS

SCATTERS = {
    "word_frequency-substitution_frequency": ("word frequency", "substitution frequency"),
    "importance-word_frequency": ("word frequency", "importance"),
    "importance-substitution_frequency": ("substitution frequency", "importance"),
}
"""Horizontal and vertical axis of Figure 4 (a) to (c), by the pair of Table 9."""


def rounds(results: Sequence[Result]) -> list[Chart]:
    """Accuracy after attack and clean accuracy by rounds of training: a line for each training, level for base's."""
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
    last = max(row.round for row in results)
    for training, style in styles([row.training for row in results]).items():
        own = [row for row in results if row.training == training and getattr(row, field) is not None]
        rows = sorted(own, key=lambda row: row.round)
        at, shares = [row.round for row in rows], [getattr(row, field) for row in rows]
        percents = [100 * share for share in shares]
        if training == "base" and at == [0]:  # trained once
            axes.hlines(percents, 0, last, colors=style["color"], linestyles=style["linestyle"])
        axes.plot(at, percents, label=_short(training), **style)
        if field != "accuracy":  # the number of clean examples is not in the result
            errors = [100 * (standard_error(share, row.n) or 0) for share, row in zip(shares, rows, strict=True)]
            axes.errorbar(at, percents, errors, fmt="none", ecolor=style["color"], alpha=0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(title=f"{title}, %", xlabel="rounds of training")
    axes.legend()


def strength(results: Sequence[Result]) -> list[Chart]:
    """After-attack accuracy by the strength of each attack: words that may change, and candidates of a word."""
    charts = []
    for attack in dict.fromkeys(row.attack for row in results):
        own = [row for row in results if row.attack == attack]
        bound = " (upper bound)" if any(WORST in row.by_changed_words for row in own) else ""
        for name, axis, curves in (
            ("changed", f"words that may change, %{bound}", {row.training: latest_curve(row) for row in own}),
            ("neighbours", "candidates of a word", {row.training: row.by_neighbours for row in own}),
        ):
            curves = {training: curve for training, curve in curves.items() if curve}
            if curves:
                draw = partial(_draw_strength, curves=curves, title=_short(attack), axis=axis)
                label = f"after-attack accuracy in percent under {attack} by {axis}"
                charts.append(render_chart(f"strength-{name}-{_file_name(attack)}", label, draw))
    return charts


def latest_curve(row: Result) -> Mapping[int, float]:
    """Accuracy by changed words under all forms of scores, or under the only one; empty if there is none."""
    return list(row.by_changed_words.values())[-1] if row.by_changed_words else {}


def _draw_strength(axes: Axes, curves: Mapping[str, Mapping[int, float]], title: str, axis: str) -> None:
    for training, style in styles(list(curves)).items():
        at = sorted(curves[training])
        axes.plot(at, [100 * curves[training][each] for each in at], label=_short(training), **style)
    axes.set(title=f"{title}: after-attack accuracy, %", xlabel=axis)
    if axis == "candidates of a word":
        axes.set_xscale("log", base=2)
        axes.set_xticks(sorted(next(iter(curves.values()))))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.xaxis.set_minor_locator(NullLocator())
    axes.set_ylim(bottom=0)
    axes.legend()


def top_k(results: Sequence[Result]) -> list[Chart]:
    """Top-k intersections for k from 1 to 10: a chart for each attack and method, a line for each training."""
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
    """Top-k intersections on the common pairs by training and k, for models that have some."""
    rows = (row for row in results if row.attack == attack and method in row.interpretations)
    return {row.training: curve for row in rows if (curve := row.interpretations[method].common.top_k)}


def _draw_top_k(
    axes: Axes, curves: Mapping[str, Mapping[int, float]], title: str, between: tuple[float, float]
) -> None:
    for training, style in styles(list(curves)).items():
        ks = sorted(curves[training])
        axes.plot(ks, [curves[training][k] for k in ks], label=_short(training), **style)
    axes.set(title=title, xlabel="k", ylabel="top-k intersection", xticks=list(KS))
    axes.set_ylim(between[0] - 0.03, between[1] + 0.03)  # the same range for all charts, to compare them
    axes.legend()


def scatters(words: Words, correlations: Sequence[Correlation]) -> list[Chart]:
    """Importance, word frequency and substitution frequency against each other, with a point for each word."""
    values = {
        "word frequency": words.frequency_V,
        "substitution frequency": words.replaced_V,
        "importance": words.importance_V,
    }
    by_pair = {correlation.pair: correlation for correlation in correlations}
    charts = []
    for pair, (x, y) in SCATTERS.items():
        title = _correlation_title(by_pair.get(pair))
        label = f"{y} against {x}, a point for each of {len(words.words)} words" + (f"; {title}" if title else "")
        draw = partial(_draw_scatter, x=(x, values[x]), y=(y, values[y]), title=title)
        charts.append(render_chart(f"scatter-{_file_name(y)}-{_file_name(x)}", label, draw))
    return charts


def _correlation_title(correlation: Correlation | None) -> str:
    if correlation is None:
        return ""
    return f"r = {fixed(correlation.r, 3)}, p = {significant(correlation.p)}, n = {correlation.n:,}"


def _draw_scatter(axes: Axes, x: tuple[str, np.ndarray], y: tuple[str, np.ndarray], title: str) -> None:
    axes.scatter(x[1], y[1], s=7, alpha=0.55, color=COLOURS["flat"], linewidths=0, rasterized=True)
    axes.set(title=title, xlabel=x[0], ylabel=y[0])
    for name, axis, scale in ((x[0], axes.xaxis, axes.set_xscale), (y[0], axes.yaxis, axes.set_yscale)):
        if name != "importance":  # symlog, because most words were never replaced, and log 0 is undefined
            scale("symlog", linthresh=1, linscale=0.4)
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
            axis.set_minor_locator(NullLocator())


def spread(samples: Mapping[str, np.ndarray]) -> Chart:
    """Difference of importance between synonyms: a box for each model, whiskers at 1.5 times the box."""

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


def _short(name: str) -> str:
    """A name that is short enough for a legend."""
    return name if len(name) <= 24 else f"{name[:23]}…"


def _file_name(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "unnamed"
