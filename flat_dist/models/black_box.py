"""Models of which only the probabilities are known: a Python function, or an endpoint on the network.

A folder with `black_box.json` stands for such a model wherever a checkpoint can be given.

Shapes: B texts, T characters, C classes.
"""

import reprlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from flat_dist.config.errors import UserError, first_line
from flat_dist.config.schema import EndpointConfig
from flat_dist.config.serialization import content_hash
from flat_dist.data.encoder import Encoder
from flat_dist.data.preprocessing import PAD, UNKNOWN, Vocabulary, tokenize
from flat_dist.data.sentence_pairs import attacked, split
from flat_dist.models.classifier import Prediction, TextClassifier
from flat_dist.models.endpoint import Endpoint
from flat_dist.runtime.user_code import load_function, source_sha256
from flat_dist.storage.folder import Folder

DESCRIPTION = "black_box.json"
FORMAT = "flat_dist.black-box/1"

OPTION = "--checkpoint"
"""The option that names such a model."""

MAX_LENGTH = 2**20
"""Characters of a text that a model is asked about."""

SMALLEST = 1e-300
"""Probabilities below it count as it, so that each has a logarithm."""

SUM_TOLERANCE = 1e-3
"""How far the probabilities of a text may be from a sum of 1."""

Text = str | dict[str, str]
"""A text, or a pair of sentences."""

Ask = Callable[[Sequence[Any]], Any]
"""Texts (each a `Text`) to probabilities, as the user's code returns them."""


@dataclass(frozen=True)
class Description:
    """Fields of black_box.json."""

    kind: Literal["function", "http"]
    address: str
    """package.module:function, or https://..."""
    label_names: list[str]
    import_from: str = ""
    """Folder in which a function's module is looked for, after all other places."""
    source: str = ""
    """sha256 of the file in which a function is written."""
    endpoint: EndpointConfig = field(default_factory=EndpointConfig)

    @property
    def fingerprint(self) -> str:
        """Hash of what predictions depend on, as 16 hexadecimal digits."""
        return content_hash([self.kind, self.address, self.label_names, self.source])


