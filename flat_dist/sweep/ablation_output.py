"""The table of an ablation: printed, as JSON and Markdown, as a report page, and in MLflow."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from flat_dist import cli
from flat_dist.evaluation.significance import Interval
from flat_dist.evaluation.top_k import TOP_HEADING
from flat_dist.report import paper, templates
from flat_dist.report.formatting import DASH, fixed, percent, significant
from flat_dist.report.summary_table import METHODS
from flat_dist.report.table import Table
from flat_dist.report.terminal import TerminalTable
from flat_dist.runtime.progress import PlainConsole
from flat_dist.storage.folder import Folder
from flat_dist.sweep.ablation import Estimate, Row, SeedResults, rows
from flat_dist.sweep.variants import TABLE_5
from flat_dist.tracking.tracker import Tracker

RESULTS, MARKDOWN, REPORT = "ablation.json", "ablation.md", "report"


@dataclass(frozen=True)
class AblationPage:
    """The contents of the report."""

    title: str
    facts: Mapping[str, str]


def publish(folder: Folder, page: AblationPage, seeds: Sequence[SeedResults], seed: int, tracker: Tracker) -> list[Row]:
    """Write the table of the seeds so far, and log it.

    Args:
        folder: of the ablation.
        page: title and facts of the report.
        seeds: results so far, at least one.
        seed: of the bootstrap.
        tracker: where to log.
    """
    found = rows(seeds, seed)
    by_seed = [
        {"seed": one.seed, "dropped": one.dropped, "results": [asdict(result) for result in one.results]}
        for one in seeds
    ]
    folder.write_json(RESULTS, {"rows": [asdict(row) for row in found], "seeds": by_seed})
    folder.write(MARKDOWN, markdown(found).encode())
    facts = {**page.facts, "seeds": ", ".join(str(one.seed) for one in seeds)}
    facts["words dropped"] = ", ".join(f"{percent(one.dropped)} %" for one in seeds)
    page = AblationPage(page.title, facts)
    rendered = templates.render("ablation.html", page=page, summary="", table=report_table(found))
    (folder / REPORT).write("index.html", rendered)
    for row in found:
        tracker.metrics(row.variant, _metrics(row), len(seeds))
    for name in (RESULTS, MARKDOWN):
        tracker.artifact(None, folder, name, "run")
    tracker.artifacts(None, folder / REPORT, f"run/{REPORT}")
    return found


def _metrics(row: Row) -> dict[str, float | None]:
    found: dict[str, float | None] = {"accuracy": row.accuracy}
    found[f"{row.attack}/after_attack_accuracy"] = row.after_attack_accuracy
    found[f"{row.attack}/flat_minus_this"] = row.flat_minus_this
    intervals = {
        "accuracy": row.accuracy_interval,
        f"{row.attack}/after_attack_accuracy": row.interval,
        f"{row.attack}/flat_minus_this": row.difference_interval,
    }
    differences = {f"{row.attack}/{method}/flat_minus_this": one for method, one in row.tau_difference.items()}
    if row.accuracy_difference:
        differences["accuracy_flat_minus_this"] = row.accuracy_difference
    for name, estimate in differences.items():
        found[name], intervals[name] = estimate.mean, estimate.interval
    for name, interval in intervals.items():
        if interval is not None:
            found |= {f"{name}_low": interval.low, f"{name}_high": interval.high}
    return found | {f"{row.attack}/{method}/kendall_tau": tau for method, tau in row.kendall_tau.items()}


def report_table(found: Sequence[Row]) -> Table:
    """The table, with numbers as text."""
    methods = list(dict.fromkeys(method for row in found for method in row.kendall_tau))
    head = ["attack", "model", "accuracy, %", "FLAT −\nmodel", "after\nattack, %", "FLAT −\nmodel", "p"]
    for method in methods:
        name = METHODS[method]
        head += [f"τ,\n{name}", f"FLAT −\nmodel, τ,\n{name}", f"{TOP_HEADING},\n{name}"]
    cells = [_cells(row, methods) for row in found]
    if TABLE_5.keys() <= {row.variant for row in found}:
        head += ["paper,\naccuracy", "paper,\nafter attack"]
        cells = [[*own, *_published(row)] for own, row in zip(cells, found, strict=True)]
    return Table(head, cells, text_columns=2)


def _published(row: Row) -> list[str]:
    """The paper's numbers (Table 5: LSTM on SST-2, TextFooler)."""
    if row.variant not in TABLE_5 or row.attack != "textfooler":
        return [DASH, DASH]
    return [percent(share, 2) for share in paper.ablation(*TABLE_5[row.variant])]


def _cells(row: Row, methods: Sequence[str]) -> list[str]:
    cells = [row.attack, row.variant, _with_interval(row.accuracy, row.accuracy_interval, percent)]
    cells.append(_difference(row.accuracy_difference, percent))
    cells.append(_with_interval(row.after_attack_accuracy, row.interval, percent))
    cells.append(_with_interval(row.flat_minus_this, row.difference_interval, percent))
    cells.append(", ".join(map(significant, row.p_values)) or DASH)
    for method in methods:
        cells.append(fixed(row.kendall_tau.get(method)))
        cells.append(_difference(row.tau_difference.get(method), fixed))
        cells.append(fixed(row.top.get(method)))
    return cells


def _difference(estimate: Estimate | None, to_text: Callable[[float | None], str]) -> str:
    return _with_interval(estimate.mean, estimate.interval, to_text) if estimate else DASH


def _with_interval(value: float | None, interval: Interval | None, to_text: Callable[[float | None], str]) -> str:
    """A number with its 95 % interval."""
    if interval is None:
        return to_text(value)
    return f"{to_text(value)} ({to_text(interval.low)} to {to_text(interval.high)})"


def markdown(found: Sequence[Row]) -> str:
    """The table as Markdown."""
    table = report_table(found)
    head = [name.replace("\n", " ") for name in table.header]
    rule = ["---"] * table.text_columns + ["---:"] * (len(head) - table.text_columns)
    return "".join(f"| {' | '.join(line)} |\n" for line in [head, rule, *table.rows])


@dataclass(frozen=True)
class _Published:
    """The types of the values in `RESULTS`."""

    rows: list[Row]
    seeds: list[Any]


def read(folder: Folder) -> list[Row]:
    """The table in the folder of an ablation.

    Raises:
        DamagedFileError: the file is damaged.
    """
    published: _Published = folder.read_json(RESULTS, _Published)
    return published.rows


def show(found: Sequence[Row], folder: Folder, as_json: bool) -> None:
    """Print the table, and where it is; with `as_json`, one line of JSON at the end."""
    PlainConsole().print(TerminalTable(report_table(found)))
    print(f"results: {folder.uri}\nreport:  {folder.uri}/{REPORT}/index.html")
    if as_json:
        cli.print_json({"run": folder.uri, "rows": [asdict(row) for row in found]})
