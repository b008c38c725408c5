"""Before a run: checks of the config, hints, and the steps in words."""

from flat_dist.config.schema import Config
from flat_dist.data.datasets import Dataset
from flat_dist.data.hints import dataset_hints
from flat_dist.models import encoders, vectors
from flat_dist.pipeline import run_folder
from flat_dist.report.summary_table import METHODS
from flat_dist.resources import synonym_file
from flat_dist.storage.folder import Folder
from flat_dist.tracking import mlflow

FINE_TUNING_RATE = 5e-4
"""Learning rates above this one destroy the pretrained weights of an encoder."""


def check(config: Config) -> None:
    """Raise UserError for names, folders and files that cannot be used, before any work is done."""
    run_folder.check_name(config.run_name)
    Folder(config.storage).check()
    synonym_file.check(config.attack.synonyms)
    vectors.check(config.model)
    encoders.check(config.model)
    mlflow.check(config)


def hints(config: Config, dataset: Dataset) -> list[str]:
    """Warnings about valid settings and data that are probably not intended, or make the results misleading."""
    return [*_rate_hints(config), *dataset_hints(dataset, config.data.max_length)]


def _rate_hints(config: Config) -> list[str]:
    training = config.training
    fast = max(training.learning_rate, training.round_learning_rate)
    if config.model.name not in encoders.TRANSFORMERS or fast <= FINE_TUNING_RATE:
        return []
    return [
        f"hint: a learning rate of {fast:g} suits CNN and LSTM; transformers are fine-tuned at 1e-5 to 1e-4, as "
        "in the preset transformer: --preset sst2,transformer, or rotten_tomatoes,transformer"
    ]


def plan(config: Config, dataset: Dataset) -> list[str]:
    """The steps of a run, in words."""
    training, attack, split = config.training, config.attack, config.evaluation.split
    attacked = min(attack.sample or dataset.train.num_rows, dataset.train.num_rows)
    rows = getattr(dataset, split).num_rows
    tested = min(config.evaluation.sample or rows, rows)
    steps = [
        f"load {dataset.source}: {dataset.train.num_rows} / {dataset.dev.num_rows} / {dataset.test.num_rows} texts"
    ]
    steps.append(f"train base on clean data, {training.epochs} epochs")
    for kind in training.kinds:
        for number in range(1, training.rounds + 1):
            if kind != "base":
                steps.append(f"{kind}, round {number}: attack {attacked} training texts with {attack.name}")
            steps.append(f"{kind}, round {number}: train {training.epochs_per_round} epochs")
            attacks = config.evaluation.attacks if number == training.rounds else (attack.name,)
            steps.append(f"{kind}, round {number}: attack {tested} {split} texts with {', '.join(attacks)}")
    explained = " and ".join(METHODS[name] for name in config.evaluation.explain)
    steps.append(f"explain pairs with {explained}" if explained else "explain nothing")
    steps.append("write results, cards and report, print the table")
    return steps
