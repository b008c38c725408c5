"""Ray tasks on the texts that attacks have made: what other models predict for them, and whether they are valid.

Both are stages of their own for each attack on each model, so that another checkpoint adds only its own part.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc
import ray
import torch

from flat_dist.attack.engine.sentence_encoder import SentenceEncoder
from flat_dist.config.attacks import file_name
from flat_dist.config.schema import Config
from flat_dist.data.shards import read_shards
from flat_dist.evaluation import transfer, validity
from flat_dist.evaluation.perplexity import TextPerplexity
from flat_dist.evaluation.result import AttackedModel, Result
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models.artifact import ModelArtifact
from flat_dist.resources import assets
from flat_dist.resources.catalogue import Sources
from flat_dist.resources.language_model import LanguageModel
from flat_dist.resources.provenance import source_of
from flat_dist.runtime import tasks
from flat_dist.storage.arrow import read_table, write_table
from flat_dist.storage.folder import Folder
from flat_dist.storage.stage import Artifact, Executor, OpenStage, Output, Stage

PREDICTIONS = "predictions"
PREDICTED = pa.schema([("example_id", pa.string()), ("predicted", pa.int32())])
"""Class that a model predicts for a changed text."""

MEASURES = ("sentence_encoder", "language_model")
"""Resources that similarity and perplexity are measured with."""

CACHED_BIGRAMS = 2**16
"""Probabilities that a worker's language model keeps."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TextsPlan(Stage):
    """The stage of measuring an attack's texts."""

    shards: Artifact
    model: ModelArtifact
    """The model that is asked; for validity, the one that was attacked."""


def measure_transfer(config: Config, executor: Executor, attacked: Sequence[AttackedModel]) -> list[transfer.Transfer]:
    """The full matrix of each attack: each model asked about the texts made against each.

    Args:
        config: device, and seed of the bootstrap.
        executor: finds complete predictions, and commits the others.
        attacked: models under attacks; a model that is alone has no matrix.
    """
    groups = [[each for each in attacked if each.attack == name] for name in dict.fromkeys(a.attack for a in attacked)]
    groups = [group for group in groups if len(group) > 1]
    asked = [
        (group[0].attack, model, source)
        for group in groups
        for model in group
        for source in group
        if model.model_name != source.model_name
    ]
    plans = [_transfer_plan(name, model.model, source.shards) for name, model, source in asked]
    artifacts = executor.run_all(plans, partial(_fill, run=partial(_predict_all, config)))
    known = {
        (name, model.model_name, source.model_name): _read_predictions(artifact.folder)
        for (name, model, source), artifact in zip(asked, artifacts, strict=True)
    }
    found: list[transfer.Transfer] = []
    for group in groups:
        predictions = {key[1:]: values for key, values in known.items() if key[0] == group[0].attack}
        found += transfer.transfers(group, predictions, config.seed)
    return found


def _transfer_plan(attack: str, model: ModelArtifact, shards: Artifact) -> TextsPlan:
    return TextsPlan(
        name=f"transfer-{file_name(attack)}",
        title=f"predict the texts of {attack} in {shards.folder.name} with {model.label}",
        inputs={"checkpoint": model.fingerprint, "attack": shards.fingerprint},
        shards=shards,
        model=model,
    )


def _read_predictions(folder: Folder) -> dict[str, int]:
    table = read_table(folder, PREDICTIONS, PREDICTED)
    return dict(zip(*(table[name].to_pylist() for name in PREDICTED.names), strict=True))


def with_validity(
    config: Config, executor: Executor, results: Sequence[Result], attacked: Sequence[AttackedModel]
) -> list[Result]:
    """The results, with the validity of the texts that each attack made.

    Args:
        config: of the run.
        executor: finds complete stages, and commits the others.
        results: one for each of `attacked`, in the same order.
        attacked: models under attacks.
    """
    plans = [_validity_plan(each, measured_with()) for each in attacked]
    artifacts = executor.run_all(plans, partial(_fill, run=partial(_validity_of_all, config)))
    return [
        replace(result, validity=validity.read(each.shards.folder, artifact.folder))
        for result, each, artifact in zip(results, attacked, artifacts, strict=True)
    ]


