"""The commands of `flat-dist` as Python functions: `import flat_dist as fd`, then `fd.train(...)`.

Settings have the names of the command line's options, as in `{"training.epochs": 3, "model.name": "lstm"}`;
`flat_dist.config.schema` describes them. `train`, `attack` and `evaluate` start a Ray of their own, or join the cluster
of the environment variable RAY_ADDRESS, and leave it again. They keep their finished steps in `storage`: called again
with the same arguments, they continue, and repeat nothing. Where the caller can mend an error, they raise
`flat_dist.UserError`: one sentence that says what is wrong, and what to do.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa

from flat_dist import cli
from flat_dist.config.errors import UserError, option
from flat_dist.config.schema import BY_CONTENT, Config, DataConfig, EvaluationConfig
from flat_dist.config.serialization import from_dict
from flat_dist.config.validation import check_effect, validate
from flat_dist.data import datasets
from flat_dist.data.datasets import LABEL_NAMES, SPLITS, Dataset
from flat_dist.evaluation.accuracy import AttackSummary, after_attack
from flat_dist.evaluation.attributions import AttributionMethod, methods
from flat_dist.evaluation.lime import Lime
from flat_dist.evaluation.predict import attributions_of, predict_table
from flat_dist.evaluation.result import Result
from flat_dist.evaluation.thresholds import Check, check, check_measured, parse
from flat_dist.evaluation.top_k import TOP_METRIC
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models.checkpoint import Checkpoint
from flat_dist.pipeline.settings import NONE, Settings, config_of, split_endpoint
from flat_dist.runtime import hardware as machines
from flat_dist.runtime.progress import Display
from flat_dist.runtime.seeds import derive_seed
from flat_dist.storage.folder import Folder

if TYPE_CHECKING:  # it imports Ray and TextAttack
    from flat_dist.pipeline.export import Exported
    from flat_dist.pipeline.jobs import Finished

Place = str | PathLike[str]
"""A path, or the URI of a folder in a bucket."""

OF_CONTENT = tuple(one.name for one in fields(DataConfig) if one.metadata == BY_CONTENT)
"""Fields of the config that say where a dataset is."""


Model = Place | Callable[[Sequence[str]], Any]
"""A folder that training or `save_pretrained` wrote; or a function from texts to probabilities (texts x classes), given
as it is or as "package.module:function"; or the address of a model, https://... The module of a function must be on
all machines."""


@dataclass(frozen=True)
class Data:
    """A dataset, and where it is from."""

    dataset: Dataset
    config: DataConfig

    @property
    def train(self) -> pa.Table:
        """Columns example_id (string), text (string, cleaned), label (int32, an index of `label_names`)."""
        return self.dataset.train

    @property
    def dev(self) -> pa.Table:
        """The same columns. The best epoch is chosen on it."""
        return self.dataset.dev

    @property
    def test(self) -> pa.Table:
        """The same columns. It is only measured on."""
        return self.dataset.test

    @property
    def label_names(self) -> tuple[str, ...]:
        """The classes."""
        return self.dataset.label_names


@dataclass(frozen=True)
class Measured:
    """What `train` or `evaluate` found."""

    results: pd.DataFrame
    """One row for each model and attack: model, round, attack, n (attacked texts); accuracy, after_attack_accuracy,
    attack_success_rate and words_changed (shares in [0, 1]); mean_queries; and for each attribution method, such as
    ig, kendall_tau_ig in [-1, 1] and top_5_ig in [0, 1]. Missing where nothing was measured. The attack `worst` is
    the worst of all for each text."""
    checkpoints: Mapping[str, str]
    """Folder of each model, for `predict`, `explain`, `attack` and `evaluate`."""
    folder: str
    """Folder of the results."""
    report: str
    """The report page."""
    failures: tuple[str, ...]
    """Attacks without a result, in words."""
    details: Sequence[Result] = field(repr=False)
    """All numbers of each row."""

    def check(self, *thresholds: str) -> list[Check]:
        """Each model against thresholds such as `after_attack_accuracy=0.4` or `pwws:after_attack_accuracy=0.3`.

        Raises:
            UserError: a threshold is malformed, or about what was not measured.
        """
        least = [parse(text) for text in thresholds]
        attacks = list(dict.fromkeys(row.attack for row in self.details))
        check_measured(least, attacks, explained=any(row.interpretations for row in self.details))
        return check(least, self.checkpoints, self.details)


@dataclass(frozen=True)
class Attacked:
    """What an attack made of texts."""

    summary: AttackSummary
    """Accuracy before and after the attack, queries, changed words."""
    texts: pa.Table
    """One row for each text, of `flat_dist.data.shards.SCHEMA`: original_text, perturbed_text, status (successful,
    failed, skipped, timeout or error), swaps (changed words), num_queries, and scores (probabilities by class)."""
    folder: str
    """Folder of the same rows as Arrow files."""


@dataclass(frozen=True)
class Explanation:
    """Why a model predicts a class for a text."""

    words: tuple[str, ...]
    """The T words that the model reads."""
    label: str
    probabilities: Mapping[str, float]
    """By class."""
    attributions: Mapping[str, np.ndarray]
    """Contribution of each word to the probability of a class, (T,), by class; float32 or float64."""


def load_dataset(
    source: Place | Mapping[str, Place] = "customer_reviews",
    *,
    split: Sequence[float] = DataConfig.split,
    text_column: str = "text",
    text_pair_column: str | None = None,
    label_column: str = "label",
    label_names: Sequence[str] = (),
    drop_bad_rows: bool = False,
    cleaning: bool = True,
) -> Data:
    """Read, validate and clean a dataset.

    Args:
        source: the files of the splits, as {"train": ..., "dev": ..., "test": ...}; a folder with such files; one file
            with all texts; a named dataset, such as customer_reviews or sst2; or hf:NAME, a dataset of the Hugging Face
            hub, or a folder that `datasets.save_to_disk` wrote. Files are .csv, .tsv, .jsonl or .parquet.
        split: shares of train, dev and test that are drawn from one file; they add up to 1.
        text_column: column of the text.
        text_pair_column: column of the second sentence, if each example is a pair: the first one is fixed, the second
            one is attacked and explained.
        label_column: column of the label: a class name, or an integer from 0.
        label_names: class names in the order of their integers; empty: those in the data, sorted.
        drop_bad_rows: leave out unusable rows. Otherwise such a row is an error.
        cleaning: clean the texts (lower case, words separated by spaces). Without it they stay as they are written, for
            models that were trained elsewhere; the models that `train` makes need it.

    Raises:
        UserError: a file, row or label is missing or wrong; the message names file and line.
    """
    config = DataConfig(
        **_where(source),
        split=tuple(split),
        text_column=text_column,
        text_pair_column=text_pair_column,
        label_column=label_column,
        label_names=tuple(label_names),
        drop_bad_rows=drop_bad_rows,
        cleaning="yes" if cleaning else "no",
    )
    return Data(datasets.load(config), config)


def _where(source: Place | Mapping[str, Place]) -> dict[str, Any]:
    if isinstance(source, Mapping):
        if set(source) != set(SPLITS):
            raise UserError(f"the files of a dataset are {', '.join(SPLITS)}, but given are {', '.join(source)}")
        return {split: fspath(path) for split, path in source.items()}
    text = fspath(source)
    if text.startswith("hf:"):
        return {"hf": text.removeprefix("hf:")}
    if text in LABEL_NAMES:
        return {"name": text}
    return {"file" if Path(text).suffix and not Path(text).is_dir() else "folder": text}


def train(
    data: Data,
    *,
    preset: str = cli.DEFAULT_PRESET,
    settings: Settings = NONE,
    storage: Place = "runs",
    name: str | None = None,
    progress: bool = True,
) -> Measured:
    """Train a base model, attack it, train it again with adversarial training and with FLAT, and compare the models.

    Args:
        data: what to train on, and to measure on.
        preset: name or YAML file of the config to start from; several are separated by commas.
        settings: fields that replace those of the preset, such as {"training.epochs": 3, "training.kinds": ("flat",)}.
        storage: folder for checkpoints, attacks and results.
        name: name of the results' folder in it; None: made of the settings.
        progress: print the progress on standard error.

    Raises:
        UserError: a setting is unknown or invalid, or the run cannot work as asked.
    """
    from flat_dist.pipeline import jobs, plan

    config = config_of(cli.load_preset(preset), settings, None, storage, name)
    config = replace(config, data=replace(config.data, **{one: getattr(data.config, one) for one in OF_CONTENT}))
    validate(config)
    check_effect(config, list(map(option, (f"{one}" for one in settings))))
    config = plan.resolve(config)
    plan.check(config)
    return _measured(jobs.train(config, data.dataset, Display(quiet=not progress)))


def attack(
    checkpoint: Model,
    data: Data,
    *,
    attack: str = "textfooler",
    split: Literal["train", "dev", "test"] = "test",
    sample: int = 0,
    settings: Settings = NONE,
    storage: Place = "runs",
    progress: bool = True,
) -> Attacked:
    """Attack a model on the texts of a dataset.

    Args:
        checkpoint: folder of the model; or a function, or the address of a model: see `Model`.
        data: with the classes of the model.
        attack: name of an attack, such as textfooler or pwws, or the Python path of a TextAttack builder.
        split: the texts to attack.
        sample: number of texts, drawn by the seed; 0: all.
        settings: fields of the sections `attack` and `endpoint`, `seed` and `hardware`, such as
            {"attack.max_queries": 200}.
        storage: folder for the attacked texts.
        progress: print the progress on standard error.

    Raises:
        UserError: a setting is unknown or invalid, there is no such model, or the attack cannot run.
    """
    from flat_dist.data.shards import read_shards
    from flat_dist.pipeline import jobs, own_models

    settings, endpoint = split_endpoint(settings)
    config = config_of(Config(), settings, ("attack",), storage)
    config = replace(config, attack=replace(config.attack, name=attack))
    config = replace(config, data=data.config, evaluation=EvaluationConfig(split=split, sample=sample))
    validate(config)
    names = data.config.label_names, lambda: data.label_names
    named = own_models.name_of(checkpoint)
    _, place = own_models.place(named, config.storage, endpoint, *names, data.dataset.pairs)
    folder = jobs.attack(config, Folder(place), data.dataset, Display(quiet=not progress))
    rows = read_shards(folder)
    return Attacked(after_attack(rows), rows, folder.uri)


def evaluate(
    checkpoint: Model | Mapping[str, Model],
    data: Data,
    *,
    attacks: Sequence[str] = ("textfooler", "pwws"),
    split: Literal["train", "dev", "test"] = "test",
    sample: int = 0,
    explain: Sequence[Literal["ig", "lime"]] = ("ig", "lime"),
    trained_on: str | None = None,
    settings: Settings = NONE,
    storage: Place = "runs",
    name: str | None = None,
    progress: bool = True,
) -> Measured:
    """Measure models: accuracy, accuracy under attacks, and consistency of their attributions.

    Args:
        checkpoint: folder of a model, a function, or the address of a model (see `Model`); or several, by the name of
            each.
        data: with the classes of the models.
        attacks: names of attacks; all: every attack whose resources are at hand, without adaptive ones.
        split: the texts to measure on.
        sample: number of texts to attack, drawn by the seed; 0: all.
        explain: attribution methods whose consistency is measured.
        trained_on: the attack that training saw; other attacks are then marked as unseen.
        settings: fields of the sections `attack`, `evaluation`, `tracking` and `endpoint`, `seed` and `hardware`.
        storage: folder for the attacked texts and the results.
        name: name of the results' folder in it; None: made of the settings.
        progress: print the progress on standard error.

    Raises:
        UserError: a setting is unknown or invalid, there is no such model, or an attack cannot run.
    """
    from flat_dist.attack.available import expand
    from flat_dist.pipeline import evaluation, jobs, own_models
    from flat_dist.resources import catalogue

    settings, endpoint = split_endpoint(settings)
    config = config_of(Config(), settings, ("attack", "evaluation", "tracking"), storage, name)
    if isinstance(checkpoint, Mapping):
        given = [f"{key}={own_models.name_of(one)}" for key, one in checkpoint.items()]
    else:
        given = [own_models.name_of(checkpoint)]
    known = data.config.label_names, lambda: data.label_names, data.dataset.pairs
    models = evaluation.models(evaluation.placed(given, config.storage, endpoint, *known))
    names, _ = expand(attacks, catalogue.sources(config.attack))
    measures: dict[str, Any] = {"attacks": names, "split": split, "sample": sample, "explain": tuple(explain)}
    config = replace(
        config,
        data=data.config,
        model=checkpoints.load(models[0].folder).config,
        attack=replace(config.attack, name=trained_on or config.attack.name),
        evaluation=replace(config.evaluation, **measures),
    )
    jobs.check_evaluation(config)
    return _measured(jobs.Evaluation(config, models, data.dataset, trained_on).run(Display(quiet=not progress)))


def export(
    checkpoint: Place, to: Place, format: Literal["auto", "transformers", "folder", "mlflow"] = "auto"
) -> "Exported":
    """Write a model into a folder, from which it can be used without the run that trained it.

    Args:
        checkpoint: folder of the model.
        to: a new or empty folder.
        format: transformers (`transformers.pipeline` loads it; not for models with a word mask), folder (`load_model`
            loads it where flat_dist is installed), or mlflow (`mlflow models serve` serves it); auto: transformers
            where that is possible, else folder.

    Returns:
        folder, format (the one that was chosen), label_names, and why `auto` did not choose transformers.

    Raises:
        UserError: there is no model, the format cannot hold it, or `to` is not empty.
    """
    from flat_dist.pipeline import export as exports

    return exports.export(Folder(fspath(checkpoint)), Folder(fspath(to)), format)


def load_model(checkpoint: Place | Checkpoint, hardware: str = "auto") -> Checkpoint:
    """A model in this process, to predict with it more than once.

    Args:
        checkpoint: its folder. A model that is loaded already is returned as it is.
        hardware: cpu, or a GPU profile such as a100; auto: this machine's GPU if it has one, else its CPU.

    Raises:
        UserError: there is no checkpoint, it is damaged, or there is no GPU for the profile.
    """
    if isinstance(checkpoint, Checkpoint):
        return checkpoint
    config = from_dict(Config, {"hardware": hardware}, "hardware")
    config, _ = machines.resolve(config, machines.detect())
    return checkpoints.load(Folder(fspath(checkpoint)), config.attack.device)


def predict(
    checkpoint: Place | Checkpoint, texts: Iterable[str], *, explain: Literal["ig", "lime"] | None = None
) -> pa.Table:
    """Predict the class of texts, in this process.

    Args:
        checkpoint: folder of a model, or a model from `load_model`.
        texts: N texts.
        explain: attribution method; None: no attributions. `fd.explain` takes its settings, and has those of all
            classes.

    Returns:
        N rows, in the order of the texts, with the columns text (the words that the model reads), label (string),
        probabilities (a struct with one float for each class), and importance (a list of structs: word, importance in
        [0, 1]; null if the model has no word mask, or the text no word). With `explain`, also attributions: a list of
        structs of word and attribution, what the word adds to the probability of the label.

    Raises:
        UserError: there is no checkpoint, or it is damaged.
    """
    settings = EvaluationConfig(explain=(explain,)) if explain else None
    method = next(iter(methods(settings, Config.seed))) if settings else None
    return predict_table(load_model(checkpoint), texts, method)


def explain(
    checkpoint: Place | Checkpoint,
    texts: Sequence[str],
    *,
    method: Literal["ig", "lime"] = "ig",
    steps: int = EvaluationConfig.ig_steps,
    samples: int = EvaluationConfig.lime_samples,
    seed: int = 1111,
) -> list[Explanation]:
    """Explain predictions by the contribution of each word, in this process.

    Args:
        checkpoint: folder of a model, or a model from `load_model`.
        texts: what to explain.
        method: ig (integrated gradients), whose attributions add up to the probability of the class minus that of a
            text without words; or lime.
        steps: on the path of integrated gradients, at least 1.
        samples: perturbed texts of LIME, at least 1.
        seed: of LIME.

    Raises:
        UserError: there is no checkpoint, or a number is invalid.
    """
    settings = EvaluationConfig(explain=(method,), ig_steps=steps, lime_samples=samples)
    validate(Config(evaluation=settings, seed=seed))
    lime = Lime(samples, settings.lime_kernel_width, derive_seed(seed, "lime") % 2**32)
    model, names = load_model(checkpoint), list(texts)
    attributions = attributions_of(model, names, AttributionMethod(method, steps, lime))
    found = []
    for text, by_class_CT, scores in zip(names, attributions, model.probabilities(names).tolist(), strict=True):
        probabilities = dict(zip(model.label_names, scores, strict=True))
        by_class = dict(zip(model.label_names, by_class_CT, strict=True))
        label = max(probabilities, key=lambda name: probabilities[name])
        found.append(Explanation(tuple(model.encoder.words(text)), label, probabilities, by_class))
    return found


def _measured(ran: "Finished") -> Measured:
    from flat_dist.pipeline.results import REPORT

    return Measured(
        results=pd.DataFrame([_row(result) for result in ran.found.results]),
        checkpoints={each.model_name: each.model.folder.uri for each in ran.found.attacked},
        folder=ran.folder.uri,
        report=f"{ran.folder.uri}/{REPORT}/index.html",
        failures=tuple(each.describe() for each in ran.found.failures),
        details=ran.found.results,
    )


def _row(result: Result) -> dict[str, Any]:
    shares = ("accuracy", "after_attack_accuracy", "attack_success_rate", "words_changed", "mean_queries")
    row: dict[str, Any] = {"model": result.training, "round": result.round, "attack": result.attack, "n": result.n}
    row |= {name: getattr(result, name) for name in shares}
    for method, found in result.interpretations.items():
        row |= {f"kendall_tau_{method}": found.common.kendall_tau, f"{TOP_METRIC}_{method}": found.common.top}
    return row
