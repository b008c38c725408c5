"""The charts of a sweep's report."""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes as Plot

from flat_dist.evaluation.result import Result
from flat_dist.report.charts import COLOURS, INK, Chart, render_chart
from flat_dist.report.formatting import fixed, percent
from flat_dist.sweep.page import NAMES, SweepPage
from flat_dist.sweep.trials import FINISHED, OBJECTIVES, PRUNED, RoundMetrics, finished, pareto_front, short_name

PAGE_WIDTH = (8.6, 3.9)
"""Size in inches of a chart as wide as the page."""


def importance_chart(importance: Mapping[str, Mapping[str, float]]) -> Chart:
    """Importance of each hyperparameter, with a bar for each objective."""

    def draw(axes: Plot) -> None:
        fields = list(next(iter(importance.values())))
        height = 0.8 / len(importance)
        for number, (objective, colour) in enumerate(zip(importance, COLOURS.values(), strict=False)):
            positions = [position + number * height for position in range(len(fields))]
            shares = [importance[objective][field] for field in fields]
            axes.barh(positions, shares, height, color=colour, label=NAMES[objective])
        ticks = [position + 0.4 - height / 2 for position in range(len(fields))]
        axes.set_yticks(ticks, [short_name(field) for field in fields])
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.set(xlabel="importance")
        axes.legend()

    return render_chart("importance", "importance of each hyperparameter, a bar for each objective", draw)


def front_chart(page: SweepPage) -> Chart:
    """Accuracy after attack against clean accuracy, with a point for each trial."""

    def draw(axes: Plot) -> None:
        points = {trial.name: _percents(trial.rounds[-1]) for trial in finished(page.trials)}
        front = [points[trial.name] for trial in pareto_front(page.trials)]
        for label, shown, colour, marker, size in (
            ("trials", list(points.values()), COLOURS["base"], "o", 22),
            ("Pareto front", front, COLOURS["adv"], "o", 26),
            ("best", [points[page.best.name]] if page.best else [], COLOURS["flat"], "*", 130),
            ("base", [_percents(page.base)], INK, "s", 24),
        ):
            accuracy, after_attack = np.array(shown).reshape(-1, 2).T
            axes.scatter(accuracy, after_attack, s=size, color=colour, marker=marker, label=label)
        if page.best:
            lowest = max(accuracy for accuracy, _ in points.values()) - 100 * page.tolerance
            axes.axvline(lowest, color=INK, linestyle=":", linewidth=1)
        axes.set(xlabel="accuracy, %", ylabel="after attack, %")
        axes.legend()

    return render_chart("front", "after-attack accuracy against clean accuracy, a point for each trial", draw)


def _percents(result: RoundMetrics | Result) -> tuple[float, float]:
    """Accuracies before and after the attack; NaN, which is not drawn, where the latter is not reported."""
    after = result.after_attack_accuracy
    return 100 * result.accuracy, np.nan if after is None else 100 * after


def parallel_chart(page: SweepPage) -> Chart:
    """Parallel coordinates: a line for each trial through its hyperparameters and its objectives."""
    label = "parallel coordinates: a line for each trial through its hyperparameters and its objectives"
    return render_chart("parallel", label, partial(_draw_parallel, page=page), PAGE_WIDTH)


def _draw_parallel(plot: Plot, page: SweepPage) -> None:
    last = [trial.rounds[-1] for trial in page.trials if trial.rounds]
    scales = {name: _Scale([metrics.objective(name) for metrics in last]) for name in OBJECTIVES}
    _draw_trials(plot, page, scales)
    names = [*(short_name(field) for field in page.axes), *NAMES.values()]
    for position, name in enumerate(names):
        plot.plot([position, position], [-0.05, 1.05], color=INK, linewidth=0.8)
        plot.text(position, 1.1, name, ha="center", va="bottom")
    for position, values in enumerate(page.axes.values()):
        for value in values:
            plot.text(position - 0.05, _height(values, value), f"{value:g}", ha="right", va="center", fontsize=7)
    for position, name in enumerate(OBJECTIVES, len(page.axes)):
        for height, text in scales[name].ends(name):
            plot.text(position + 0.05, height, text, ha="left", va="center", fontsize=8)
    plot.set(xlim=(-0.6, len(names) - 0.6), ylim=(-0.08, 1.2))
    plot.set_axis_off()


def _draw_trials(plot: Plot, page: SweepPage, scales: Mapping[str, "_Scale"]) -> None:
    front, chosen = {trial.name for trial in pareto_front(page.trials)}, page.best.name if page.best else ""
    order = sorted(page.trials, key=lambda one: (one.name == chosen, one.name in front, one.status == FINISHED))
    for number, trial in enumerate(order):
        heights = [_height(page.axes[field], trial.point[field]) for field in page.axes]
        if trial.rounds:
            heights += [scales[name](trial.rounds[-1].objective(name)) for name in OBJECTIVES]
        # small shifts, so that lines with the same values do not hide each other
        shifts = [0.012 * ((number * 7) % 5 - 2)] * len(page.axes) + [0.0] * len(OBJECTIVES)
        is_best = trial.name == chosen
        plot.plot(
            range(len(heights)),
            [height + shift for height, shift in zip(heights, shifts, strict=False)],
            color=COLOURS["flat" if is_best else "adv" if trial.name in front else "base"],
            linewidth=2.6 if is_best else 1.2,
            linestyle={FINISHED: "-", PRUNED: ":"}.get(trial.status, "--"),
            alpha=1.0 if is_best or trial.name in front else 0.6,
        )


def _height(values: Sequence[float], value: float) -> float:
    return values.index(value) / (len(values) - 1) if len(values) > 1 else 0.5


class _Scale:
    """Heights of values between the lowest and the highest of them."""

    def __init__(self, values: Sequence[float]):
        self.low, self.high = (float(np.min(values)), float(np.max(values))) if values else (0.0, 0.0)

    def __call__(self, value: float) -> float:
        return (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5

    def ends(self, name: str) -> list[tuple[float, str]]:
        """Height and text of the lowest and the highest value of an objective."""
        to_text = fixed if name == "kendall_tau" else percent
        return [(self(value), to_text(value)) for value in dict.fromkeys((self.low, self.high))]
