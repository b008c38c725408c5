"""Before a run: checks of the config, hints, and the steps in words."""

from collections.abc import Sequence

from flat_dist.attack.checks import check_run
from flat_dist.config.errors import UserError
from flat_dist.config.schema import ADVERSARIAL, Config
from flat_dist.data import datasets
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


ADVERSARIES = {
    "attack": "",
    "gradient": "with substitutes that the gradient chooses",
    "random": "with random substitutes",
    "both": "with the attacked texts and with substitutes that the gradient chooses",
}
"""What adv and flat train on besides clean texts, by `training.adversaries`."""


def check(config: Config) -> None:
    """Raise UserError for names, folders and files that cannot be used, before any work is done."""
    run_folder.check_name(config.run_name)
    Folder(config.storage).check()
    synonym_file.check(config.attack.synonyms)
    vectors.check(config.model)
    if config.data.cleaning == "no":
        raise UserError(
            "--data.cleaning no is not available in training, which compares the words of cleaned texts: leave it out, "
            "or attack a model that is trained already"
        )
    encoders.check(config.model, config.data.text_pair_column is not None)
    if config.substitutes.smoothing and config.model.name in encoders.TRANSFORMERS:
        raise UserError(
            f"--substitutes.smoothing moves the vectors of words, but {config.model.name} reads word pieces: set it to "
            "0, or choose a preset for transformers, such as --preset customer_reviews,transformer"
        )
    _check_groups(config)
    mlflow.check(config)
    check_run(config)


def _check_groups(config: Config) -> None:
    """Raise UserError for group masks in a model that has no place for them."""
    if not config.model.group_masks:
        return
    if config.model.name in encoders.TRANSFORMERS:
        raise UserError(
            f"--model.group-masks multiplies the vectors of words, but {config.model.name} reads word pieces: leave it "
            "out, or choose --model.name cnn or lstm"
        )
    if "flat" in config.training.kinds:
        raise UserError(
            "--model.group-masks is not available in flat, which has a word mask of its own: name other kinds of "
            "training, such as --training.kinds base"
        )


def resolve(config: Config) -> Config:
    """The config with what the user's own classifier decides, if the run starts from one.

    Raises:
        UserError: there is no such classifier, or it cannot be trained as the config asks.
    """
    if config.model.name != encoders.CLASSIFIER:
        return config
    from flat_dist.pipeline import own_models  # it imports torch, which a plan does not need

    return own_models.resolve(config)


def check_classes(config: Config, dataset: Dataset) -> None:
    """Raise UserError if the user's own classifier, from which the run starts, has other classes than the dataset."""
    if config.model.name == encoders.CLASSIFIER:
        from flat_dist.models import pretrained  # see `resolve`

        folder = Folder(encoders.source(config.model))
        datasets.check_classes(dataset, pretrained.read_settings(folder).label_names, folder.uri)


def hints(config: Config, dataset: Dataset) -> list[str]:
    """Which program runs attacks that are not of this package, and warnings about valid settings and data that
    are probably not intended, or make the results misleading."""
    return [*check_run(config), *_rate_hints(config), *dataset_hints(dataset, config.data.max_length)]


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
    """The steps of a run, in words, in the order of `flat_dist.pipeline.adversarial_training`."""
    training = config.training
    counts = (dataset.train.num_rows, dataset.dev.num_rows, dataset.test.num_rows)
    first: list[str] = ["flat" if kind == "flat" and training.init == "scratch" else "base" for kind in training.kinds]
    latest = list(dict.fromkeys(first))  # kinds that start from the base model share it
    adversarial: list[str] = [kind for kind in training.kinds if kind in ADVERSARIAL]
    attacked = list(dict.fromkeys(first[training.kinds.index(kind)] for kind in adversarial))
    steps = [f"load {dataset.source}: {' / '.join(map(str, counts))} texts"]
    if config.model.name == encoders.CLASSIFIER:
        steps.append(f"take the classifier of {config.model.encoder} as base, as it is")
    else:
        steps.append(f"train {_listed(latest)} on clean data, {_epochs(training.epochs)}")
    steps += [
        _test_attack(config, dataset, latest, 0),
    ]
    for number in range(1, training.last_round + 1):
        if attacked and training.adversaries in ("attack", "both"):
            steps.append(f"round {number}: {_training_attack(config, dataset, attacked)}")
        latest, attacked = [kind for kind in training.kinds if kind != "base"], adversarial
        adversaries = ADVERSARIES[training.adversaries] if attacked else ""
        of = "" if attacked == latest else f"{_listed(attacked)} "
        epochs = _epochs(training.epochs_per_round) + (f", {of}{adversaries}" if adversaries else "")
        steps.append(f"round {number}: train {_listed(latest)}, {epochs}")
        measured = training.kinds if number == training.last_round else latest
        steps.append(f"round {number}: {_test_attack(config, dataset, measured, number)}")
    explained = _listed([METHODS[name] for name in config.evaluation.explain])
    steps.append(f"explain pairs with {explained}" if explained else "explain nothing")
    steps.append("write results, cards and report, print the table")
    return steps


def _training_attack(config: Config, dataset: Dataset, models: Sequence[str]) -> str:
    count = min(config.attack.sample or dataset.train.num_rows, dataset.train.num_rows)
    return f"attack {_listed(models)} on {count} training texts with {config.attack.name}"


def _test_attack(config: Config, dataset: Dataset, models: Sequence[str], number: int) -> str:
    evaluation, rows = config.evaluation, getattr(dataset, config.evaluation.split).num_rows
    last = number == config.training.last_round
    attacks = evaluation.attacks if last else (config.attack.name,)
    count = min(evaluation.sample or rows, rows)
    first, *others = evaluation.scores
    then = f"; then the texts that are still right, with {_listed(others)}" if others else ""
    numbers = _listed([str(each) for each in sorted(evaluation.neighbours)])
    curve = f"; again with at most {numbers} neighbours a word" if numbers and last else ""
    return (
        f"attack {_listed(models)} on {count} {evaluation.split} texts with {_listed(attacks)}, which see {first}{then}"
        + curve
    )


def _epochs(number: int) -> str:
    return f"{number} epoch{'' if number == 1 else 's'}"


def _listed(words: Sequence[str]) -> str:
    return " and ".join(", ".join(words).rsplit(", ", 1))
