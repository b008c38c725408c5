"""Predict texts with a checkpoint: one text a line on standard input, one JSON object a line on standard output.

Each has the text as the model reads it, its label, the probability of each class, and, where the model has a word mask,
the global importance of each word (the mean over its pieces).
"""

import itertools
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import tyro

import flat_dist.start  # noqa: F401, before the imports that take long
from flat_dist import cli, hardware
from flat_dist.config import Config
from flat_dist.data.storage import Folder
from flat_dist.evaluation.predict import predict
from flat_dist.models import checkpoint as checkpoints


@dataclass(frozen=True)
class Command:
    """What to predict with."""

    checkpoint: str
    """Folder of the checkpoint, such as runs/stages/train-flat-2-..."""
    batch_size: int = 64
    """Texts read at once."""
    hardware: str = "auto"
    """What it runs on: cpu, gtx1080, a100, h100, or auto: this machine's GPU, or its CPU."""


def job(arguments: Sequence[str]) -> None:
    """Parse, load, predict."""
    command = tyro.cli(Command, args=list(arguments), description=__doc__)
    config, _ = hardware.resolve(Config(hardware=command.hardware), hardware.detect())
    checkpoint = checkpoints.load(Folder(command.checkpoint), config.attack.device)
    lines = (line.rstrip("\n") for line in sys.stdin)
    while batch := list(itertools.islice(lines, max(command.batch_size, 1))):
        for prediction in predict(checkpoint, batch):
            cli.print_json(prediction)


if __name__ == "__main__":
    cli.main(job)
