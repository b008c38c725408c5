"""Original/adversarial pairs from a user's file."""

import re
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from flat_dist.config.errors import UserError, option
from flat_dist.config.schema import DataConfig
from flat_dist.config.serialization import content_hash, to_dict
from flat_dist.data import datasets, examples, readers

COLUMNS = ("original", "adversarial", "label")
"""Columns of pairs."""

LOG = ("original_text", "perturbed_text", "ground_truth_output")
"""The same columns in TextAttack's log."""

BRACKETED = re.compile(r"\[\[(.*?)\]\]")
"""A changed word, as marked in TextAttack's log."""


@dataclass(frozen=True)
class Pairs:
    """A user's original/adversarial pairs, cleaned."""

    file: str
    originals: pa.Table
    """Columns example_id, text and label."""
    adversarials: tuple[str, ...]
    dropped: int = 0
    """Number of dropped bad rows."""

    @property
    def fingerprint(self) -> str:
        """Content hash of the pairs."""
        return content_hash([self.originals.to_pydict(), self.adversarials])


def read_pairs(path: Path, label_names: tuple[str, ...], drop_bad_rows: bool = False) -> Pairs:
    """Pairs of a .csv, .jsonl or .parquet file with columns original, adversarial, label, or of TextAttack's log.

    TextAttack's log (`--log-to-csv`) has the columns `LOG` and brackets around changed words; its skipped texts are
    pairs of equal texts.

    Raises:
        UserError: the file or a column is missing, a row is empty, or a label is not one of the classes.
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
        next((side for side in pair if isinstance(side, examples.Fault)), pair)
        for pair in zip(*(examples.to_examples(side, label_names) for side in sides), strict=True)
    ]
    (pairs,), (dropped,) = examples.split_faults([read], drop_bad_rows)
    if not pairs:
        raise UserError(f"{path} has no usable row: give it at least one pair")
    originals = datasets.table("pair", [original for original, _ in pairs])
    return Pairs(str(path), originals, tuple(adversarial.text for _, adversarial in pairs), dropped)


def _without_brackets(rows: readers.Rows) -> readers.Rows:
    return readers.Rows(
        rows.source,
        [row._replace(text=BRACKETED.sub(r"\1", row.text)) if isinstance(row.text, str) else row for row in rows.rows],
    )


def check_data_options(data: DataConfig) -> None:
    """Raise UserError for data options without effect on pairs, whose columns have fixed names."""
    for name, value in to_dict(data).items():
        if name != "drop_bad_rows" and value != to_dict(DataConfig())[name]:
            raise UserError(
                f"{option(f'data.{name}')} has no effect with --pairs-file: leave it out; the columns are called "
                f"{', '.join(COLUMNS)}, or {', '.join(LOG)}, and the classes are the checkpoint's"
            )
