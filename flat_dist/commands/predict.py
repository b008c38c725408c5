"""Predict the class of texts: reads one text per line from standard input, and prints one JSON object per line.

An object has the text as the model reads it, its label, and the probability of each class. If the model has a word
mask, it also has the global importance of each word (the mean over its pieces). Empty lines are predicted too.

  echo "a fine film" | flat-dist predict --checkpoint runs/stages/train-flat-2-...
"""

import itertools
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from flat_dist import cli
from flat_dist.config import options
from flat_dist.config.errors import UserError
from flat_dist.config.schema import Config, Hardware
from flat_dist.config.validation import HIGHEST, validate
from flat_dist.data.text_files import UTF8_BOM
from flat_dist.runtime import hardware
from flat_dist.storage.folder import Folder


@dataclass(frozen=True)
class Command:
    """The model, and how to run it."""

    checkpoint: str
    """Folder of the checkpoint, such as runs/stages/train-flat-2-..."""
    batch_size: int = 64
    """Texts per batch."""
    hardware: Hardware = "auto"
    """Hardware profile: cpu, gtx1080, a100, h100, or auto: this machine's GPU if it has one, else its CPU."""


def job(arguments: Sequence[str]) -> None:
    """Parse, load, predict."""
    command = options.read(Command, arguments, __doc__)
    from flat_dist.evaluation.predict import predict
    from flat_dist.models import checkpoint as checkpoints

    validate(Config(hardware=command.hardware))
    if not 1 <= command.batch_size <= HIGHEST:
        raise UserError(f"--batch-size is {command.batch_size}, but must be at least 1, and at most {HIGHEST}")
    if sys.stdin is None or sys.stdout is None:
        raise UserError(
            "standard input or output is closed: it reads texts from the one, and prints predictions to the other"
        )
    config, _ = hardware.resolve(Config(hardware=command.hardware), hardware.detect())
    checkpoint = checkpoints.load(Folder(command.checkpoint), config.attack.device)
    texts = lines(sys.stdin.buffer)
    while batch := list(itertools.islice(texts, command.batch_size)):
        for prediction in predict(checkpoint, batch):
            cli.print_json(prediction)


def lines(file: Iterable[bytes]) -> Iterator[str]:
    """The lines of a UTF-8 file, without line ends.

    Raises:
        UserError: a line is not UTF-8, or contains a NUL byte.
    """
    for number, line in enumerate(file, 1):
        if number == 1:
            line = line.removeprefix(UTF8_BOM)
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            raise UserError(
                f"standard input, line {number}: not UTF-8 (byte {line[error.start]:#04x}): convert it, as with iconv"
            ) from error
        if "\0" in text:
            raise UserError(f"standard input, line {number}: contains a NUL byte: give one text per line")
        yield text.rstrip("\r\n")
