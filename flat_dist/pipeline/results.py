"""Output of a run or an evaluation: results as JSON and Markdown, cards, the report, and all of it in MLflow."""

import shlex
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from flat_dist import cli
from flat_dist.config.attacks import file_name
from flat_dist.config.schema import Config
from flat_dist.data.shards import read_manifest
from flat_dist.evaluation.adversarial_sets import SetResult
from flat_dist.evaluation.annotation import Annotation
from flat_dist.evaluation.result import Result
from flat_dist.evaluation.text_tasks import measured_with
from flat_dist.evaluation.top_k import TOP_METRIC, shown_top
from flat_dist.evaluation.transfer import Transfer
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models.black_box import is_black_box
from flat_dist.pipeline.experiment import Experiment, ExperimentResults, hints
from flat_dist.pipeline.export import put, write_mlflow
from flat_dist.pipeline.failures import check_complete
from flat_dist.pipeline.report_page import page
from flat_dist.report import cards, report
from flat_dist.report.annotation_table import annotation_summary
from flat_dist.report.attack_notes import marked_transfers
from flat_dist.report.sets_table import sets_summary
from flat_dist.report.summary_table import markdown, table
from flat_dist.report.transfer_tables import transfer_summary
from flat_dist.runtime.progress import PlainConsole
from flat_dist.runtime.timeline import to_dict
from flat_dist.storage.folder import Folder
from flat_dist.tracking import served_model
from flat_dist.tracking.mlflow import database
from flat_dist.tracking.tracker import Tracker

REPORT, CARDS, ANNOTATION, MODELS = "report", "cards", "annotation", "models"
ANNOTATION_RESULTS = "annotation.json"
RESULTS, MARKDOWN, TIMELINE = "results.json", "results.md", "timeline.json"


def publish(folder: Folder, experiment: Experiment, found: ExperimentResults, tracker: Tracker) -> None:
    """Write results, cards and report into a folder, and log them."""
    described = _cards(experiment, found)
    folder.write_json(RESULTS, [asdict(result) for result in found.results])
    folder.write(MARKDOWN, markdown(found.results).encode())
    for name, rows in _further(found).items():
        folder.write_json(f"{name}.json", [asdict(row) for row in rows])
    if found.annotation:
        folder.write_json(ANNOTATION_RESULTS, asdict(found.annotation))
    if experiment.processes:
        folder.write_json(TIMELINE, to_dict(experiment.processes))
    for name, card in described.items():
        (folder / CARDS).write_json(f"{name}.json", card)
    report.write(folder / REPORT, page(experiment, found, list(described.values())))
    _log(folder, found, experiment.source.split, tracker)
    if experiment.config.tracking.enabled and experiment.config.tracking.log_models:
        _log_models(folder, found, tracker)


def _log_models(folder: Folder, found: ExperimentResults, tracker: Tracker) -> None:
    """Log each model that has weights; a copy is kept in the run's folder, because the server may be away."""
    models = {each.model_name: each.model.folder for each in found.attacked}
    for name, model in models.items():
        place = folder / MODELS / file_name(name)
        if is_black_box(model):
            continue
        if not place.exists(served_model.DESCRIPTION):
            with tempfile.TemporaryDirectory() as directory:
                write_mlflow(checkpoints.load(model), Path(directory) / "model")
                put(Path(directory) / "model", place)
        tracker.artifacts(name, place, "model")


def _further(found: ExperimentResults) -> dict[str, Sequence[Transfer | SetResult]]:
    """What was measured beside the results, by the name of its file; only what there is."""
    parts: dict[str, Sequence[Transfer | SetResult]] = {"transfer": found.transfers, "adversarial": found.sets}
    return {name: rows for name, rows in parts.items() if rows}


def log_accuracies(tracker: Tracker, results: Sequence[Result], split: str) -> None:
    """Log the accuracies of each model under each attack."""
    for result in results:
        tracker.metrics(result.training, result.accuracy_metrics(split), result.round)


def _cards(experiment: Experiment, found: ExperimentResults) -> dict[str, dict[str, Any]]:
    source = experiment.source
    data = {name: getattr(source, name) for name in ("name", "described", "fingerprint", "split", "texts")}
    data["label_names"] = list(source.label_names)
    made, measures = {}, measured_with()
    for result, attacked in zip(found.results, found.attacked, strict=True):
        manifest = read_manifest(attacked.shards.folder) or {}
        origin = cards.Origin(
            data=data | ({"texts": result.n} if found.sets else {}),
            checkpoint={
                "architecture": checkpoints.describe(attacked.model.folder)["architecture"],
                "folder": attacked.model.folder.name,
                "fingerprint": attacked.model.fingerprint,
            },
            attack={
                "shards": attacked.shards.folder.name,
                "counts": manifest.get("counts"),
                **manifest.get("identity", {}),
            },
            validity=measures,
            attributions={
                each.method.name: {"folder": each.folder.name, **each.method.settings()}
                for each in found.explained
                if each.attacked == attacked
            },
        )
        card = cards.card(experiment.config, experiment.settings, result, origin)
        made[f"{result.training}-{file_name(result.attack)}"] = card
    return made


def show_again(folder: Folder, config: Config, said: Sequence[str], title: str, as_json: bool) -> None:
    """Print the results of a run that has ended.

    Args:
        folder: of the run.
        config: of the run.
        said: the warnings of the run.
        title: of the table.
        as_json: print one line of JSON at the end.
    """
    found = ExperimentResults(results=folder.read_json(RESULTS, list[Result]), attacked=(), explained=())
    show(found, folder, config, title, as_json, said)


