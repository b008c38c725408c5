"""Original/adversarial pairs of a user, from a file."""

import re
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from flat_dist.config.errors import UserError
from flat_dist.config.schema import DataConfig
from flat_dist.config.serialization import content_hash, to_dict
from flat_dist.data import datasets, readers

COLUMNS = ("original", "adversarial", "label")
"""Columns of pairs."""

LOG = ("original_text", "perturbed_text", "ground_truth_output")
"""The same in the log that TextAttack writes."""

BRACKETED = re.compile(r"\[\[(.*?)\]\]")
"""A word that differs, as TextAttack's log marks it."""


@dataclass(frozen=True)
class Pairs:
    """Original/adversarial pairs of a user, cleaned."""

    file: str
    originals: pa.Table
    """Columns example_id, text and label."""
    adversarials: tuple[str, ...]
    dropped: int = 0
    """Bad rows that were left out."""

    @property
    def fingerprint(self) -> str:
        """Content hash of the pairs."""
        return content_hash([self.originals.to_pydict(), self.adversarials])


def read_pairs(path: Path, label_names: tuple[str, ...], drop_bad_rows: bool = False) -> Pairs:
    """Pairs of a .csv, .jsonl or .parquet file: original, adversarial, label; or as in TextAttack's log.

    TextAttack's log (`--log-to-csv`) has the columns `LOG`, and brackets around the words that differ; texts that it
    skipped stand there as pairs of equal texts, and are read as such.

    Raises:
        UserError: the file or a column is missing, or a row is empty, or its label is none of the classes.
    """
    try:
        sides = [readers.read(path, column, COLUMNS[2]) for column in COLUMNS[:2]]
    except readers.ColumnError as error:
        try:
            sides = [_without_brackets(readers.read(path, column, LOG[2])) for column in LOG[:2]]
        except readers.ColumnError:
            raise UserError(
                f"{str(error).partition(': rename it')[0]}: call the columns {', '.join(COLUMNS)}, or as TextAttack's "
                f"log does {', '.join(LOG)}"
            ) from error
    if not sides[0].rows:
        raise UserError(f"{path} has no rows: give it at least one pair")
    read = [
        next((side for side in pair if isinstance(side, datasets.Fault)), pair)
        for pair in zip(*(datasets.examples(side, label_names) for side in sides), strict=True)
    ]
    (pairs,), (dropped,) = datasets.split_faults([read], drop_bad_rows)
    if not pairs:
        raise UserError(f"{path} has no row that can be used: give it at least one pair")
    originals = datasets.table("pair", [original for original, _ in pairs])
    return Pairs(str(path), originals, tuple(adversarial.text for _, adversarial in pairs), dropped)


def _without_brackets(rows: readers.Rows) -> readers.Rows:
    return readers.Rows(
        rows.source,
        [row._replace(text=BRACKETED.sub(r"\1", row.text)) if isinstance(row.text, str) else row for row in rows.rows],
    )


def check_data_options(data: DataConfig) -> None:
    """Raise UserError for options of the data that have no effect on pairs: columns have fixed names there."""
    for name, value in to_dict(data).items():
        if name != "drop_bad_rows" and value != to_dict(DataConfig())[name]:
            raise UserError(
                f"--data.{name} has no effect with --pairs-file: leave it out; the columns are called "
                f"{', '.join(COLUMNS)}, or {', '.join(LOG)}, and the classes are the checkpoint's"
            )