def measured_with() -> dict[str, dict[str, str]]:
    """Source, package or detail, and sha256 of what similarity and perplexity are measured with."""
    prepared = assets.prepare()
    return {name: source_of(name, Sources(), prepared) for name in MEASURES}


def _validity_plan(attacked: AttackedModel, measures: Mapping[str, Mapping[str, str]]) -> TextsPlan:
    return TextsPlan(
        name=f"validity-{file_name(attacked.attack)}",
        title=f"validity of the texts of {attacked.attack} on {attacked.model.label}",
        inputs={"attack": attacked.shards.fingerprint, "measures": {name: dict(one) for name, one in measures.items()}},
        shards=attacked.shards,
        model=attacked.model,
    )


Tables = Iterator[tuple[str, list[tuple[str, pa.Table]]]]
"""For each model, by the URI of its checkpoint: name and content of a table for each folder of shards."""


def _fill(opened: Sequence[OpenStage[TextsPlan]], run: Callable[[Mapping[str, Sequence[str]]], Tables]) -> None:
    """Measure the texts of all stages, one task for each model, and commit them.

    Args:
        opened: the stages.
        run: starts the tasks; takes the folders of shards for each model.
    """
    by_model: dict[str, list[OpenStage[TextsPlan]]] = {}
    for each in opened:
        by_model.setdefault(each.stage.model.folder.uri, []).append(each)
    shards = {uri: [each.stage.shards.folder.uri for each in group] for uri, group in by_model.items()}
    for uri, tables in run(shards):
        for each, (name, table) in zip(by_model[uri], tables, strict=True):
            write_table(each.folder, name, table)
            each.commit(Output([f"{name}.arrow"]))


def _predict_all(config: Config, shards: Mapping[str, Sequence[str]]) -> Tables:
    device = config.training.device
    task = _predict.options(num_gpus=1 if device == "cuda" else 0)  # on a GPU one at a time
    calls = {uri: partial(task.remote, uri, folders, device) for uri, folders in shards.items()}
    return tasks.results("predictions of others' texts", calls, config.attack.stall_seconds)


def _validity_of_all(config: Config, shards: Mapping[str, Sequence[str]]) -> Tables:
    calls = {uri: partial(_measure_validity.remote, folders) for uri, folders in shards.items()}
    return tasks.results("validity", calls, config.attack.stall_seconds)


@ray.remote(num_cpus=1, max_retries=2)
def _predict(checkpoint: str, shards: Sequence[str], device: str, name: str) -> list[tuple[str, pa.Table]]:
    torch.set_num_threads(1)
    progress = tasks.ProgressReporter(name)
    loaded = checkpoints.load(Folder(checkpoint), device)
    progress.follow(loaded.model.output)
    return [(PREDICTIONS, predict(loaded, read_shards(Folder(uri)))) for uri in shards]


def predict(checkpoint: checkpoints.Checkpoint, rows: pa.Table) -> pa.Table:
    """Rows of `PREDICTED` for the texts that an attack left, except those that it could not attack.

    Args:
        checkpoint: the model that is asked.
        rows: of `flat_dist.data.shards.SCHEMA`, of an attack on any model.
    """
    texts = rows.filter(pc.not_equal(rows["status"].cast(pa.string()), "error"))
    predicted_N = checkpoint.probabilities(texts["perturbed_text"].to_pylist()).argmax(1)
    return pa.table([texts["example_id"], pa.array(predicted_N.numpy(), pa.int32())], schema=PREDICTED)


@ray.remote(num_cpus=1, max_retries=2)
def _measure_validity(shards: Sequence[str], name: str) -> list[tuple[str, pa.Table]]:
    torch.set_num_threads(1)
    progress = tasks.ProgressReporter(name)
    prepared = assets.prepare()
    encoder = SentenceEncoder(prepared.sentence_encoder)
    perplexity = TextPerplexity(LanguageModel(prepared, CACHED_BIGRAMS))
    return [
        (validity.NAME, validity.measure(read_shards(Folder(uri)), encoder.encode, perplexity, progress))
        for uri in shards
    ]
