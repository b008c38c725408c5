"""Evaluates checkpoints side by side, on a dataset under attacks."""

import re
import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from flat_dist.attack.plan import TextsToAttack
from flat_dist.config.errors import UserError
from flat_dist.config.schema import Config, EndpointConfig
from flat_dist.config.serialization import result_values
from flat_dist.data import datasets
from flat_dist.data.dataset_stage import dataset_stage
from flat_dist.data.datasets import Dataset
from flat_dist.evaluation import distributed, text_tasks
from flat_dist.evaluation.comparison import with_comparisons
from flat_dist.evaluation.result import AttackedModel, Result
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models.artifact import ModelArtifact, open_checkpoint
from flat_dist.pipeline import own_models
from flat_dist.pipeline.attacks import Attacker, Target
from flat_dist.pipeline.experiment import ExperimentResults, MaskedModel
from flat_dist.pipeline.results import log_accuracies
from flat_dist.pipeline.run_folder import synonyms, users_parts
from flat_dist.runtime.progress import Display
from flat_dist.runtime.seeds import derive_seed
from flat_dist.scheduling.worker_group import WorkerGroup
from flat_dist.storage.folder import Folder
from flat_dist.storage.location import is_folder
from flat_dist.storage.stage import Executor
from flat_dist.tracking.tracker import Tracker

NAME = re.compile(r"[^\W_][\w .+@,-]{0,99}")
"""Valid names of models: they become names of files and cells of tables."""


def placed(
    arguments: Sequence[str],
    storage: str,
    endpoint: EndpointConfig,
    given_names: Sequence[str],
    data_names: Callable[[], Sequence[str]],
    pairs: bool = False,
) -> list[str]:
    """The arguments for `models`, with a folder in the place of each function and endpoint.

    Args:
        arguments: models as the user gives them, MODEL or NAME=MODEL.
        storage: see `flat_dist.pipeline.own_models.place`, as of all others.
        endpoint: requests to an endpoint.
        given_names: class names that the user gives.
        data_names: class names of the dataset.
        pairs: whether the models are asked about pairs of sentences.

    Raises:
        UserError: there is no such function, or an endpoint does not answer, or not with probabilities.
    """
    found = []
    for argument in arguments:
        given, model = _split(argument)
        name, folder = own_models.place(model, storage, endpoint, given_names, data_names, pairs)
        found.append(argument if name is None else f"{given or name}={folder}")
    return found


def models(arguments: Sequence[str]) -> list[ModelArtifact]:
    """The checkpoints that the user gives as FOLDER or NAME=FOLDER.

    Raises:
        UserError: there is none, a folder has no checkpoint, two have the same name, a name is not valid, or their
            classes differ.
    """
    if not arguments:
        raise UserError("--checkpoint needs at least one folder of a trained model")
    found = [_model(argument) for argument in arguments]
    classes = [checkpoints.load(model.folder).label_names for model in found]  # reads all of them, before any work
    names = [model.model_name for model in found]
    for name, own in zip(names, classes, strict=True):
        if names.count(name) > 1:
            raise UserError(f"two checkpoints are called {name!r}: give them names, such as first=FOLDER second=FOLDER")
        if own != classes[0]:
            raise UserError(
                f"{names[0]} has the classes {', '.join(classes[0])}, but {name} has {', '.join(own)}: evaluate them "
                "separately"
            )
    return found


def _model(argument: str) -> ModelArtifact:
    name, folder = _name_and_folder(argument)
    model = open_checkpoint(folder, name)
    _check_name(model.model_name)
    return model


def _name_and_folder(argument: str) -> tuple[str | None, Folder]:
    """The name, if one is given, and the folder."""
    name, uri = _split(argument)
    if name is not None:
        _check_name(name)
    return name, Folder(uri)


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise UserError(
            f"--checkpoint: {reprlib.repr(name)} cannot be a model's name: write NAME=FOLDER with a NAME of at most "
            "100 letters, digits, spaces and ._+@,- that begins with a letter or a digit"
        )


