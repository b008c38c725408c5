"""Predict the class of texts: one a line on standard input, or a column of a CSV, TSV or JSON lines file.

Prints one JSON object per text, or writes JSON lines or CSV to a file. Each has the text as the model reads it, its
label, and the probability of each class. If the model has a word mask, it also has the global importance of each word
(the mean over its pieces). With --explain, it has what each word adds to the probability of the label. Empty texts are
predicted too, and counted at the end.

  echo "a fine film" | flat-dist predict --checkpoint runs/stages/train-flat-2-...
  flat-dist predict --checkpoint FOLDER --input texts.csv --output predictions.jsonl
  flat-dist predict --checkpoint FOLDER --input texts.csv --output predictions.csv --explain ig
  flat-dist predict --checkpoint my_nli_model --input nli/test.csv --data.text-pair-column text_pair

All columns of a file are kept. Those with the name of a column of the output are called input_text, input_label, and so
on. Texts are read, predicted and written in batches, so that a file may have any size. An interrupt leaves complete
lines.
"""

import sys
from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from flat_dist import cli
from flat_dist.config import options
from flat_dist.config.errors import UserError
from flat_dist.config.schema import Config, DataConfig, EvaluationConfig, Hardware, Interpretation
from flat_dist.config.validation import HIGHEST, validate
from flat_dist.data.hints import symbols_found
from flat_dist.data.preprocessing import lost_symbols
from flat_dist.data.text_stream import stream_file, stream_lines_of
from flat_dist.runtime import hardware
from flat_dist.storage.folder import Folder

if TYPE_CHECKING:  # these import torch
    from flat_dist.evaluation.attributions import AttributionMethod
    from flat_dist.evaluation.prediction_files import Layout, Row
    from flat_dist.models.checkpoint import Checkpoint


@dataclass(frozen=True)
class Columns:
    """The columns of a file of texts."""

    text_column: str = DataConfig.text_column
    """Column of the text."""
    text_pair_column: str | None = None
    """Column of the second sentence, such as text_pair, for a model of pairs of sentences; the text is the first
    one."""


@dataclass(frozen=True)
class Command:
    """The model, the texts, and where the predictions go."""

    checkpoint: str
    """Folder of the checkpoint, such as runs/stages/train-flat-2-..."""
    input: str | None = None
    """File of texts: .csv, .tsv or .jsonl (also with .gz after it). None: standard input, one text a line."""
    output: str | None = None
    """File for the predictions: .jsonl or .csv; one that exists is replaced. None: standard output."""
    format: Literal["jsonl", "csv"] | None = None
    """JSON lines or CSV. None: as the name of `output` says; on standard output, JSON lines."""
    explain: Interpretation | None = None
    """Attribution of each word for the label: ig (integrated gradients) or lime."""
    ig_steps: int = EvaluationConfig.ig_steps
    """Steps on the path of integrated gradients."""
    lime_samples: int = EvaluationConfig.lime_samples
    """Perturbed texts that LIME asks the model about, for each text."""
    seed: int = 1111
    """Seed of LIME."""
    keep_bad_rows: bool = False
    """Write a row that has no usable text with the column `error` instead of a prediction. Otherwise such a row is an
    error; the rows before it are written."""
    batch_size: int = 64
    """Texts per batch."""
    hardware: Hardware = "auto"
    """Hardware profile: cpu, gtx1080, a100, h100, or auto: this machine's GPU if it has one, else its CPU."""
    data: Columns = field(default_factory=Columns)


RENAMED = {"--text-column": "--data.text-column", "--text-pair-column": "--data.text-pair-column"}


def job(arguments: Sequence[str]) -> None:
    """Parse, load, predict."""
    parsed = options.CommandLine(Command, arguments, RENAMED)
    command = parsed.read(__doc__)
    check(command, parsed.given)
    from flat_dist.evaluation import prediction_files
    from flat_dist.evaluation.predict import predict_stream
    from flat_dist.models import checkpoint as checkpoints
    from flat_dist.pipeline import own_models

    source = Path(command.input) if command.input else None
    place = Path(command.output) if command.output else None
    form = prediction_files.check_output(place, source, command.format) if place else command.format or "jsonl"
    folder = Folder(command.checkpoint)
    method = explanation(command, folder)
    columns = command.data.text_column, command.data.text_pair_column
    rows = stream_file(source, *columns) if source else stream_lines_of(sys.stdin.buffer)
    config, _ = hardware.resolve(Config(hardware=command.hardware), hardware.detect())
    checkpoint = checkpoints.load(folder, config.attack.device)
    if command.data.text_pair_column is not None:
        own_models.check_reads_pairs(checkpoint.encoder, folder.uri)
    written = layout(command, form, checkpoint)
    out = prediction_files.OutputFile(place) if place else prediction_files.StandardOutput()
    notes = Notes(checkpoint.encoder.cleans)
    with closing(out):
        for batch in predict_stream(checkpoint, rows, method, command.batch_size, command.keep_bad_rows):
            out.write(written.lines(batch))
            notes.add(batch)
        if not notes.total:  # the header, or an empty file
            out.write(written.lines([]))
    for note in notes.lines():
        print(note, file=sys.stderr)


