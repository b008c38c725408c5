"""What a run or an evaluation found: results, a JSON card for each, the report, and all of it in MLflow."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from typing import Any

import pyarrow as pa

from flat_dist import cli
from flat_dist.config.schema import Config
from flat_dist.data.datasets import Dataset
from flat_dist.data.labels import shown
from flat_dist.data.shards import read_manifest, read_shards
from flat_dist.evaluation import attributions, word_importance
from flat_dist.evaluation.consistency import KS
from flat_dist.evaluation.result import Explained, Result, Test
from flat_dist.models import checkpoint as checkpoints
from flat_dist.report import cards, report
from flat_dist.report.page import Importance, Page, Saliency
from flat_dist.report.summary_table import METHODS, markdown, table
from flat_dist.resources import assets, synonyms
from flat_dist.runtime.progress import PlainConsole
from flat_dist.runtime.seeds import derive_seed
from flat_dist.storage.folder import Folder
from flat_dist.tracking.mlflow import LOCAL, database
from flat_dist.tracking.tracker import Tracker

REPORT, CARDS = "report", "cards"
RESULTS, MARKDOWN = "results.json", "results.md"

FEW = 10
"""Texts below which a model may predict one class for all by chance."""

SPREAD_WORDS, SPREAD_SYNONYMS = 1000, 10
"""Words, and synonyms of each, whose importance is compared (paper, Figure 5)."""


@dataclass(frozen=True)
class Source:
    """The data that was measured on."""

    name: str
    """As the config names it, to look the paper's numbers up."""
    described: str
    """In words."""
    fingerprint: str
    split: str
    texts: int
    """In the whole split."""
    label_names: Sequence[str]
    words: Sequence[str]
    """Texts whose words' frequency is counted: those trained on."""


def source(config: Config, dataset: Dataset) -> Source:
    """The split of a dataset that is measured on, with the words of its training texts."""
    split = config.evaluation.split
    return Source(
        name=config.data.named or "",
        described=dataset.source,
        fingerprint=dataset.fingerprint,
        split=split,
        texts=getattr(dataset, split).num_rows,
        label_names=dataset.label_names,
        words=dataset.train["text"].to_pylist(),
    )


@dataclass(frozen=True)
class Findings:
    """What was found of some models."""

    results: Sequence[Result]
    """The last round's."""
    tests: Sequence[Test]
    """The test behind each result."""
    explained: Sequence[Explained]
    rounds: Sequence[Result] = ()
    """Every round's, under the attack that training sees."""
    masked: Sequence[tuple[str, str, Folder]] = ()
    """Checkpoints with a word mask: what to call each, the kind of its tests, and its folder; the latest last."""
    attacked: Mapping[str, Sequence[Folder]] = field(default_factory=dict)
    """Shards of attacks on each model, to count what was replaced."""


def hints(found: Findings) -> list[str]:
    """What the results hide: models that predict one class for all texts."""
    lines = []
    for test in {test.kind: test for test in found.tests}.values():
        rows = read_shards(test.shards)
        predicted = {_largest(scores) for scores in rows["original_scores"].to_pylist() if scores}
        if len(predicted) == 1 and rows.num_rows >= FEW and len(set(rows["label"].to_pylist())) > 1:
            name = checkpoints.describe(test.checkpoint)["label_names"][predicted.pop()]
            lines.append(
                f"hint: {test.kind} predicts {shown(name)} for all {rows.num_rows:,} texts: it tells no classes apart"
            )
    return lines


def publish(
    folder: Folder, config: Config, settings: Mapping[str, Any], source: Source, found: Findings, tracker: Tracker
) -> None:
    """Write results, cards and report into a folder, and log them; the results depend on `settings`."""
    described = _cards(config, settings, source, found)
    folder.write_json(RESULTS, [asdict(result) for result in found.results])
    folder.write(MARKDOWN, markdown(found.results).encode())
    for name, card in described.items():
        (folder / CARDS).write_json(f"{name}.json", card)
    report.write(folder / REPORT, page(config, settings, source, found, list(described.values())))
    _track(folder, found, source.split, tracker)


def _cards(config: Config, settings: Mapping[str, Any], source: Source, found: Findings) -> dict[str, dict[str, Any]]:
    data = {name: getattr(source, name) for name in ("name", "described", "fingerprint", "split", "texts")}
    data["label_names"] = list(source.label_names)
    made = {}
    for result, test in zip(found.results, found.tests, strict=True):
        manifest = read_manifest(test.shards) or {}
        made[f"{result.training}-{result.attack}"] = cards.card(
            config,
            settings,
            result,
            data=data,
            checkpoint={
                "architecture": checkpoints.describe(test.checkpoint)["model"]["name"],
                "folder": test.checkpoint.name,
                "fingerprint": checkpoints.fingerprint(test.checkpoint),
            },
            attack={"shards": test.shards.name, "counts": manifest.get("counts"), **manifest.get("identity", {})},
            explained={
                one.method.name: {"folder": one.folder.name, **one.method.settings()}
                for one in found.explained
                if one.test == test
            },
        )
    return made


