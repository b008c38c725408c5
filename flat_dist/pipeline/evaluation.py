"""Evaluates checkpoints side by side: on a dataset under attacks, or on original/adversarial pairs of a user."""

import re
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from flat_dist.attack import plan
from flat_dist.attack.pool import run
from flat_dist.config.errors import UserError
from flat_dist.config.schema import Config, DataConfig
from flat_dist.config.serialization import content_hash, result_values, to_dict
from flat_dist.data import dataset_stage, datasets, readers
from flat_dist.data.alignment import find_swaps
from flat_dist.data.datasets import Dataset
from flat_dist.data.shards import Record, read_manifest, to_table, verify_shards, write_manifest, write_shard
from flat_dist.evaluation import distributed
from flat_dist.evaluation.result import Result, Test
from flat_dist.models import checkpoint as checkpoints
from flat_dist.pipeline.results import Findings, Source
from flat_dist.pipeline.run_folder import synonyms
from flat_dist.runtime.progress import Display
from flat_dist.runtime.seeds import derive_seed
from flat_dist.storage import stage as stages
from flat_dist.storage.folder import Folder
from flat_dist.storage.location import is_folder

PAIRS = "pairs"
"""What stands in an attack's place where a user brings pairs."""

COLUMNS = ("original", "adversarial", "label")
"""Columns of pairs."""

LOG = ("original_text", "perturbed_text", "ground_truth_output")
"""The same in the log that TextAttack writes."""

BRACKETED = re.compile(r"\[\[(.*?)\]\]")
"""A word that differs, as TextAttack's log marks it."""

TRAINED = re.compile(r"train-(?P<kind>\w+)-(?P<number>\d+)-[0-9a-f]{16}")
"""Names of the folders that training leaves."""


NAME = re.compile(r"[^\W_][\w .+@,-]{0,99}")
"""What a model may be called: names of files, and cells of tables, are made of it."""


@dataclass(frozen=True)
class Model:
    """A checkpoint, and what it is called."""

    name: str
    number: int
    """Rounds of training behind it, as its folder's name says; 0 where that says nothing."""
    folder: Folder


def models(arguments: Sequence[str]) -> list[Model]:
    """The checkpoints that a user names, as folder or as name=folder.

    Raises:
        UserError: none is given, a folder holds no checkpoint, two have one name, a name cannot be used, or their
            classes differ.
    """
    if not arguments:
        raise UserError("--checkpoint names no folder: give at least one that training left")
    found = [_model(argument) for argument in arguments]
    classes = [checkpoints.load(model.folder).label_names for model in found]  # all of it, before any work
    names = [model.name for model in found]
    for name, own in zip(names, classes, strict=True):
        if names.count(name) > 1:
            raise UserError(f"two checkpoints are called {name!r}: name them, as in first=FOLDER second=FOLDER")
        if own != classes[0]:
            raise UserError(
                f"{names[0]} tells {', '.join(classes[0])} apart, but {name} {', '.join(own)}: evaluate them apart"
            )
    return found


def _model(argument: str) -> Model:
    given, uri = _name_and_folder(argument)
    folder = Folder(uri)
    trained = TRAINED.fullmatch(folder.name)
    name = (trained["kind"] if trained else folder.name) if given is None else given
    if not NAME.fullmatch(name):
        raise UserError(
            f"--checkpoint: {reprlib.repr(name)} cannot be a model's name, which has at most 100 letters, digits, "
            "spaces and ._+@,- and begins with a letter or digit: write NAME=FOLDER with such a name"
        )
    return Model(name, int(trained["number"]) if trained else 0, folder)


def _name_and_folder(argument: str) -> tuple[str | None, str]:
    """A name only where one is given: paths and URIs have equals signs in them, too."""
    name, equals, rest = argument.partition("=")
    if not equals or "://" in name or is_folder(argument):
        return None, argument
    if "/" in name and not ("://" in rest or is_folder(rest)):  # a path, of which there is no folder
        return None, argument
    return name, rest