@dataclass
class Notes:
    """Counts texts whose predictions need a remark."""

    cleans: bool
    """Whether the model reads cleaned texts."""
    total: int = 0
    bad: int = 0
    without_words: int = 0
    with_symbols: int = 0
    symbols: Counter[str] = field(default_factory=Counter)

    def add(self, rows: "Sequence[Row]") -> None:
        """Count rows, with their predictions."""
        for row, prediction in rows:
            self.total += 1
            self.bad += prediction is None
            self.without_words += prediction is not None and not prediction["text"]
            lost = lost_symbols(row.text) if self.cleans else ""
            self.with_symbols += bool(lost)
            self.symbols.update(lost)

    def lines(self) -> list[str]:
        """The remarks."""
        found = []
        if self.bad:
            found.append(f"{self.bad:,} of {self.total:,} rows have no prediction: their column error says why")
        if self.without_words:
            texts = f"{self.without_words:,} of {self.total:,} texts"
            found.append(f"{texts} have no word that the model reads: their predictions say nothing about them")
        if self.with_symbols:
            texts = symbols_found(self.with_symbols, self.total, self.symbols)
            found.append(f"hint: {texts}, which the model does not read: it reads cleaned texts")
        return found


def check(command: Command, given: Collection[str]) -> None:
    """Check the options, before anything is loaded.

    Args:
        command: the options.
        given: names of those that the user gave.

    Raises:
        UserError: a value is not valid, or an option has no effect.
    """
    method = EvaluationConfig(ig_steps=command.ig_steps, lime_samples=command.lime_samples)
    validate(Config(hardware=command.hardware, evaluation=method, seed=command.seed))
    if not 1 <= command.batch_size <= HIGHEST:
        raise UserError(f"--batch-size is {command.batch_size}, but must be at least 1, and at most {HIGHEST}")
    needs = {"--ig-steps": "--explain ig", "--lime-samples": "--explain lime", "--seed": "--explain lime"}
    for name, instead in needs.items():
        if name in given and f"--explain {command.explain}" != instead:
            raise UserError(f"{name} has an effect only with {instead}: give both, or none")
    columns = [f"--data.{name}" for name in ("text-column", "text-pair-column") if f"--data.{name}" in given]
    if command.input is None and (command.keep_bad_rows or columns):
        name = "--keep-bad-rows" if command.keep_bad_rows else columns[0]
        raise UserError(f"{name} has an effect only with --input: on standard input, each line is a text")
    if command.data.text_pair_column == command.data.text_column:
        raise UserError(
            f"--data.text-pair-column {command.data.text_pair_column} is also the column of texts: name another one"
        )
    if (sys.stdin is None and command.input is None) or (sys.stdout is None and command.output is None):
        raise UserError(
            "standard input or output is closed: it reads texts from the one, and prints predictions to the other, "
            "unless --input and --output name files"
        )


def explanation(command: Command, folder: Folder) -> "AttributionMethod | None":
    """How words are attributed, if the user asks for it.

    Raises:
        UserError: the model does not have what it needs.
    """
    if command.explain is None:
        return None
    from flat_dist.evaluation.attributions import methods
    from flat_dist.pipeline import own_models

    own_models.check_uses(folder, (), [command.explain], "--explain")
    settings = EvaluationConfig(
        explain=(command.explain,), ig_steps=command.ig_steps, lime_samples=command.lime_samples
    )
    (method,) = methods(settings, command.seed)
    return method


def layout(command: Command, form: str, checkpoint: "Checkpoint") -> "Layout":
    """How predictions are written."""
    from flat_dist.evaluation.prediction_files import Csv, JsonLines

    if form == "jsonl":
        return JsonLines(ascii_only=command.output is None and not cli.prints_utf8())
    optional = {
        "importance": checkpoint.model.mask is not None,
        "attributions": command.explain is not None,
        "error": command.keep_bad_rows,
    }
    return Csv(checkpoint.label_names, [name for name, there in optional.items() if there])
