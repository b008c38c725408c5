"""The blind sheet of pairs for people, its key, and filled sheets.

The sheet has no name of a model, an attack or a label; the key beside it says what each pair is.
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path

from flat_dist.config.errors import UserError, quoted
from flat_dist.data.text_files import read_text
from flat_dist.evaluation.annotation import QUESTIONS, SIDES, Annotation, AnnotationPair, Answers, judge
from flat_dist.storage.folder import Folder

ANNOTATED = "--annotated"

TEXTS = tuple(f"text_{side}" for side in SIDES)

COLUMNS = ("pair", *TEXTS, *QUESTIONS)
"""Of the sheet."""

KEY = tuple(one.name for one in fields(AnnotationPair))
"""Columns of the key."""

YES, NO = ("yes", "y", "1", "true"), ("no", "n", "0", "false")
"""Spellings of answers, in any case."""

SEPARATORS = ",;\t"
"""What may separate the columns of a filled sheet: spreadsheets save some of them, too."""


def sheet_name(count: int) -> str:
    """Name of a sheet of so many pairs."""
    return f"sheet-{count}.csv"


def write_sheet(folder: Folder, pairs: Sequence[AnnotationPair], count: int) -> bool:
    """Write the sheet and its key; a sheet that is already there, which may be filled in, is kept.

    Args:
        folder: for both.
        pairs: in the order of the sheet.
        count: number of pairs that were asked for, for the names.

    Returns:
        Whether the sheet is new.

    Raises:
        UserError: there is no pair.
    """
    if not pairs:
        raise UserError("--annotate: there is no pair to annotate, because no attack was successful: leave it out")
    is_new = not folder.exists(sheet_name(count))
    folder.write(f"key-{count}.csv", _to_csv(KEY, [asdict(pair) for pair in pairs]))
    if is_new:
        folder.write(sheet_name(count), _to_csv(COLUMNS, map(_blind, pairs)))
    return is_new


def _blind(pair: AnnotationPair) -> dict[str, str]:
    texts = {side: pair.adversarial if side == pair.side else pair.original for side in SIDES}
    return {"pair": pair.pair, **{f"text_{side}": text for side, text in texts.items()}}


def _to_csv(columns: Sequence[str], rows: Iterable[Mapping[str, str]]) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def read_sheets(folder: Folder, files: Sequence[str]) -> Annotation:
    """What people said, one filled sheet for each of them.

    Args:
        folder: of the keys.
        files: the sheets.

    Raises:
        UserError: there is no key, or a sheet is missing, of another layout or evaluation, or not filled in.
    """
    key = _read_keys(folder)
    people = [_read_sheet(Path(file), key) for file in files]
    return judge(key, people)


def _read_keys(folder: Folder) -> dict[str, AnnotationPair]:
    names = [name for name in folder.names() if name.startswith("key-") and name.endswith(".csv")]
    if not names:
        raise UserError(
            f"{ANNOTATED}: {folder.uri} has no key of a sheet: give the options of the evaluation that wrote the sheet"
        )
    rows = [row for name in names for row in csv.DictReader(io.StringIO(folder.read(name).decode("utf-8")))]
    return {row["pair"]: AnnotationPair(**{name: row[name] for name in KEY}) for row in rows}


def _read_sheet(path: Path, key: Mapping[str, AnnotationPair]) -> dict[str, Answers]:
    if not path.is_file():
        raise UserError(f"{ANNOTATED}: {path} does not exist: name a filled sheet")
    content = read_text(path)
    header = content.lstrip().splitlines()[0]
    separator = max(SEPARATORS, key=header.count)
    rows = csv.DictReader(io.StringIO(content, newline=""), delimiter=separator)
    columns = [name or "" for name in rows.fieldnames or ()]
    missing = [name for name in ("pair", *QUESTIONS) if name not in columns]
    if missing:
        raise UserError(
            f"{path} has no column {missing[0]!r} among {', '.join(columns[:20])}: a filled sheet has the columns "
            f"{', '.join(COLUMNS)}"
        )
    found: dict[str, Answers] = {}
    for row in rows:
        place, pair = f"{path}:{rows.line_num}", (row["pair"] or "").strip()
        if not any((value or "").strip() for value in row.values() if not isinstance(value, list)):
            continue
        if pair not in key:
            raise UserError(f"{place}: pair {quoted(pair)} is not in this evaluation's sheet: give that one's options")
        if pair in found:
            raise UserError(f"{place}: pair {pair} is there twice: keep one of them")
        found[pair] = {question: _answer(row[question], question, place) for question in QUESTIONS}
    if not any(one is not None for answers in found.values() for one in answers.values()):
        raise UserError(f"{path} has no answer: write yes or no below {', '.join(QUESTIONS)}")
    return found


def _answer(value: str | None, question: str, place: str) -> bool | None:
    text = (value or "").strip()
    if not text:
        return None
    if text.casefold() not in YES + NO:
        raise UserError(f"{place}: {question} is {quoted(text)}: write yes or no, or leave it empty")
    return text.casefold() in YES
