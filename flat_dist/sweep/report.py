"""The report of a sweep: one self-contained page, and its charts as files."""

from collections.abc import Mapping, Sequence

import optuna

from flat_dist.report import templates
from flat_dist.report.formatting import DASH, fixed, percent
from flat_dist.report.table import Table
from flat_dist.storage.folder import Folder
from flat_dist.sweep import figures
from flat_dist.sweep.page import NAMES, SweepPage
from flat_dist.sweep.trials import FINISHED, OBJECTIVES, Trial, finished, pareto_front, short_name

MIN_TRIALS = 4
"""Finished trials that an estimate of importance needs."""


def write(folder: Folder, page: SweepPage) -> None:
    """Write index.html, and each chart as figures/<name>.png, into the folder."""
    importance = importances(page)
    charts = {
        "parallel": [figures.parallel_chart(page)] if finished(page.trials) else [],
        "front": [figures.front_chart(page)] if finished(page.trials) else [],
        "importance": [figures.importance_chart(importance)] if importance else [],
    }
    for chart in (chart for group in charts.values() for chart in group):
        (folder / "figures").write(f"{chart.name}.png", chart.png)
    rendered = templates.render(
        "sweep.html",
        page=page,
        summary=_summary(page),
        charts=charts,
        tables={"trials": trial_table(page.trials, page.best), "importance": _importance_table(importance)},
        note=_note(page),
    )
    folder.write("index.html", rendered)


def _summary(page: SweepPage) -> str:
    if page.best is None:
        return f"{len(page.trials)} trials."
    values = ", ".join(f"{short_name(field)} {value:g}" for field, value in page.best.point.items())
    best = page.best.rounds[-1]
    return (
        f"Best of {len(page.trials)} trials: {values}. Accuracy {percent(best.accuracy)}\u00a0%, after attack "
        f"{percent(best.after_attack_accuracy)}\u00a0%."
    )


def _note(page: SweepPage) -> str:
    note = (
        f"Base model: accuracy {percent(page.base.accuracy)} %, after {page.base.attack} "
        f"{percent(page.base.after_attack_accuracy)} % on {page.base.n:,} texts."
    )
    if page.best is None:
        return note
    return (
        f"{note} ● marks the best trial, ○ the others on the Pareto front. The best trial is selected among those "
        f"whose accuracy is at most {percent(page.tolerance)} points below the highest."
    )


def trial_table(trials: Sequence[Trial], best: Trial | None) -> Table:
    """All trials, finished ones first, by falling accuracy after attack."""
    fields = list(trials[0].point)
    front = {trial.name for trial in pareto_front(trials)} if best else set()
    chosen = best.name if best else ""
    order = sorted(
        trials,
        key=lambda one: (one.status != FINISHED, -_after_attack(one), one.name),
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
        )
        for trial in order
    ]
    header = ("trial", "", "status", *map(short_name, fields), "rounds", "accuracy, %", "after\nattack, %", "tau")
    return Table(header, rows, text_columns=3)


def _after_attack(trial: Trial) -> float:
    """For sorting: unknown ones are below all others."""
    value = trial.last.after_attack_accuracy if trial.last else None
    return -1.0 if value is None else value


def importances(page: SweepPage) -> dict[str, dict[str, float]]:
    """Importance of each hyperparameter for each objective that varies; empty if there are too few trials.

    Functional ANOVA (Hutter, Hoos and Leyton-Brown 2014), as Optuna computes it.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    trials = finished(page.trials)
    fields = [field for field in page.axes if len({trial.point[field] for trial in trials}) > 1]
    objectives = [name for name in OBJECTIVES if len({trial.rounds[-1].objective(name) for trial in trials}) > 1]
    if len(trials) < MIN_TRIALS or not fields:
        return {}
    return {objective: _importance(page, trials, fields, objective) for objective in objectives}


def _importance(page: SweepPage, trials: Sequence[Trial], fields: list[str], objective: str) -> dict[str, float]:
    study = optuna.create_study(direction="maximize")
    distributions = {field: optuna.distributions.IntDistribution(0, len(page.axes[field]) - 1) for field in fields}
    for trial in trials:
        indices = {field: page.axes[field].index(trial.point[field]) for field in fields}
        value = trial.rounds[-1].objective(objective)
        study.add_trial(
            optuna.trial.create_trial(params=indices, distributions=distributions, value=value)  # type: ignore[arg-type]
        )
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=page.seed)
    shares = optuna.importance.get_param_importances(study, evaluator=evaluator, params=fields)
    return {field: float(shares[field]) for field in fields}


def _importance_table(importance: Mapping[str, Mapping[str, float]]) -> Table:
    fields = next(iter(importance.values()), {})
    rows = [(short_name(field), *(fixed(shares[field]) for shares in importance.values())) for field in fields]
    return Table(("hyperparameter", *(NAMES[name] for name in importance)), rows)
