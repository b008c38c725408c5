"""The checkpoint that training starts from: a vocabulary, pretrained vectors or a pretrained encoder, fresh weights."""

from collections.abc import Callable, Mapping

import torch

from flat_dist.config.errors import UserError
from flat_dist.config.schema import Config
from flat_dist.config.serialization import stage_values
from flat_dist.data.datasets import Dataset, check_classes
from flat_dist.data.encoder import Encoder, encoder_of
from flat_dist.data.preprocessing import Vocabulary, tokenize
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models import encoders, pretrained, vectors
from flat_dist.models.artifact import model_notes
from flat_dist.models.checkpoint import Checkpoint
from flat_dist.models.word_groups import group_words
from flat_dist.runtime.seeds import derive_seed
from flat_dist.storage.folder import Folder
from flat_dist.storage.stage import Output, Stage


def initial_stage(
    config: Config, dataset: Dataset, masked: bool, contents: Mapping[str, str | None], log_line: Callable[[str], None]
) -> Stage:
    """The stage of an untrained model.

    Args:
        config: data, model and seed.
        dataset: its training texts make up the vocabulary.
        masked: whether the model has a word mask.
        contents: fingerprints of what the model starts from, by field of its config.
        log_line: prints what the model was made of.
    """

    def fill(folder: Folder) -> Output:
        checkpoint, made_of = initial(config, dataset, masked)
        log_line(made_of)
        checkpoints.save(checkpoint, folder)
        own = model_notes("base", 0) if config.model.name == encoders.CLASSIFIER else {}
        return Output(checkpoints.FILES, notes={"made_of": made_of, **own})

    inputs = {
        "dataset": dataset.fingerprint,
        "data": stage_values(config.data),
        "model": {**stage_values(config.model), **contents},
        "encoder": contents["encoder"] or encoders.fingerprint(config.model),
        "masked": masked,
        "seed": config.seed,
    }
    return Stage(name="init", title="make the initial model", inputs=inputs, fill=fill)


def initial(config: Config, dataset: Dataset, masked: bool) -> tuple[Checkpoint, str]:
    """An untrained model for a dataset, and what it was made of, in words.

    Raises:
        UserError: the file of vectors is missing or malformed, its vectors have another size than the config's, or
            the encoder or classifier cannot be had, or has other classes than the dataset; or fewer words have a
            vector to cluster than there are groups.
    """
    torch.manual_seed(derive_seed(config.seed, "init"))
    if config.model.name == encoders.CLASSIFIER:
        make = _own_classifier
    else:
        make = _transformer if config.model.name in encoders.TRANSFORMERS else _word_model
    checkpoint, made_of = make(config, dataset)
    if masked:
        checkpoints.add_mask(checkpoint.model, config.model)
    return checkpoint, made_of


def _own_classifier(config: Config, dataset: Dataset) -> tuple[Checkpoint, str]:
    folder = Folder(encoders.source(config.model))
    model, encoder, settings = pretrained.load_classifier(folder, "cpu", config.model)
    check_classes(dataset, settings.label_names, folder.uri)
    if dataset.pairs and not encoder.reads_pairs:
        raise UserError(f"{folder.uri} reads single texts, but the data are pairs of sentences: choose another model")
    made_of = f"your classifier as it is: {settings.architecture}, {_millions(model)} million weights"
    return Checkpoint(model, config.model, encoder, settings.label_names), made_of


def _millions(model: torch.nn.Module) -> str:
    return f"{sum(parameter.numel() for parameter in model.parameters()) / 1e6:.0f}"


def _transformer(config: Config, dataset: Dataset) -> tuple[Checkpoint, str]:
    model, pieces = encoders.pretrained(config.model, len(dataset.label_names), dataset.pairs)
    encoder = encoder_of(pieces, config.data.max_length)
    if encoder.max_word_pieces < 1 or config.data.max_length > model.max_pieces:
        least = config.data.max_length - encoder.max_word_pieces + 1
        raise UserError(
            f"--data.max-length is {config.data.max_length}, but must be between {least} and {model.max_pieces} for "
            f"{encoders.source(config.model)}"
        )
    built_in = config.model.name == encoders.BUILT_IN and not config.model.encoder
    name = encoders.BUILT_IN if built_in else encoders.source(config.model)
    made_of = f"encoder: {name}, {_millions(model)} million weights"
    return Checkpoint(model, config.model, encoder, dataset.label_names), made_of


def _word_model(config: Config, dataset: Dataset) -> tuple[Checkpoint, str]:
    texts = (tokenize(text) for text in dataset.train["text"].to_pylist())
    vocabulary = Vocabulary.build(texts, config.data.min_frequency)
    model = checkpoints.build(config.model, len(vocabulary), len(dataset.label_names))
    seed = derive_seed(config.seed, "vectors")
    initial_VD, found = vectors.initial_vectors(config.model, vocabulary.words, seed)
    model.embedding.weight.data.copy_(torch.from_numpy(initial_VD))
    made_of = f"vocabulary: {len(vocabulary)} words, {found} with pretrained vectors"
    if model.groups is not None:
        group_V, grouped = group_words(vocabulary.words, config)
        model.groups.group_V.copy_(torch.from_numpy(group_V))
        made_of += f"; {grouped}"
    encoder = Encoder(vocabulary, config.data.max_length)
    return Checkpoint(model, config.model, encoder, dataset.label_names), made_of
