"""Adversarial texts that people have logged elsewhere: a set of them from one file, of several layouts."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from flat_dist.config.errors import UserError, option
from flat_dist.config.schema import WORST, DataConfig
from flat_dist.config.serialization import content_hash, to_dict
from flat_dist.data import datasets, examples, readers
from flat_dist.data.text_files import GZIP, read_text
from flat_dist.data.textattack_logs import read_text_log, without_marks

OPTION = "--adversarial"

COLUMNS = ("original", "adversarial", "label")
"""Columns of pairs."""

LOG = ("original_text", "perturbed_text", "ground_truth_output")
"""The same columns in TextAttack's CSV log."""

TASK = "sst2"
"""The task of AdvGLUE whose texts are single sentences."""

ADVGLUE = ("original_sentence", "sentence", "label")
"""The same fields in AdvGLUE; its public dev set has no original sentence."""

ACCEPTED = (
    f"{readers.KINDS} with the columns {', '.join(COLUMNS)}; TextAttack's CSV log ({', '.join(LOG)}); "
    f"TextAttack's text log (.txt); AdvGLUE's .json with the task {TASK}"
)
"""The layouts of adversarial texts, for messages."""

INVALID_IN_NAMES = re.compile(r"[^\w.+@,-]")
"""Characters of a file's name that the name of a set must not have: it becomes a name of files and metrics."""


@dataclass(frozen=True)
class Pairs:
    """A set of adversarial texts, cleaned, with their originals where the file has them."""

    file: str
    originals: pa.Table
    """Columns example_id, text (null without originals) and label."""
    adversarials: tuple[str, ...]
    dropped: int = 0
    """Number of dropped bad rows."""
    layout: str = "pairs"
    """What the file is."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Results of a log without an adversarial text, by outcome."""

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        path = Path(self.file)
        return INVALID_IN_NAMES.sub("_", Path(path.stem).stem if path.suffix.lower() == GZIP else path.stem)[:100]

    @property
    def has_originals(self) -> bool:
        """Whether the file has the texts that the adversarial ones were made from."""
        return self.originals["text"].null_count == 0

    @property
    def fingerprint(self) -> str:
        """Content hash of the pairs."""
        return content_hash([self.originals.to_pydict(), self.adversarials])

    def describe(self) -> str:
        """The file, what it is, and what is not counted of it."""
        parts = [self.layout] if self.layout != "pairs" else []
        parts += [f"without {self.dropped:,} bad rows"] if self.dropped else []
        parts += [f"without {count:,} {outcome} results" for outcome, count in self.left_out.items()]
        return self.file + (f" ({'; '.join(parts)})" if parts else "")


def read_sets(files: Sequence[str], label_names: tuple[str, ...], drop_bad_rows: bool = False) -> list[Pairs]:
    """The set of each file; see `read_pairs`.

    Raises:
        UserError: as `read_pairs` says, or two files have the same name.
    """
    sets = [read_pairs(Path(file), label_names, drop_bad_rows) for file in files]
    names: dict[str, str] = {}
    for one in sets:
        if one.name.casefold() == WORST:
            raise UserError(f"{OPTION}: {one.file} is called {WORST}, as the worst case of attacks is: rename the file")
        if other := names.get(one.name.casefold()):
            raise UserError(f"{OPTION}: {other} and {one.file} are both called {one.name}: rename one of the files")
        names[one.name.casefold()] = one.file
    return sets


def read_pairs(path: Path, label_names: tuple[str, ...], drop_bad_rows: bool = False) -> Pairs:
    """The adversarial texts of a file.

    - .csv, .tsv, .jsonl (also with .gz after it), .parquet: columns original, adversarial, label, or those of
      TextAttack's CSV log (`--log-to-csv`) with any coloring of changed words. The log's failed and
      skipped results are pairs, too.
    - .txt: TextAttack's text log (`--log-to-txt`).
    - .json: AdvGLUE (Wang et al. 2021), an object of tasks, each a list of objects.

    Labels are names of classes, or their numbers.

    Raises:
        UserError: the file is missing or of another layout, a row is empty, or a label is not one of the classes.
    """
    left_out: Mapping[str, int] = {}
    if path.suffix.lower() == ".txt" and path.is_file():
        log = read_text_log(path, label_names)
        layout, left_out = "TextAttack's text log", log.left_out
        sides: list[readers.Rows | None] = [log.originals, log.adversarials]
        if not log.adversarials.rows:
            counted = " and ".join(f"{count} {outcome}" for outcome, count in left_out.items())
            raise UserError(f"{path} has no adversarial text, only {counted} results: log a successful attack")
    elif path.suffix.lower() == ".json" and path.is_file():
        layout, sides = f"AdvGLUE, {TASK}", list(_read_advglue(path, label_names))
    else:
        layout, sides = _read_columns(path)
    return _set(path, layout, sides, label_names, drop_bad_rows, left_out)


