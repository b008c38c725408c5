"""The report of a run: one self-contained page, and its charts as files."""

from collections.abc import Mapping, Sequence

from flat_dist.evaluation.top_k import TOP
from flat_dist.report import figures, margin_charts, saliency, tables, templates, word_tables
from flat_dist.report.attack_notes import attack_notes, marked
from flat_dist.report.charts import Chart
from flat_dist.report.formatting import percent
from flat_dist.report.page import Page
from flat_dist.report.timeline_chart import timeline_charts
from flat_dist.runtime.timeline import summarize
from flat_dist.storage.folder import Folder


def write(folder: Folder, page: Page) -> None:
    """Write the charts as figures/<name>.png, words.csv if words have an importance, and index.html, in this order.

    index.html needs no other file. The same page gives the same bytes.
    """
    charts = _charts(page)
    for chart in (chart for group in charts.values() for chart in group):
        (folder / "figures").write(f"{chart.name}.png", chart.png)
    if page.importances:
        folder.write("words.csv", word_tables.words_csv(page.importances[-1].words).encode("utf-8", "replace"))
    folder.write("index.html", _render(page, charts))


def _charts(page: Page) -> dict[str, list[Chart]]:
    """Charts by section of the page."""
    spreads = word_tables.spreads(page.importances)
    latest = page.importances[-1] if page.importances else None
    return {
        "margins": margin_charts.margin_charts(page.margins),
        "rounds": figures.rounds(page.rounds) if page.rounds else [],
        "strength": figures.strength(tables.by_attack(page.results)),
        "top_k": figures.top_k(tables.by_attack(page.results)),
        "scatters": figures.scatters(latest.words, latest.correlations) if latest and latest.words.words else [],
        "spread": [figures.spread(spreads)] if spreads else [],
        "timeline": timeline_charts(page.processes),
    }


def _render(page: Page, charts: Mapping[str, Sequence[Chart]]) -> bytes:
    return templates.render(
        "report.html",
        page=page,
        summary=_summary(page),
        charts=charts,
        tables=tables.build_tables(page),
        paper_note=tables.paper_note(page),
        attack_notes=attack_notes(page.results),
        saliency=saliency.payload(page.saliencies, page.label_names),
        cards=tables.cards(page.cards),
        timeline=summarize(page.processes).lines() if page.processes else [],
        top=TOP,
        min_count=word_tables.MIN_COUNT,
    )


def _summary(page: Page) -> str:
    """The results under the first attack, in one line."""
    results = tables.by_attack(page.results)
    if not results:
        return ""
    first = [row for row in results if row.attack == results[0].attack]
    accuracies = ", ".join(f"{row.training} {percent(row.after_attack_accuracy)}\u00a0%" for row in first)
    return f"Accuracy after {marked(first[0])} on {first[0].n:,} texts: {accuracies}."
