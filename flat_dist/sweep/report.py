"""The report of a sweep: one self-contained page, and its charts as files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import optuna
from matplotlib.axes import Axes as Plot

from flat_dist.evaluation.result import Result
from flat_dist.report import paper, templates
from flat_dist.report.figures import COLOURS, INK, Chart, render_chart
from flat_dist.report.formatting import DASH, fixed, percent
from flat_dist.report.tables import Table
from flat_dist.storage.folder import Folder
from flat_dist.sweep.trials import (
    FINISHED,
    OBJECTIVES,
    PRUNED,
    Axes,
    RoundMetrics,
    Trial,
    finished,
    pareto_front,
    short,
)

NAMES = {"after_attack_accuracy": "after attack", "accuracy": "accuracy", "kendall_tau": "tau"}
"""Objectives as they are written."""

WIDE = (8.6, 3.9)
"""Inches of a chart that takes the width of the page."""

FEWEST = 4
"""Finished trials without which nothing is said about importance."""


@dataclass(frozen=True)
class SweepPage:
    """What the report of a sweep shows."""

    title: str
    facts: Mapping[str, str]
    """How the numbers were made, name and value."""
    axes: Axes
    """The space."""
    trials: Sequence[Trial]
    best: Trial | None
    """None where nothing is chosen: it then is the paper's ablation."""
    base: Result
    """The base model under the attack that training sees."""
    tolerance: float
    seed: int


def write(folder: Folder, page: SweepPage) -> None:
    """Write index.html, and each chart as figures/<name>.png, into the folder."""
    importance = importances(page)
    charts = {
        "parallel": [_parallel(page)] if finished(page.trials) else [],
        "front": [_front(page)] if finished(page.trials) else [],
        "importance": [_bars(importance)] if importance else [],
    }
    for group in charts.values():
        for one in group:
            (folder / "figures").write(f"{one.name}.png", one.png)
    tables = {"trials": trial_table(page.trials, page.best), "importance": _importance_table(importance)}
    rendered = templates.render(
        "sweep.html",
        page=page,
        summary=_summary(page),
        charts=charts,
        tables=tables,
        note=_note(page),
    )
    folder.write("index.html", rendered)


def _summary(page: SweepPage) -> str:
    if page.best is None:
        return f"{len(page.trials)} trials."
    values = ", ".join(f"{short(field)} {value:g}" for field, value in page.best.point.items())
    best = page.best.rounds[-1]
    return (
        f"Best of {len(page.trials)} trials: {values}. Accuracy {percent(best.accuracy)}\u00a0%, after attack "
        f"{percent(best.after_attack_accuracy)}\u00a0%."
    )


def _note(page: SweepPage) -> str:
    note = (
        f"The base model has an accuracy of {percent(page.base.accuracy)} %, and of "
        f"{percent(page.base.after_attack_accuracy)} % after {page.base.attack}, of {page.base.n:,} texts."
    )
    if page.best is None:
        note += " Beside each, the paper’s LSTM on SST-2 (Table 5)."
    else:
        note += (
            f" ● is the best, ○ are the others on the Pareto front. The best is chosen among the trials whose accuracy "
            f"lacks at most {percent(page.tolerance)} points to the highest."
        )
    return note


def trial_table(trials: Sequence[Trial], best: Trial | None) -> Table:
    """All trials, the finished ones first, by accuracy after attack; the paper's Table 5 where none is best."""
    fields = list(trials[0].point)
    front = {trial.name for trial in pareto_front(trials)} if best else set()
    chosen = best.name if best else ""
    order = sorted(
        trials,
        key=lambda one: (one.status != FINISHED, -(one.last.after_attack_accuracy if one.last else -1.0), one.name),
    )
    rows = [
        (
            trial.name,
            "●" if trial.name == chosen else "○" if trial.name in front else "",
            f"{trial.status}: {trial.reason}" if trial.reason else trial.status,
            *(f"{trial.point[field]:g}" for field in fields),
            str(len(trial.rounds)),
            percent(trial.last.accuracy) if trial.last else DASH,
            percent(trial.last.after_attack_accuracy) if trial.last else DASH,
            fixed(trial.last.kendall_tau) if trial.last else DASH,
            *(() if best else _published(trial)),
        )
        for trial in order
    ]
    head = ("trial", "", "status", *map(short, fields), "rounds", "accuracy, %", "after\nattack, %", "tau")
    published = () if best else ("paper,\naccuracy", "paper,\nafter attack")
    return Table((*head, *published), rows, text_columns=3)


def _published(trial: Trial) -> list[str]:
    """What the paper has for beta and gamma, with or without (Table 5)."""
    beta, gamma = (trial.point[f"objective.{name}"] > 0 for name in ("beta", "gamma"))
    return [percent(share, 2) for share in paper.ablation(beta, gamma)]


