"""Writes a model where it can be used without the run that trained it: for `transformers`, or as a folder of its own.

Shapes: N texts, C classes.
"""

import importlib
import inspect
from collections.abc import Sequence
from copy import deepcopy
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from flat_dist.config.errors import UserError
from flat_dist.data.batches import to_batch
from flat_dist.data.sentence_pairs import join
from flat_dist.data.whole_text import WholeTextEncoder
from flat_dist.data.wordpieces import WordPieces
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models import pretrained
from flat_dist.models.black_box import BlackBox
from flat_dist.models.checkpoint import Checkpoint
from flat_dist.models.encoder_loading import library
from flat_dist.models.pretrained import PretrainedClassifier
from flat_dist.models.transformer import Transformer
from flat_dist.storage.folder import Folder

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

TOLERANCE = 1e-5
"""Largest difference of a probability between a model and what was written of it."""

PACKAGES = ("torch", "transformers", "tokenizers", "safetensors", "numpy")
"""Packages whose version can change predictions."""

CARD = """# A text classifier of flat_dist

Architecture: {architecture}{masked}. Classes: {classes}.

With flat_dist {version} installed (`requirements.txt`):

```bash
echo "{example}" | flat-dist predict --checkpoint .
```

```python
import flat_dist as fd

print(fd.predict(".", ["{example}"]).to_pandas())
```
"""

EXAMPLE, PAIR_EXAMPLE = "a fine film", join("a man is asleep", "somebody sleeps")
"""Texts of the card."""


def check_exportable(checkpoint: Checkpoint) -> None:
    """Raise UserError for a model without weights of its own."""
    if isinstance(checkpoint.model, BlackBox):
        raise UserError(
            f"{checkpoint.model.source} is known by its answers alone, so there are no weights to export: name the "
            "folder of a trained model"
        )


def why_not_transformers(checkpoint: Checkpoint) -> str:
    """Why the library `transformers` cannot load a model; empty: it can, as far as can be known before it is tried."""
    model = checkpoint.model
    if model.mask is not None:
        return "it has a word mask, which transformers does not know"
    if not isinstance(model, Transformer):
        return f"it is a {checkpoint.config.name}, which transformers does not know"
    if isinstance(model, PretrainedClassifier):
        return ""
    try:
        _with_head(checkpoint, model)
    except _UnknownHeadError as error:
        return str(error)
    return ""


class _UnknownHeadError(Exception):
    """The library's classifier has another head than the one that training added to the encoder."""


def write_transformers(checkpoint: Checkpoint, directory: Path) -> None:
    """Write a model with `save_pretrained`, read it again, and compare the predictions.

    Args:
        checkpoint: a transformer without a word mask.
        directory: an empty folder.

    Raises:
        UserError: the library has no architecture that makes the same predictions.
        ArithmeticError: what was written predicts otherwise.
    """
    reason = why_not_transformers(checkpoint)
    if reason:
        raise UserError(f"--format transformers cannot write this model, because {reason}: choose folder or mlflow")
    classifier, tokenizer = _classifier(checkpoint)
    classifier.save_pretrained(directory, safe_serialization=True)
    tokenizer.save_pretrained(directory)
    model, encoder, settings = pretrained.load_classifier(Folder(directory), "cpu")
    written = Checkpoint(model, model.options, encoder, settings.label_names)
    if checkpoint.encoder.reads_pairs and not encoder.reads_pairs:
        raise UserError(
            "--format transformers cannot write this model, because its tokenizer, once saved, does not mark which "
            "sentence of a pair is which: choose folder or mlflow"
        )
    expected_NC, found_NC = (one.probabilities(pretrained.trial(checkpoint.encoder)) for one in (checkpoint, written))
    if (expected_NC - found_NC).abs().max() > TOLERANCE:
        raise ArithmeticError(f"the classifier in {directory} has other predictions than the model it was made of")


