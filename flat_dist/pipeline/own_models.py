"""Models that training did not leave: classifiers of Hugging Face, functions, and endpoints on the network."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from os import PathLike, fspath
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from flat_dist.config.attacks import PATH, order_of
from flat_dist.config.errors import UserError
from flat_dist.config.schema import ADVERSARIAL, Config, DataConfig, EndpointConfig
from flat_dist.data import labels
from flat_dist.data.encoder import Encoder
from flat_dist.data.sentence_pairs import join
from flat_dist.data.whole_text import WholeTextEncoder
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models.black_box import OPTION, Description, is_black_box, read, save
from flat_dist.models.encoders import CLASSIFIER, source
from flat_dist.models.endpoint import check_address, token
from flat_dist.models.pretrained import PretrainedClassifier, has_word_vectors, is_pretrained, load_classifier
from flat_dist.runtime.user_code import load_function, source_sha256
from flat_dist.storage.folder import Folder
from flat_dist.storage.location import is_folder

FOLDER = "models"
"""Folder of a storage with the folders that stand for functions and endpoints."""

HIGHEST_RATE = 10_000

ADDRESS = re.compile(r"https?://", re.IGNORECASE)

PROBE = ("a fine film", "not good at all , and far too long")
"""Texts that a function or endpoint is asked about before any work."""


def place(
    model: str,
    storage: str,
    endpoint: EndpointConfig,
    given_names: Sequence[str],
    data_names: Callable[[], Sequence[str]],
    pairs: bool = False,
) -> tuple[str | None, str]:
    """A name and the folder of a model that the user names; of a function or endpoint, one that stands for it.

    Args:
        model: a folder, package.module:function, or https://...
        storage: where the folders are that stand for functions and endpoints.
        endpoint: requests to an endpoint.
        given_names: class names that the user gives.
        data_names: class names of the dataset, for a model that states none.
        pairs: whether the model is asked about pairs of sentences.

    Returns:
        The name, which is None for a model in a folder, and the folder.

    Raises:
        UserError: there is no such function, an endpoint does not answer, or its answers are not probabilities.
    """
    if ADDRESS.match(model):
        _check_endpoint(endpoint)
        check_address(model)
        token()
        names = _names(given_names or data_names())
        described = Description("http", model, names, endpoint=endpoint)
        name = str(urlsplit(model).hostname)
    elif PATH.fullmatch(model) and not is_folder(model):
        here = str(Path.cwd())
        function = load_function(model, OPTION, here)
        names = _names(given_names or getattr(function, "label_names", ()) or data_names())
        described = Description("function", model, names, here, source_sha256(function, model, OPTION))
        name = model.rpartition(":")[2]
    else:
        return None, model
    folder = Folder(storage)
    folder.check()
    folder = folder / FOLDER / f"{described.kind}-{described.fingerprint}"
    save(described, folder)
    try_out(folder, pairs)
    return re.sub(r"[^\w.-]", "-", name), folder.uri


def name_of(model: str | PathLike[str] | Callable[..., Any]) -> str:
    """A model as `place` takes it; of a function, its Python path.

    Raises:
        UserError: other processes cannot import the function.
    """
    if not callable(model):
        return fspath(model)
    module, name = getattr(model, "__module__", None), getattr(model, "__qualname__", None)
    path = f"{module}:{name}"
    if module == "__main__" or not PATH.fullmatch(path):
        raise UserError(
            f"{name or type(model).__name__} cannot be imported by the processes that attack it, because it is no "
            "named function of a module: write it into a file, such as my_models.py, and give my_models.function"
        )
    return path


def try_out(folder: Folder, pairs: bool = False) -> None:
    """Ask a model about two texts, or two pairs of sentences.

    Raises:
        UserError: it does not answer with probabilities.
    """
    checkpoints.load(folder).probabilities([join(*PROBE), join(*reversed(PROBE))] if pairs else PROBE)


def _names(names: Sequence[str]) -> list[str]:
    try:
        found = [labels.normalize(name) for name in names]
    except (labels.UnusableError, TypeError) as error:
        raise UserError(f"label_names of a model must be names of classes: {error}") from error
    if len(found) < 2 or len(set(found)) < len(found):
        raise UserError(f"a model needs the names of two or more different classes, not {', '.join(found) or 'none'}")
    return found


def _check_endpoint(config: EndpointConfig) -> None:
    for name, least, most in (("batch_size", 1, 2**20), ("retries", 0, 100), ("rate", 0, HIGHEST_RATE)):
        value = getattr(config, name)
        if not least <= value <= most:
            raise UserError(f"--endpoint.{name.replace('_', '-')} is {value}, but must be from {least} to {most:,}")
    if not 0 < config.timeout <= 3600:
        raise UserError(f"--endpoint.timeout is {config.timeout}, but must be above 0, and at most 3,600")


def resolve_cleaning(data: DataConfig, folders: Sequence[Folder]) -> DataConfig:
    """The config of a dataset for some models: where texts are cleaned or not by the models, this is decided."""
    if data.cleaning != "auto":
        return data
    own = all(is_black_box(folder) or checkpoints.is_pretrained(folder) for folder in folders)
    return replace(data, cleaning="no" if own else "yes")


def check_pairs(folder: Folder, pairs: bool) -> None:
    """Check that a model reads what a dataset has.

    Args:
        folder: the model.
        pairs: whether the dataset has pairs of sentences.

    Raises:
        UserError: the model reads single texts and the dataset has pairs of sentences, or the other way round.
    """
    if is_black_box(folder):
        return
    encoder = checkpoints.load(folder).encoder
    if pairs:
        check_reads_pairs(encoder, folder.uri)
    elif not encoder.reads_texts:
        raise UserError(
            f"{folder.uri} reads pairs of sentences, but the data are single texts: name the column of the second "
            "sentences, --data.text-pair-column"
        )


def check_reads_pairs(encoder: Encoder, name: str) -> None:
    """Raise UserError if the model of an encoder, which messages call `name`, reads no pairs of sentences."""
    if not encoder.reads_pairs:
        raise UserError(
            f"{name} reads single texts, but the data are pairs of sentences: leave out --data.text-pair-column, or "
            "name a model of pairs"
        )


def check_uses(
    folder: Folder, attacks: Sequence[str], explain: Sequence[str] = (), option: str = "--evaluation.explain"
) -> None:
    """Check that a model has what attacks and explanations need of it, before any work.

    Args:
        folder: the model.
        attacks: names.
        explain: methods.
        option: the command's option that names the methods.

    Raises:
        UserError: one of them needs word vectors, which the model does not have.
    """
    adaptive = [attack for attack in attacks if order_of(attack)]
    if not (adaptive or explain):
        return
    name = folder.uri
    if is_black_box(folder):
        name = read(folder).address
        what = "is known by its probabilities alone"
        explained = [method for method in explain if method != "lime"]
    elif checkpoints.describe(folder)["model"]["name"] == CLASSIFIER:
        checkpoint = checkpoints.load(folder)
        assert isinstance(checkpoint.model, PretrainedClassifier)
        assert isinstance(checkpoint.encoder, WholeTextEncoder)
        if has_word_vectors(checkpoint.model, checkpoint.encoder):
            return
        what, explained = "takes no word vectors (inputs_embeds)", list(explain)
    else:
        return
    if adaptive:
        raise UserError(
            f"{adaptive[0]} needs the gradient of the model, but {name} {what}: choose textfooler, pwws or "
            "another attack that asks for scores only"
        )
    if explained:
        instead = f"choose {option} lime" if is_black_box(folder) else f"leave out {option}"
        raise UserError(f"{option} {explained[0]} needs the model's word vectors, but {name} {what}: {instead}")


def resolve(config: Config) -> Config:
    """The config of a training that starts from the user's own classifier, with the classifier's length.

    Raises:
        UserError: there is no such classifier, or it cannot be trained as the config asks.
    """
    folder = Folder(source(config.model))
    if not is_pretrained(folder):
        raise UserError(
            f"--model.encoder {config.model.encoder} is no folder with a classifier (config.json): save it there with "
            "model.save_pretrained(FOLDER) and tokenizer.save_pretrained(FOLDER)"
        )
    if config.training.init == "scratch":
        raise UserError(
            "--training.init scratch trains flat from a new model, but --model.name classifier starts from yours: "
            "choose base"
        )
    model, encoder, _ = load_classifier(folder, "cpu", config.model)
    if not has_word_vectors(model, encoder):
        _check_training(config, folder)
        check_uses(folder, [config.attack.name, *config.evaluation.attacks], config.evaluation.explain)
    return replace(config, data=replace(config.data, max_length=encoder.max_length))


def _check_training(config: Config, folder: Folder) -> None:
    """Raise UserError if a classifier without word vectors is to be trained with what needs them."""
    training = config.training
    needing = ["--training.kinds flat"] if "flat" in training.kinds else []
    if training.adversaries in ("gradient", "both") and not set(training.kinds).isdisjoint(ADVERSARIAL):
        needing.append(f"--training.adversaries {training.adversaries}")
    if training.word_dropout:
        needing.append("--training.word-dropout")
    if needing:
        raise UserError(
            f"{needing[0]} needs the word vectors of the model, but {folder.uri} takes none (inputs_embeds): train it "
            "with --training.kinds base adv --training.adversaries attack"
        )