def importances(page: SweepPage) -> dict[str, dict[str, float]]:
    """Importance of each axis, for each objective that varies; empty where there are too few trials.

    Functional ANOVA (Hutter, Hoos and Leyton-Brown 2014), as Optuna computes it.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    known = finished(page.trials)
    varied = [field for field in page.axes if len({trial.point[field] for trial in known}) > 1]
    found = {}
    for objective in OBJECTIVES:
        values = [trial.rounds[-1].objective(objective) for trial in known]
        if len(known) < FEWEST or not varied or len(set(values)) < 2:
            continue
        study = optuna.create_study(direction="maximize")
        distributions = {field: optuna.distributions.IntDistribution(0, len(page.axes[field]) - 1) for field in varied}
        for trial, value in zip(known, values, strict=True):
            numbers = {field: page.axes[field].index(trial.point[field]) for field in varied}
            study.add_trial(
                optuna.trial.create_trial(params=numbers, distributions=distributions, value=value)  # type: ignore[arg-type]
            )
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=page.seed)
        shares = optuna.importance.get_param_importances(study, evaluator=evaluator, params=varied)
        found[objective] = {field: float(shares[field]) for field in varied}
    return found


def _importance_table(importance: Mapping[str, Mapping[str, float]]) -> Table:
    fields = next(iter(importance.values()), {})
    rows = [(short(field), *(fixed(shares[field]) for shares in importance.values())) for field in fields]
    return Table(("hyperparameter", *(NAMES[name] for name in importance)), rows)


def _bars(importance: Mapping[str, Mapping[str, float]]) -> Chart:
    def draw(axes: Plot) -> None:
        fields = list(next(iter(importance.values())))
        height = 0.8 / len(importance)
        for number, (objective, colour) in enumerate(zip(importance, COLOURS.values(), strict=False)):
            at = [place + number * height for place in range(len(fields))]
            shares = [importance[objective][field] for field in fields]
            axes.barh(at, shares, height, color=colour, label=NAMES[objective])
        axes.set_yticks([place + 0.4 - height / 2 for place in range(len(fields))], [short(field) for field in fields])
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.set(xlabel="importance")
        axes.legend()

    return render_chart("importance", "importance of each hyperparameter, a bar for each objective", draw)


def _front(page: SweepPage) -> Chart:
    def draw(axes: Plot) -> None:
        points = {trial.name: _place(trial.rounds[-1]) for trial in finished(page.trials)}
        front = [points[trial.name] for trial in pareto_front(page.trials)]
        for label, shown, colour, marker, size in (
            ("trials", list(points.values()), COLOURS["base"], "o", 22),
            ("Pareto front", front, COLOURS["adv"], "o", 26),
            ("best", [points[page.best.name]] if page.best else [], COLOURS["flat"], "*", 130),
            ("base", [_place(page.base)], INK, "s", 24),
        ):
            accuracy, after_attack = np.array(shown).reshape(-1, 2).T
            axes.scatter(accuracy, after_attack, s=size, color=colour, marker=marker, label=label)
        if page.best:
            least = max(accuracy for accuracy, _ in points.values()) - 100 * page.tolerance
            axes.axvline(least, color=INK, linestyle=":", linewidth=1)
        axes.set(xlabel="accuracy, %", ylabel="after attack, %")
        axes.legend()

    return render_chart("front", "after-attack accuracy against clean accuracy, a point for each trial", draw)


def _place(measured: RoundMetrics | Result) -> tuple[float, float]:
    return 100 * measured.accuracy, 100 * measured.after_attack_accuracy


def _parallel(page: SweepPage) -> Chart:
    label = "parallel coordinates: a line for each trial through its hyperparameters and its objectives"
    return render_chart("parallel", label, partial(_draw_parallel, page=page), WIDE)


def _draw_parallel(plot: Plot, page: SweepPage) -> None:
    known = finished(page.trials)
    last = [trial.rounds[-1] for trial in page.trials if trial.rounds]
    scales = {name: _Scale([measured.objective(name) for measured in last]) for name in OBJECTIVES}
    front, chosen = {trial.name for trial in pareto_front(page.trials)}, page.best.name if page.best else ""
    order = sorted(page.trials, key=lambda one: (one.name == chosen, one.name in front, one.status == FINISHED))
    for number, trial in enumerate(order):
        at = [_height(page.axes[field], trial.point[field]) for field in page.axes]
        if trial.rounds:
            at += [scales[name](trial.rounds[-1].objective(name)) for name in OBJECTIVES]
        # apart by a little, or trials that share values would hide one another
        shifts = [0.012 * ((number * 7) % 5 - 2)] * len(page.axes) + [0.0] * len(OBJECTIVES)
        best = trial.name == chosen
        plot.plot(
            range(len(at)),
            [y + shift for y, shift in zip(at, shifts, strict=False)],
            color=COLOURS["flat" if best else "adv" if trial.name in front else "base"],
            linewidth=2.6 if best else 1.2,
            linestyle=":" if trial.status == PRUNED else "-" if trial in known else "--",
            alpha=1.0 if best or trial.name in front else 0.6,
        )
    names = [*(short(field) for field in page.axes), *NAMES.values()]
    for place, name in enumerate(names):
        plot.plot([place, place], [-0.05, 1.05], color=INK, linewidth=0.8)
        plot.text(place, 1.1, name, ha="center", va="bottom")
    for place, field in enumerate(page.axes):
        for value in page.axes[field]:
            plot.text(
                place - 0.05,
                _height(page.axes[field], value),
                f"{value:g}",
                ha="right",
                va="center",
                fontsize=7,
            )
    for place, name in enumerate(OBJECTIVES, len(page.axes)):
        for height, text in scales[name].ends(name):
            plot.text(place + 0.05, height, text, ha="left", va="center", fontsize=8)
    plot.set(xlim=(-0.6, len(names) - 0.6), ylim=(-0.08, 1.2))
    plot.set_axis_off()


def _height(values: Sequence[float], value: float) -> float:
    return values.index(value) / (len(values) - 1) if len(values) > 1 else 0.5


class _Scale:
    """Heights of values between the least and the largest of them."""

    def __init__(self, values: Sequence[float]):
        self.low, self.high = (float(np.min(values)), float(np.max(values))) if values else (0.0, 0.0)

    def __call__(self, value: float) -> float:
        return (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5

    def ends(self, name: str) -> list[tuple[float, str]]:
        """Heights and numbers of the least and the largest value."""
        write = fixed if name == "kendall_tau" else percent
        return [(self(value), write(value)) for value in dict.fromkeys((self.low, self.high))]
