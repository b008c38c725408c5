"""Named datasets, files and Hugging Face datasets as tables of cleaned, labelled examples."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from flat_dist.config.errors import UserError, unknown
from flat_dist.config.schema import OFFLINE, SPLITS, DataConfig
from flat_dist.config.serialization import content_hash
from flat_dist.data import built_in, hub, labels, readers
from flat_dist.data.built_in import sha256
from flat_dist.data.examples import CleanRow, Example, Fault, check_label_kinds, classify, read_row, split_faults
from flat_dist.data.readers import Rows
from flat_dist.data.splits import check_shares, draw

SCHEMA = pa.schema([("example_id", pa.string()), ("text", pa.string()), ("label", pa.int32())])

LABEL_NAMES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(OFFLINE, built_in.LABEL_NAMES),
    "sst2": ("negative", "positive"),
    "trec": ("DESC", "ENTY", "ABBR", "HUM", "LOC", "NUM"),
    "ag_news": ("World", "Sports", "Business", "Sci/Tech"),
    "imdb": ("negative", "positive"),
}
"""Classes of the named datasets, in the order of their integers in files. For TREC several orders exist: the hub's is
another one, and its integers are mapped to this one."""

MAX_SHOWN_CLASSES = 20
"""Classes that `describe` lists."""


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
    """Source of the examples, in words."""
    dropped: tuple[int, ...] = (0, 0, 0)
    """Numbers of dropped bad rows of train, dev and test; one number for a file that the splits were drawn from."""
    drawn: bool = False
    """Whether the splits were drawn from one file."""
    pairs: bool = False
    """Whether each text is a pair of sentences, as `flat_dist.data.sentence_pairs` joins them."""
    as_written: bool = False
    """Whether the texts are not cleaned."""
    lost: tuple[str, ...] = ()
    """Symbols, such as emoji, that cleaning left out: of each text that had any."""

    @cached_property
    def fingerprint(self) -> str:
        """Content hash of ids (which contain hashes of the texts), labels and label names, but not of the source."""
        tables = (self.train, self.dev, self.test)
        examples = [[table["example_id"].to_pylist(), table["label"].to_pylist()] for table in tables]
        return content_hash([examples, self.label_names])


def load(config: DataConfig) -> Dataset:
    """Read, validate and clean the dataset that the config names.

    Raises:
        UserError: a file, row or label is missing or wrong; the message names file and line.
    """
    check_shares(config)
    ways = {
        "file": config.file,
        "folder": config.folder,
        "train": config.train or config.dev or config.test,
        "hf": config.hf,
    }
    given = [f"--data.{way}" for way, value in ways.items() if value]
    if len(given) > 1:
        raise UserError(f"{given[0]} and {given[1]} are both set: choose one source of examples")
    columns = config.text_column, config.label_column, config.text_pair_column
    if config.text_pair_column is not None:
        _check_pair_column(config, bool(given))
    shares: Sequence[float] = ()
    if config.hf:
        splits, names = hub.load(config.hf, *columns)
        source = f"Hugging Face dataset {config.hf}"
    elif given:
        paths = _paths(config)
        splits = [readers.read(path, *columns) for path in paths]
        names = LABEL_NAMES.get(config.name, ()) if config.name not in OFFLINE else ()  # those are never files
        source = ", ".join(map(str, paths))
        if config.file:
            shares = config.split
            source = f"{source}, split {' / '.join(f'{share:g}' for share in shares)}"
    elif known := built_in.DATASETS.get(config.name):
        splits, names, source = known.splits(), LABEL_NAMES[config.name], known.source
    elif config.name in hub.HOSTED:
        splits, names = hub.load_named(config.name), LABEL_NAMES[config.name]
        source = f"Hugging Face dataset {hub.HOSTED[config.name].path}"
    else:
        raise unknown("dataset --data.name", config.name, LABEL_NAMES)
    dataset = _dataset(splits, config, config.label_names or names, source, shares)
    return replace(dataset, pairs=config.text_pair_column is not None, as_written=config.cleaning == "no")


def _check_pair_column(config: DataConfig, own: bool) -> None:
    """Raise UserError if the column of second sentences cannot be one, or the dataset has none."""
    name = config.text_pair_column
    if not own:
        raise UserError(f"--data.text-pair-column {name} has no effect on {config.name}, whose texts are no pairs")
    if name in (config.text_column, config.label_column):
        raise UserError(f"--data.text-pair-column {name} is also the column of texts or labels: name another one")


def describe(dataset: Dataset) -> list[str]:
    """Lines that list the classes, their integers and numbers of training texts, what was drawn from one file, and the
    dropped rows."""
    counts = Counter(dataset.train["label"].to_pylist())
    classes = []
    for number, name in enumerate(dataset.label_names[:MAX_SHOWN_CLASSES]):
        called = "" if name == str(number) else f" {labels.printable(name)}"
        classes.append(f"{number}{called} ({counts[number]:,})")
    more = len(dataset.label_names) - MAX_SHOWN_CLASSES
    lines = [f"classes: {', '.join(classes)}{f' and {more} more' if more > 0 else ''}"]
    if dataset.pairs:
        lines.append("pairs of sentences: the first one is fixed, the second one is attacked and explained")
    if dataset.as_written:
        lines.append("texts are as they are written (--data.cleaning)")
    if dataset.drawn:
        lines.append(_describe_drawn(dataset))
    return lines + ([f"dropped {_describe_dropped(dataset.dropped)}"] if any(dataset.dropped) else [])


def _describe_drawn(dataset: Dataset) -> str:
    tables = [getattr(dataset, split) for split in SPLITS]
    sizes = " / ".join(f"{len(table):,} {split}" for split, table in zip(SPLITS, tables, strict=True))
    counts = [Counter(table["label"].to_pylist()) for table in tables]
    of_class = [
        f"{labels.printable(name)} {' / '.join(f'{count[number]:,}' for count in counts)}"
        for number, name in enumerate(dataset.label_names[:MAX_SHOWN_CLASSES])
    ]
    return f"drawn from the file: {sizes} texts ({', '.join(of_class)})"


def _describe_dropped(counts: Sequence[int]) -> str:
    rows = f"{sum(counts):,} bad row{'s' * (sum(counts) > 1)}"
    if len(counts) == 1:
        return rows
    return f"{rows}: " + ", ".join(
        f"{count:,} of {split}" for split, count in zip(SPLITS, counts, strict=True) if count
    )


def check_classes(dataset: Dataset, known: Sequence[str], checkpoint: str) -> None:
    """Raise UserError if a checkpoint's classes are not the dataset's, in the same order; upper and lower case are the
    same."""
    if list(map(labels.fold, known)) != list(map(labels.fold, dataset.label_names)):
        raise UserError(
            f"{checkpoint} has the classes {', '.join(known)}, but {dataset.source} has "
            f"{', '.join(dataset.label_names)}: name the checkpoint's data, or give --data.label-names in its order"
        )


def _dataset(
    splits: Sequence[Rows], config: DataConfig, label_names: Sequence[str], source: str, shares: Sequence[float]
) -> Dataset:
    """The dataset of three splits; with `shares`, of one file, from which they are drawn."""
    drop = config.drop_bad_rows
    for split in splits:
        if not split.rows:
            raise UserError(f"{split.source} has no rows: give it at least one")
    read = [[read_row(row, config.cleaning == "no") for row in split.rows] for split in splits]
    if label_names:
        names = tuple(labels.normalize(name) for name in label_names)
        if len(set(names)) != len(names):
            raise UserError(f"--data.label-names holds a name twice ({', '.join(names)}): give every class its own")
    else:
        read = check_label_kinds(read)
        names = _infer_names(read, splits[0].source, drop)
    kept, dropped = split_faults([[classify(row, names) for row in split] for split in read], drop)
    for split, usable in zip(splits, kept, strict=True):
        if not usable:
            raise UserError(f"{split.source} has no usable row: give it at least one")
    _check_classes(splits[0].source, {example.label for example in kept[0]}, names)
    drawn = draw(kept[0], shares, names, splits[0].source) if shares else kept
    train, dev, test = (table(name, usable) for name, usable in zip(SPLITS, drawn, strict=True))
    if any(dropped):
        source = f"{source} (without {_describe_dropped(dropped)})"
    lost = tuple(example.lost for split in kept for example in split if example.lost)
    return Dataset(train, dev, test, names, source, dropped, bool(shares), lost=lost)


def _infer_names(splits: Sequence[Sequence[CleanRow | Fault]], train: str, drop: bool) -> tuple[str, ...]:
    try:
        return labels.infer_classes([row.label for row in splits[0] if isinstance(row, CleanRow)], train)
    except UserError:
        split_faults(splits, drop)  # raises first: errors that follow from bad rows would mislead
        raise


def _check_classes(train: str, found: set[int], names: tuple[str, ...]) -> None:
    if len(found) == 1:
        raise UserError(f"{train} has only the class {names[found.pop()]!r}: give it examples of at least two classes")
    for number, name in enumerate(names):
        if number not in found:
            raise UserError(f"{train} has no example of the class {name!r}: add some, or fix --data.label-names")


def table(split: str, examples: Sequence[Example]) -> pa.Table:
    """Examples as a table of `SCHEMA`, whose ids begin with `split`."""
    texts = [example.text for example in examples]
    return pa.table([_example_ids(split, texts), texts, [example.label for example in examples]], schema=SCHEMA)


def _example_ids(split: str, texts: Sequence[str]) -> list[str]:
    """Split, hash of the text, and a number for repeated texts: train-3fa9c1d2e4b5-2."""
    seen: Counter[str] = Counter()
    ids = []
    for text in texts:
        digest = sha256(text)[:12]
        seen[digest] += 1
        ids.append(f"{split}-{digest}" + (f"-{seen[digest]}" if seen[digest] > 1 else ""))
    return ids


def sample(table: pa.Table, n: int, seed: int) -> pa.Table:
    """Rows drawn without replacement, in random order; they depend only on the ids, `n` and `seed`.

    Rows are ordered by a hash of (seed, example_id), so a smaller sample is the start of a larger one. The released
    code draws 10,000 new rows each round: use another seed each round.

    Args:
        table: examples with a column example_id.
        n: number of rows; 0 or at least the table's length: all rows, in their order.
        seed: of the draw.
    """
    if n == 0 or n >= len(table):
        return table
    ids = table["example_id"].to_pylist()
    return table.take(sorted(range(len(ids)), key=lambda row: sha256(f"{seed}:{ids[row]}"))[:n])


def _paths(config: DataConfig) -> list[Path]:
    """The user's files: one of each split, or the one that holds all of them."""
    if config.file:
        return [Path(config.file)]
    return _in_folder(Path(config.folder)) if config.folder else _single_files(config)


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
                f"{folder} has no {split} file{f' but {there[0]}' if there else ''}: give it one whose "
                f"name ends in {readers.KINDS}"
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