def page(
    config: Config,
    settings: Mapping[str, Any],
    source: Source,
    found: Findings,
    described: Sequence[Mapping[str, Any]],
) -> Page:
    """What the report shows."""
    tables = {kind: [read_shards(shards) for shards in folders] for kind, folders in found.attacked.items()}
    return Page(
        title=f"{config.model.name} on {source.described}",
        facts=_facts(config, settings, source) | ({"hints": "; ".join(said)} if (said := hints(found)) else {}),
        dataset=source.name,
        model=config.model.name,
        label_names=source.label_names,
        split=source.split,
        texts=source.texts,
        results=found.results,
        rounds=found.rounds,
        saliencies=[Saliency(one.test.kind, one.test.attack, one.method.name, one.pairs) for one in found.explained],
        importances=_importances(config, source, found, tables),
        replacements={kind: word_importance.replacements(rows) for kind, rows in tables.items() if rows},
        cards=described,
    )


def _facts(config: Config, settings: Mapping[str, Any], source: Source) -> dict[str, str]:
    facts = {
        "data": f"{source.described}; {source.texts} texts in the {source.split} split",
        "data fingerprint": source.fingerprint,
        "model": config.model.name,
    }
    if "training" in settings:
        facts |= {"attack in training": config.attack.name, "rounds": str(config.training.rounds)}
    if "checkpoints" in settings:
        facts["checkpoints"] = ", ".join(" ".join(pair) for pair in settings["checkpoints"].items())
    if config.model.contextual:
        facts["word importance"] = "not shown: to a contextual mask a word alone has none"
    settings_of = attributions.methods(config.evaluation, config.seed)
    facts |= {METHODS[one.name]: _listed(one.settings()) for one in settings_of}
    return facts | {
        "pairs explained": config.evaluation.pairs,
        "seed": str(config.seed),
        "synonyms": config.attack.synonyms,
        "hardware": f"{config.hardware}, training on {config.training.device}, attacks on {config.attack.device}",
        "versions": ", ".join(f"{name} {metadata.version(name)}" for name in cards.VERSIONS),
    }


def _listed(values: Mapping[str, Any]) -> str:
    return "; ".join(f"{name.replace('_', ' ')}: {value}" for name, value in values.items())


def _importances(
    config: Config, source: Source, found: Findings, tables: Mapping[str, Sequence[pa.Table]]
) -> list[Importance]:
    if not found.masked:
        return []
    prepared = assets.prepare()
    neighbours = synonyms.neighbours(config.attack.synonyms, prepared)
    known = synonyms.provenance(config.attack.synonyms, prepared)
    origin = f"from {known['detail']} ({known['source']})"
    importances = []
    for name, kind, folder in found.masked:
        checkpoint = checkpoints.load(folder)
        if checkpoint.config.contextual:
            continue  # a word alone has no importance there
        words = word_importance.words_of(source.words, tables.get(kind, ()), checkpoint)
        spread = word_importance.synonym_spread(
            words, neighbours, SPREAD_WORDS, SPREAD_SYNONYMS, derive_seed(config.seed, "spread")
        )
        said = f"{len(spread):,} words, up to {SPREAD_SYNONYMS} synonyms each, {origin}"
        importances.append(Importance(name, words, word_importance.correlations(words), spread, said))
    return importances


def show(found: Findings, folder: Folder, config: Config, title: str, as_json: bool) -> None:
    """Print the table, and where everything is; as JSON too, in the last line."""
    print_table(found.results, folder, title)
    print_server(config)
    for hint in hints(found):
        print(hint)
    if as_json:
        print_results(found.results, folder)


def print_table(results: Sequence[Result], folder: Folder, title: str) -> None:
    """Print the table, and where report and numbers are."""
    PlainConsole().print(table(results, title))
    print(f"results: {folder.uri}\nreport:  {folder.uri}/{REPORT}/index.html")


def print_server(config: Config) -> None:
    """Print where it is logged."""
    if not config.tracking.enabled:
        return
    uri = config.tracking.uri or database(config.storage)
    opens = "make ui" if uri == database(LOCAL) else f"mlflow ui --backend-store-uri {shlex.quote(uri)}"
    print(f"MLflow:  {uri}" + ("" if config.tracking.uri else f"  ({opens})"))


def print_results(results: Sequence[Result], folder: Folder) -> None:
    """Print a run and its results as one line of JSON."""
    rows = [asdict(result) for result in results]
    cli.print_json({"run": folder.uri, "results": rows})


def _track(folder: Folder, found: Findings, split: str, tracker: Tracker) -> None:
    for result in found.results:
        tracker.metrics(result.training, result.metrics(split), result.round)
        for method, consistency in result.interpretations.items():
            for k, share in consistency.top_k.items():
                tracker.metrics(result.training, {f"top_k/{result.attack}/{method}": share}, k)
    for one in found.explained:
        tracker.table(one.test.kind, _readable(one), f"pairs/{one.test.attack}-{one.method.name}.json")
    for name in (RESULTS, MARKDOWN):
        tracker.artifact(None, folder, name, "run")
    for part in (CARDS, REPORT):
        tracker.artifacts(None, folder / part, f"run/{part}")


def _readable(one: Explained) -> list[dict[str, Any]]:
    """Explained pairs as rows that people filter by."""
    rows = []
    for pair in one.pairs.to_pylist():
        taus = [tau for tau in pair["kendall_tau"] if tau is not None]
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
                "predicted": _largest(pair["original_scores"]),
                "predicted adversarial": _largest(pair["perturbed_scores"]),
                "changed": ", ".join(changed),
                "kendall_tau": sum(taus) / len(taus) if taus else None,
                "top_5": sum(row[KS.index(5)] for row in pair["top_k"]) / len(pair["top_k"]) if pair["top_k"] else None,
            }
        )
    return rows


def _largest(scores: Sequence[float]) -> int:
    return max(range(len(scores)), key=scores.__getitem__)