def _read_columns(path: Path) -> tuple[str, list[readers.Rows | None]]:
    """Layout, originals and adversarial texts of a table."""
    if readers.ending(path) not in readers.READERS and path.is_file():
        raise UserError(f"{path} is not a file of adversarial texts; accepted are {ACCEPTED}")
    try:
        return "pairs", [readers.read(path, column, COLUMNS[2]) for column in COLUMNS[:2]]
    except readers.ColumnError as error:
        try:
            return "TextAttack's CSV log", [_without_marks(readers.read(path, column, LOG[2])) for column in LOG[:2]]
        except readers.ColumnError:
            said = str(error).partition(": rename it")[0]
            raise UserError(f"{said}; accepted are {ACCEPTED}") from error


def _without_marks(rows: readers.Rows) -> readers.Rows:
    return readers.Rows(
        rows.source,
        [row._replace(text=without_marks(row.text)) if isinstance(row.text, str) else row for row in rows.rows],
    )


def _read_advglue(path: Path, label_names: Sequence[str]) -> Iterable[readers.Rows | None]:
    """Originals, if all rows have one, and adversarial sentences of AdvGLUE's task of single sentences."""
    try:
        content = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON ({error}); accepted are {ACCEPTED}") from error
    if not isinstance(content, dict) or not isinstance(content.get(TASK), list):
        found = f"the keys {_listed(content)}" if isinstance(content, dict) else f"a {type(content).__name__}"
        raise UserError(f"{path} has {found}, but not the task {TASK} as a list; accepted are {ACCEPTED}")
    if len(label_names) != 2:
        raise UserError(
            f"{path} is AdvGLUE's {TASK}, which has two classes, but the checkpoint has {len(label_names)}: evaluate a "
            "model of sentiment"
        )
    rows = content[TASK]
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict) or not {*ADVGLUE[1:]} <= row.keys():
            found = _listed(row) if isinstance(row, dict) else type(row).__name__
            raise UserError(
                f"{path}, {TASK} {number}: it has {found}, but needs {' and '.join(ADVGLUE[1:])} (labels of AdvGLUE's "
                "test set are not public)"
            )
    has_originals = bool(rows) and all(row.get(ADVGLUE[0]) for row in rows)
    for name in ADVGLUE[:2]:
        places = enumerate(rows, start=1)
        read = [readers.Row(row.get(name), row[ADVGLUE[2]], f"{path}, {TASK} {number}") for number, row in places]
        yield readers.Rows(str(path), read) if name == ADVGLUE[1] or has_originals else None


def _listed(values: Mapping[str, Any]) -> str:
    names = [repr(str(name)[:40]) for name in list(values)[:10]]
    return ", ".join(names) + (f" and {len(values) - 10} more" if len(values) > 10 else "") or "nothing"


def _set(
    path: Path,
    layout: str,
    sides: Sequence[readers.Rows | None],
    label_names: tuple[str, ...],
    drop_bad_rows: bool,
    left_out: Mapping[str, int],
) -> Pairs:
    """The cleaned texts of a file; sides: originals, if there are any, and adversarial texts."""
    given = [side for side in sides if side is not None]
    if not given[-1].rows:
        raise UserError(f"{path} has no rows: give it at least one pair")
    read = [
        next((side for side in pair if isinstance(side, examples.Fault)), pair)
        for pair in zip(*(examples.to_examples(side, label_names) for side in given), strict=True)
    ]
    (pairs,), (dropped,) = examples.split_faults([read], drop_bad_rows)
    if not pairs:
        raise UserError(f"{path} has no usable row: give it at least one pair")
    originals = datasets.table("pair", [pair[0] for pair in pairs])
    if len(given) == 1:
        empty = pa.nulls(len(pairs), pa.string())
        originals = originals.set_column(originals.column_names.index("text"), "text", empty)
    adversarials = tuple(pair[-1].text for pair in pairs)
    return Pairs(str(path), originals, adversarials, dropped, layout, left_out)


def check_data_options(data: DataConfig) -> None:
    """Raise UserError for data options without effect on adversarial texts, whose columns have fixed names."""
    for name, value in to_dict(data).items():
        if name != "drop_bad_rows" and value != to_dict(DataConfig())[name]:
            raise UserError(
                f"{option(f'data.{name}')} has no effect with {OPTION}: leave it out; the columns are called "
                f"{', '.join(COLUMNS)}, or {', '.join(LOG)}, and the classes are the checkpoint's"
            )