def label_names(models: Sequence[Model]) -> tuple[str, ...]:
    """The classes that the models tell apart."""
    return tuple(checkpoints.describe(models[0].folder)["label_names"])


@dataclass(frozen=True)
class Pairs:
    """Original/adversarial pairs of a user, cleaned."""

    file: str
    originals: pa.Table
    """Columns example_id, text and label."""
    adversarials: tuple[str, ...]
    dropped: int = 0
    """Bad rows that were left out."""

    @property
    def fingerprint(self) -> str:
        """Content hash of the pairs."""
        return content_hash([self.originals.to_pydict(), self.adversarials])


def read_pairs(path: Path, label_names: tuple[str, ...], drop_bad_rows: bool = False) -> Pairs:
    """Pairs of a .csv, .jsonl or .parquet file: original, adversarial, label; or as in TextAttack's log.

    TextAttack's log (`--log-to-csv`) has the columns `LOG`, and brackets around the words that differ; texts that it
    skipped stand there as pairs of equal texts, and are read as such.

    Raises:
        UserError: the file or a column is missing, or a row is empty, or its label is none of the classes.
    """
    try:
        sides = [readers.read(path, column, COLUMNS[2]) for column in COLUMNS[:2]]
    except readers.ColumnError as error:
        try:
            sides = [_without_brackets(readers.read(path, column, LOG[2])) for column in LOG[:2]]
        except readers.ColumnError:
            raise UserError(
                f"{str(error).partition(': rename it')[0]}: call the columns {', '.join(COLUMNS)}, or as TextAttack's "
                f"log does {', '.join(LOG)}"
            ) from error
    if not sides[0].rows:
        raise UserError(f"{path} has no rows: give it at least one pair")
    read = [
        next((side for side in pair if isinstance(side, datasets.Fault)), pair)
        for pair in zip(*(datasets.examples(side, label_names) for side in sides), strict=True)
    ]
    (pairs,), (dropped,) = datasets.split_faults([read], drop_bad_rows)
    if not pairs:
        raise UserError(f"{path} has no row that can be used: give it at least one pair")
    originals = datasets.table("pair", [original for original, _ in pairs])
    return Pairs(str(path), originals, tuple(adversarial.text for _, adversarial in pairs), dropped)


def _without_brackets(rows: readers.Rows) -> readers.Rows:
    return readers.Rows(
        rows.source,
        [row._replace(text=BRACKETED.sub(r"\1", row.text)) if isinstance(row.text, str) else row for row in rows.rows],
    )


def check_data_options(data: DataConfig) -> None:
    """Raise UserError for options of the data that have no effect on pairs: columns have fixed names there."""
    for name, value in to_dict(data).items():
        if name != "drop_bad_rows" and value != to_dict(DataConfig())[name]:
            raise UserError(
                f"--data.{name} has no effect with --pairs-file: leave it out; the columns are called "
                f"{', '.join(COLUMNS)}, or {', '.join(LOG)}, and the classes are the checkpoint's"
            )


def settings(config: Config, models: Sequence[Model], measured: Mapping[str, Any]) -> dict[str, Any]:
    """What the results of an evaluation depend on; `measured` is the data."""
    values = result_values(config)
    values["attack"]["synonyms"] = synonyms(config)
    return {
        "checkpoints": {model.name: checkpoints.fingerprint(model.folder) for model in models},
        "measured": dict(measured),
        **{name: values[name] for name in ("attack", "evaluation", "seed")},
    }