def _classifier(checkpoint: Checkpoint) -> tuple["PreTrainedModel", "PreTrainedTokenizerFast"]:
    model, encoder = checkpoint.model, checkpoint.encoder
    if isinstance(model, PretrainedClassifier):
        assert isinstance(encoder, WholeTextEncoder)
        return model.backbone, encoder.tokenizer
    assert isinstance(model, Transformer) and isinstance(encoder.vocabulary, WordPieces)
    classifier = _with_head(checkpoint, model)
    return classifier, _tokenizer(encoder.vocabulary, encoder.max_length, classifier)


def _with_head(checkpoint: Checkpoint, model: Transformer) -> "PreTrainedModel":
    """The library's classifier with the weights of an encoder, and those of the linear layer that training put on it.

    Raises:
        _UnknownHeadError: it has another head, or gives other logits.
    """
    settings = deepcopy(model.backbone.config)
    settings.id2label = dict(enumerate(checkpoint.label_names))
    settings.label2id = {name: number for number, name in enumerate(checkpoint.label_names)}
    kind = "it is an encoder for which transformers has no classifier"
    try:
        classifier = library().AutoModelForSequenceClassification.from_config(settings, trust_remote_code=False).eval()
        kind = f"a {type(classifier).__name__} has another head than the one that training added"
        classifier.base_model.load_state_dict(model.backbone.state_dict())
        state: dict[str, Tensor] = model.output.state_dict()
        classifier.classifier.load_state_dict(state)
        batch = to_batch([checkpoint.encoder.encode(text) for text in pretrained.trial(checkpoint.encoder)])
        with torch.no_grad():
            expected_NC = model.cpu().eval()(batch.ids_BT, batch.real_BT).logits_BC
            segments = model.segment_inputs(batch.ids_BT, batch.real_BT)
            found_NC = classifier(input_ids=batch.ids_BT, attention_mask=batch.real_BT.long(), **segments).logits
    except (RuntimeError, AttributeError, ValueError) as error:
        raise _UnknownHeadError(kind) from error
    if (expected_NC - found_NC).abs().max() > TOLERANCE * max(1.0, float(expected_NC.abs().max())):
        raise _UnknownHeadError(kind)
    return classifier


def _tokenizer(pieces: WordPieces, max_length: int, classifier: "PreTrainedModel") -> "PreTrainedTokenizerFast":
    """The tokenizer of word pieces; `max_length` cuts a text off where the model's own encoder does."""
    from tokenizers import Tokenizer

    read = Tokenizer.from_str(pieces.tokenizer)
    padding = classifier.config.pad_token_id or 0
    takes = inspect.signature(classifier.forward).parameters
    return library().PreTrainedTokenizerFast(
        tokenizer_object=read,
        unk_token=read.id_to_token(pieces.unknown),
        pad_token=read.id_to_token(padding),
        model_max_length=max_length,
        model_input_names=[name for name in ("input_ids", "token_type_ids", "attention_mask") if name in takes],
    )


def write_folder(checkpoint: Checkpoint, directory: Path) -> None:
    """Write a checkpoint with what is needed to load it where flat_dist is installed.

    Args:
        checkpoint: any model with weights.
        directory: an empty folder.
    """
    folder = Folder(directory)
    checkpoints.save(checkpoint, folder)
    card = CARD.format(
        architecture=checkpoint.config.name,
        masked=" with a word mask (FLAT)" if checkpoint.model.mask is not None else "",
        classes=", ".join(checkpoint.label_names),
        example=EXAMPLE if checkpoint.encoder.reads_texts else PAIR_EXAMPLE,
        version=own_version(),
    )
    folder.write("README.md", card.encode())
    folder.write("requirements.txt", "".join(f"{line}\n" for line in requirements()).encode())


def own_version() -> str:
    """The version of this package, which need not be installed, and whose names are above this module."""
    found: str = importlib.import_module(__name__.partition(".")[0]).__version__
    return found


def requirements(packages: Sequence[str] = PACKAGES) -> list[str]:
    """This package, and packages whose version can change predictions, with their versions."""
    builds = [f"{name}=={version(name).partition('+')[0]}" for name in packages]  # +cpu is no release
    return [f"flat_dist=={own_version()}", *builds]