class CharacterEncoder(Encoder):
    """The ids of a text are the code points of its characters, so that a text can be read back from them.

    Of a pair of sentences, `words` and `spans` are those of the second one.
    """

    reads_pairs: ClassVar[bool] = True
    cleans: ClassVar[bool] = False

    def encode(self, text: str) -> tuple[int, ...]:
        """Code points of a text; an empty one is one unknown character."""
        return tuple(map(ord, text[: self.max_length])) or (self.vocabulary.unknown,)

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Start and end of each word between single spaces; a word ends with the space after it."""
        read = text[: self.max_length]
        starts = [len(read) - len(attacked(read))]
        for word in tokenize(attacked(read)):
            starts.append(starts[-1] + len(word) + 1)
        ends = [min(end, len(text)) for end in starts[1:]]
        return list(zip(starts, ends, strict=False))

    def words(self, text: str) -> list[str]:
        """The words between single spaces."""
        return tokenize(attacked(text[: self.max_length]))


class _PassOn(nn.Linear):
    """Returns what it is given; hooks on it follow the answers of a black box."""

    def forward(self, input: Tensor) -> Tensor:
        return input


class BlackBox(TextClassifier):
    """A model that is only asked; its logits are the logarithms of its probabilities, in float64.

    A single text is given to it as a string, a pair of sentences as a dictionary of `text` and `text_pair`.

    Args:
        ask: texts to probabilities.
        label_names: the classes.
        source: what the model is called in messages.
    """

    def __init__(self, ask: Ask, label_names: Sequence[str], source: str):
        super().__init__(dropout=0.0)
        self.ask, self.label_names, self.source = ask, tuple(label_names), source
        self.output = _PassOn(1, len(label_names))

    def embed(self, ids: Tensor) -> Tensor:
        """Code points (..., 1), in place of word vectors."""
        return ids.unsqueeze(-1)

    def predict_embedded(self, embedded_BTD: Tensor, real_BT: Tensor) -> Prediction:
        """Prediction from code points."""
        rows = zip(embedded_BTD.squeeze(-1).tolist(), real_BT.tolist(), strict=True)
        texts = [_question([point for point, real in zip(*row, strict=True) if real]) for row in rows]
        probabilities_BC = check_probabilities(self.ask(texts), len(texts), self.label_names, self.source)
        return Prediction(self.output(torch.from_numpy(np.log(np.maximum(probabilities_BC, SMALLEST)))), None)


def _question(points: Sequence[int]) -> Text:
    """The text of code points, without the space after its last word."""
    text = "".join(chr(point) for point in points if point != Vocabulary.unknown)
    pair = split(text)
    return {"text": pair[0], "text_pair": pair[1].strip(" ")} if pair else text.strip(" ")


def check_probabilities(answer: Any, count: int, label_names: Sequence[str], source: str) -> np.ndarray:
    """What a model returned, as probabilities (B, C) in float64.

    Args:
        answer: anything that NumPy or PyTorch makes an array of.
        count: number of texts.
        label_names: the classes.
        source: the model, for messages.

    Raises:
        UserError: it is no array of that shape, or its rows are not probabilities.
    """
    if isinstance(answer, Tensor):
        answer = answer.detach().cpu()
    try:
        found = np.asarray(answer, dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise UserError(
            f"{source} returned {_shown(answer)}, which is no array of numbers: return one row of probabilities for "
            "each text"
        ) from error
    if found.shape != (count, len(label_names)):
        raise UserError(
            f"{source} returned an array of shape {found.shape} for {count} texts and the {len(label_names)} classes "
            f"{', '.join(label_names)}: it must be ({count}, {len(label_names)})"
        )
    for row in np.flatnonzero(~np.isfinite(found).all(1)):
        raise UserError(f"{source} returned {_shown(found[row].tolist())} for a text: all numbers must be finite")
    wrong = (found < 0).any(1) | (np.abs(found.sum(1) - 1) > SUM_TOLERANCE)
    for row in np.flatnonzero(wrong):
        raise UserError(
            f"{source} returned {_shown(found[row].tolist())} for a text, with the sum {found[row].sum():g}: return "
            "probabilities from 0 to 1 with the sum 1, not logits"
        )
    return found


def _shown(value: Any) -> str:
    return f"{reprlib.repr(value)} ({type(value).__name__})"


def is_black_box(folder: Folder) -> bool:
    """Whether a folder stands for a model of which only the probabilities are known."""
    return folder.exists(DESCRIPTION)


def save(description: Description, folder: Folder) -> None:
    """Write the folder that stands for a model."""
    values = {name: value for name, value in vars(description).items() if name != "endpoint"}
    folder.write_json(DESCRIPTION, {"format": FORMAT, **values, "endpoint": vars(description.endpoint)})


def read(folder: Folder) -> Description:
    """What a folder says of its model.

    Raises:
        DamagedFileError: it is damaged.
    """
    found: Description = folder.read_json(DESCRIPTION, Description)
    return found


def load(folder: Folder) -> tuple[BlackBox, CharacterEncoder, Description]:
    """The model that a folder stands for.

    Raises:
        UserError: its function cannot be loaded, or is not the one that the folder was written for.
        DamagedFileError: the folder is damaged.
    """
    described = read(folder)
    if described.kind == "http":
        ask: Ask = Endpoint(described.address, described.endpoint)
    else:
        function = load_function(described.address, OPTION, described.import_from)
        if source_sha256(function, described.address, OPTION) != described.source:
            raise UserError(
                f"the file of {described.address} on this machine differs from that of the run: copy it to "
                f"{described.import_from} on all machines, or start the run again"
            )
        ask = _guarded(function, described.address)
    encoder = CharacterEncoder(Vocabulary((PAD, UNKNOWN)), MAX_LENGTH)
    return BlackBox(ask, described.label_names, described.address).eval(), encoder, described


def _guarded(function: Callable[..., Any], path: str) -> Ask:
    """The function, called with a list; an error in it names it."""

    def ask(texts: Sequence[Text]) -> Any:
        try:
            return function(list(texts))
        except Exception as error:  # a user's function can raise any error
            raise UserError(f"{path} raises {type(error).__name__}: {first_line(error)}") from error

    return ask


def describe(folder: Folder) -> dict[str, Any]:
    """The description of a model, as `flat_dist.models.checkpoint.describe` gives it.

    Raises:
        DamagedFileError: the folder is damaged.
    """
    described = read(folder)
    return {
        "architecture": described.kind,
        "masked": False,
        "label_names": described.label_names,
        "max_length": MAX_LENGTH,
        "model": {"name": described.kind},
    }