def on_dataset(
    config: Config, models: Sequence[Model], dataset: Dataset, trained_on: str | None, display: Display
) -> Findings:
    """Measure models on the split, and under each attack, of the config.

    Args:
        config: split, attacks, sampling, interpretations, seed and storage.
        models: what to measure.
        dataset: with the classes of the models.
        trained_on: the attack that training saw; None where that is not known.
        display: shows the progress.
    """
    storage, split = Folder(config.storage), config.evaluation.split
    examples = getattr(dataset, split)
    drawn = datasets.sample(examples, config.evaluation.sample, derive_seed(config.seed, "evaluation"))
    planned = []
    for model in models:
        for recipe in config.evaluation.attacks:
            job = plan.attack(config, storage, model.folder, drawn, dataset.fingerprint, recipe, 0)
            test = Test(model.name, model.number, model.folder, recipe, Folder(job.output))
            planned.append((test, run.AttackStage(f"{recipe} on {model.name}, {split} texts", job, drawn)))
    run.run_attacks([stage for _, stage in planned], config.attack, display)
    tests = [test for test, _ in planned]
    data = dataset_stage.dataset(storage, dataset, display.log_line)
    accuracies = distributed.accuracies(tests, data, split, config)
    return _findings(config, models, tests, distributed.results(tests, accuracies, trained_on), display)


def on_pairs(config: Config, models: Sequence[Model], pairs: Pairs, display: Display) -> Findings:
    """Measure models on pairs: how often they are right before and after, and whether their reasons survive."""
    tests = tests_on_pairs(config, models, pairs)
    return _findings(config, models, tests, distributed.results(tests, {}, None), display)


def tests_on_pairs(config: Config, models: Sequence[Model], pairs: Pairs) -> list[Test]:
    """Each model, with the pairs in place of an attack on it."""
    return [Test(model.name, model.number, model.folder, PAIRS, _predict(config, model, pairs)) for model in models]


def _predict(config: Config, model: Model, pairs: Pairs) -> Folder:
    """The pairs as an attack would have left them: predicted, with what was changed.

    No lock: drivers that are at it at once write the same bytes under the same names, and each file whole.
    """
    identity = {
        "recipe": PAIRS,
        "file": Path(pairs.file).name,
        "pairs": pairs.fingerprint,
        "checkpoint": checkpoints.fingerprint(model.folder),
    }
    folder = stages.folder(Folder(config.storage), PAIRS, identity)
    manifest = read_manifest(folder)
    if manifest is not None and manifest["identity"] == identity and verify_shards(folder, manifest):
        return folder
    checkpoint = checkpoints.load(model.folder, config.attack.device)
    rows = pairs.originals.to_pylist()
    original = checkpoint.probabilities([row["text"] for row in rows]).tolist()
    adversarial = checkpoint.probabilities(pairs.adversarials).tolist()
    records = []
    for row, other, before, after in zip(rows, pairs.adversarials, original, adversarial, strict=True):
        status = "skipped" if _wrong(before, row) else "successful" if _wrong(after, row) else "failed"
        swaps = find_swaps(row["text"], other)
        records.append(Record(row["example_id"], row["label"], row["text"], other, status, swaps, num_queries=None))
    table = to_table(records, original, adversarial, 0, identity)
    write_manifest(folder, [write_shard(folder, 0, table)], identity, {})
    return folder


def _wrong(scores: Sequence[float], row: Mapping[str, Any]) -> bool:
    return max(range(len(scores)), key=scores.__getitem__) != row["label"]


def _findings(
    config: Config, models: Sequence[Model], tests: Sequence[Test], results: Sequence[Result], display: Display
) -> Findings:
    explained = distributed.interpretations(config, Folder(config.storage), tests, display)
    return Findings(
        results=distributed.with_consistency(results, explained),
        tests=tests,
        explained=explained,
        masked=[
            (model.name, model.name, model.folder) for model in models if checkpoints.describe(model.folder)["masked"]
        ],
        attacked={model.name: [test.shards for test in tests if test.kind == model.name] for model in models},
    )


def pairs_source(pairs: Pairs, label_names: Sequence[str]) -> Source:
    """A user's pairs as data that was measured on."""
    return Source(
        name="",
        described=pairs.file + (f" (without {pairs.dropped:,} bad rows)" if pairs.dropped else ""),
        fingerprint=pairs.fingerprint,
        split=PAIRS,
        texts=pairs.originals.num_rows,
        label_names=label_names,
        words=pairs.originals["text"].to_pylist(),
    )