def show(
    found: ExperimentResults,
    folder: Folder,
    config: Config,
    title: str,
    as_json: bool,
    said: Sequence[str] | None = None,
) -> None:
    """Print the table, the paths of all outputs, and warnings; with `as_json`, one line of JSON at the end.

    Args:
        found: the results.
        folder: of the run.
        config: of the run.
        title: of the table.
        as_json: print one line of JSON at the end.
        said: warnings; None: those of `found`.

    Raises:
        IncompleteError: an attack has no result.
    """
    if found.results:
        PlainConsole().print(table(found.results, title))
    print_paths(folder)
    for printed in (
        *transfer_summary(marked_transfers(found.transfers, found.results)),
        *sets_summary(found.sets),
        *annotation_summary(found.annotation),
    ):
        PlainConsole().print(printed)
    print_server(config)
    for hint in hints(found) if said is None else said:
        print(hint)
    if as_json:
        failures = {"failures": found.failures} if found.failures else {}
        print_results(found.results, folder, {**_further(found), **failures}, found.annotation)
    check_complete(found.failures)


def print_table(results: Sequence[Result], folder: Folder, title: str) -> None:
    """Print the table, and the paths of the results and the report."""
    PlainConsole().print(table(results, title))
    print_paths(folder)


def print_paths(folder: Folder) -> None:
    """Print the paths of the results and the report."""
    print(f"results: {folder.uri}\nreport:  {folder.uri}/{REPORT}/index.html")


def print_server(config: Config) -> None:
    """Print the MLflow server, and the command that opens its UI."""
    if not config.tracking.enabled:
        return
    uri = config.tracking.uri or database(config.storage)
    opens = "" if config.tracking.uri else f"  (mlflow ui --backend-store-uri {shlex.quote(uri)})"
    print(f"MLflow:  {uri}{opens}")


def print_results(
    results: Sequence[Result],
    folder: Folder,
    others: Mapping[str, Sequence[Any]] = MappingProxyType({}),
    annotation: Annotation | None = None,
) -> None:
    """Print the results as one line of JSON.

    Args:
        results: one for each model and attack.
        folder: of the run.
        others: further rows by name, as dataclasses.
        annotation: what people said.
    """
    rows = {"results": results, **others}
    printed: dict[str, Any] = {"run": folder.uri} | {name: [asdict(row) for row in part] for name, part in rows.items()}
    cli.print_json(printed | ({ANNOTATION: asdict(annotation)} if annotation else {}))


def _log(folder: Folder, found: ExperimentResults, split: str, tracker: Tracker) -> None:
    for result in found.results:
        measured = result.consistency_metrics(split) | result.validity_metrics(split)
        if not found.sets:  # whose numbers have names of their own: the sets have different texts
            measured |= result.comparison_metrics(split) | result.class_metrics(split)
        tracker.metrics(result.training, measured, result.round)
        for scores, curve in result.by_changed_words.items():
            for percent, accuracy in curve.items():
                tracker.metrics(result.training, {f"changed_words/{result.attack}/{scores}": accuracy}, percent)
        for count, accuracy in result.by_neighbours.items():
            tracker.metrics(result.training, {f"neighbours/{result.attack}": accuracy}, count)
        for method, interpretation in result.interpretations.items():
            for k, share in interpretation.common.top_k.items():
                tracker.metrics(result.training, {f"top_k/{result.attack}/{method}": share}, k)
    for each in found.explained:
        path = f"pairs/{file_name(each.attacked.attack)}-{each.method.name}.json"
        tracker.table(each.attacked.model_name, _table_rows(each.pairs), path)
    for transfer in found.transfers:
        tracker.metrics(transfer.model, transfer.metrics(split), transfer.round)
    for one in found.sets:
        tracker.metrics(one.model, one.metrics(), one.round)
    written = [RESULTS, MARKDOWN, *(f"{name}.json" for name in _further(found))]
    if found.annotation:
        tracker.metrics(None, found.annotation.metrics())
        written.append(ANNOTATION_RESULTS)
    for name in written:
        tracker.artifact(None, folder, name, "run")
    for part in (CARDS, REPORT):
        tracker.artifacts(None, folder / part, f"run/{part}")


def _table_rows(pairs: pa.Table) -> list[dict[str, Any]]:
    """Explained pairs as rows for the table in MLflow's UI."""
    rows = []
    for pair in pairs.to_pylist():
        taus = [tau for tau in pair["kendall_tau"] if tau is not None]
        tops = [top for of_class in pair["top_k"] if (top := shown_top(of_class)) is not None]
        changed = [
            f"{pair['original_words'][match['original']]} → {pair['perturbed_words'][match['perturbed']]}"
            for match in pair["alignment"]
            if pair["original_words"][match["original"]] != pair["perturbed_words"][match["perturbed"]]
        ]
        rows.append(
            {
                "pair": pair["pair_id"],
                "original": " ".join(pair["original_words"]),
                "adversarial": " ".join(pair["perturbed_words"]),
                "label": pair["label"],
                "status": pair["status"],
                "predicted": _argmax(pair["original_scores"]),
                "predicted adversarial": _argmax(pair["perturbed_scores"]),
                "changed": ", ".join(changed),
                "kendall_tau": sum(taus) / len(taus) if taus else None,
                TOP_METRIC: sum(tops) / len(tops) if tops else None,
            }
        )
    return rows


def _argmax(scores: Sequence[float]) -> int:
    return max(range(len(scores)), key=scores.__getitem__)
