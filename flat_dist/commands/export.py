"""Export a model, so that it can be used without the run that trained it.

  transformers   what `save_pretrained` writes: `transformers.pipeline` loads it. For transformers without a word mask
                 (base, continued, adv), whose head the library knows
  folder         a folder for any model: weights, vocabulary, and the versions of the packages. `flat-dist predict`
                 and `fd.predict` load it where flat_dist is installed
  mlflow         an MLflow model for any model, for `mlflow models serve`: a column `text` in, label and probabilities
                 out. flat_dist must be installed where it is served

Without --format, it is transformers where that is possible, else folder.

  flat-dist export --checkpoint runs/stages/train-adv-1-... --to robust_classifier
  flat-dist export --checkpoint runs/stages/train-flat-1-... --to served_model --format mlflow
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from flat_dist import cli
from flat_dist.config import options
from flat_dist.storage.folder import Folder

HOW = {
    "transformers": "transformers.pipeline('text-classification', model='{folder}')",
    "folder": "flat-dist predict --checkpoint {folder}",
    "mlflow": "mlflow models serve --model-uri {folder} --env-manager local --port 5001",
}
"""How to use what was written, by format."""


@dataclass(frozen=True)
class Command:
    """What to export, and where to."""

    checkpoint: str
    """Folder of the model, such as runs/stages/train-flat-1-..."""
    to: str
    """A new or empty folder, or the URI of one in a bucket."""
    format: Literal["auto", "transformers", "folder", "mlflow"] = "auto"
    """transformers, folder or mlflow; auto: transformers where that is possible, else folder."""
    json: bool = False
    """Print one JSON object as the last line of standard output."""


def job(arguments: Sequence[str]) -> None:
    """Parse, load, write."""
    command = options.read(Command, arguments, __doc__)
    from flat_dist.pipeline.export import export

    written = export(Folder(command.checkpoint), Folder(command.to), command.format)
    print(f"{written.format}: {written.folder}")
    if written.reason:
        print(f"not for transformers, because {written.reason}")
    print(f"use it: {HOW[written.format].format(folder=written.folder)}")
    if command.json:
        cli.print_json(asdict(written))