def _split(argument: str) -> tuple[str | None, str]:
    """The name, if there is one, and the folder. Paths and URIs may contain equals signs, too."""
    name, equals, rest = argument.partition("=")
    if not equals or "://" in name or is_folder(argument):
        return None, argument
    if "/" in name and not ("://" in rest or is_folder(rest)):  # a path of a folder that does not exist
        return None, argument
    return name, rest


def label_names(models: Sequence[ModelArtifact]) -> tuple[str, ...]:
    """The classes of the models."""
    return tuple(checkpoints.describe(models[0].folder)["label_names"])


def settings(config: Config, models: Sequence[ModelArtifact], measured: Mapping[str, Any]) -> dict[str, Any]:
    """All that the results of an evaluation depend on; `measured` identifies the data."""
    values = result_values(config)
    values["attack"] |= {"synonyms": synonyms(config), **users_parts(config)}
    return {
        "checkpoints": {model.model_name: model.fingerprint for model in models},
        "measured": dict(measured),
        **{name: values[name] for name in ("attack", "evaluation", "seed")},
    }


@dataclass(frozen=True)
class Environment:
    """Where an evaluation works, and where it logs."""

    tracker: Tracker
    display: Display
    executor: Executor
    workers: WorkerGroup | None = None
    """Workers that stay, for attacks and explanations; None: each of the two has its own."""


def on_dataset(
    config: Config,
    models: Sequence[ModelArtifact],
    dataset: Dataset,
    trained_on: str | None,
    environment: Environment,
) -> ExperimentResults:
    """Measure models on the split, and under each attack, of the config.

    Args:
        config: split, attacks, sampling, interpretations and seed.
        models: what to measure.
        dataset: with the classes of the models.
        trained_on: the attack that training saw; None where that is not known.
        environment: where to work.
    """
    executor, split = environment.executor, config.evaluation.split
    examples = getattr(dataset, split)
    drawn = datasets.sample(examples, config.evaluation.sample, derive_seed(config.seed, "evaluation"))
    texts = TextsToAttack(split, drawn, dataset.fingerprint)
    evaluation = config.evaluation
    targets = [Target(model, texts, evaluation.attacks, neighbours=evaluation.neighbours) for model in models]
    attacker = Attacker(config, executor, environment.display, [environment.workers] if environment.workers else [])
    attacked, _ = attacker.measure(targets)
    data = executor.run(dataset_stage(dataset))
    predicted = distributed.predictions(attacked, data.folder, split, config)
    correct = {uri: one.right for uri, one in predicted.items()}
    results = distributed.results(attacked, predicted, trained_on, dataset.label_names)
    results = with_comparisons(results, attacked, correct, config.seed)
    results = text_tasks.with_validity(config, executor, results, attacked)
    log_accuracies(environment.tracker, results, split)
    found = explain(config, attacked, results, environment)
    transfers = text_tasks.measure_transfer(config, executor, attacked)
    return replace(found, failures=tuple(attacker.failures), transfers=transfers)


def explain(
    config: Config, attacked: Sequence[AttackedModel], results: Sequence[Result], environment: Environment
) -> ExperimentResults:
    """The results of models under attacks, with the consistency of their explanations.

    Args:
        config: methods, pairs and seed.
        attacked: models under attacks.
        results: one for each of them, in the same order.
        environment: where to work.
    """
    explained = distributed.explain_pairs(
        config, environment.executor, attacked, environment.display, environment.workers
    )
    models = {each.model_name: each.model for each in attacked}
    return ExperimentResults(
        results=distributed.with_consistency(config, results, explained),
        attacked=attacked,
        explained=explained,
        masked=[
            MaskedModel(name, model) for name, model in models.items() if checkpoints.describe(model.folder)["masked"]
        ],
        shards={name: [each.shards.folder for each in attacked if each.model_name == name] for name in models},
    )
