"""Datasets of the Hugging Face hub, and those saved in folders, as rows like those of files."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from flat_dist.config.errors import UserError
from flat_dist.data.readers import KINDS, Rows, to_row, wrong_column

if TYPE_CHECKING:
    import datasets

SAVED_SPLITS, SAVED_SPLIT = "dataset_dict.json", "state.json"
"""Files that `datasets.save_to_disk` writes beside several splits, and into a single one."""

TIMEOUT_S = 5.0
"""Seconds to wait for the hub's first answer."""


@dataclass(frozen=True)
class Hosted:
    """A dataset of the paper on the hub."""

    path: str
    text_column: str = "text"
    label_column: str = "label"
    revision: str | None = None
    dev_rows: int = 0
    """Rows held out from train for dev, if the hub has no dev split (size: paper, Table 1)."""
    labels: tuple[int, ...] = ()
    """Our integer for each of the hub's integers, if they differ."""


HOSTED = {
    "sst2": Hosted("SetFit/sst2"),
    "trec": Hosted(
        "CogComp/trec",
        label_column="coarse_label",
        revision="refs/convert/parquet",  # the main branch is a script, which the library does not run
        dev_rows=452,
        labels=(2, 1, 0, 3, 4, 5),  # the hub's order begins ABBR, ENTY, DESC
    ),
    "ag_news": Hosted("fancyzhx/ag_news", dev_rows=6_000),
    "imdb": Hosted("stanfordnlp/imdb", dev_rows=5_000),
}


def load_named(name: str) -> list[Rows]:
    """Train, dev and test of a dataset in `HOSTED`; labels are our integers.

    Raises:
        UserError: the hub cannot be reached.
    """
    hosted = HOSTED[name]
    splits = _fetch(hosted.path, hosted.revision)
    rows = {
        split: _rows(hosted.path, splits, split, (hosted.text_column, hosted.label_column))
        for split in ("train", "validation", "test")
        if split in splits  # IMDB has a fourth split without labels
    }
    if hosted.dev_rows:
        rows["train"], rows["validation"] = hold_out(rows["train"], hosted.dev_rows)
    ordered = [rows[split] for split in ("train", "validation", "test")]
    if hosted.labels:
        ordered = [_relabel(split, hosted.labels) for split in ordered]
    return ordered


def _relabel(split: Rows, labels: Sequence[int]) -> Rows:
    return Rows(split.source, [row._replace(label=labels[row.label]) for row in split.rows])


def load(
    path: str, text_column: str, label_column: str, pair_column: str | None = None
) -> tuple[list[Rows], tuple[str, ...]]:
    """Train, dev and test of any dataset on the hub or in a folder, and its class names if it has them.

    Args:
        path: name on the hub, or folder.
        text_column: name of the column of texts.
        label_column: name of the column of labels.
        pair_column: name of the column of second sentences; None: there are none.

    Raises:
        UserError: the hub cannot be reached, the folder is damaged or holds something else, or the dataset, a split or
            a column does not exist.
    """
    splits = _saved(path) if is_local(path) else _fetch(path, None)
    dev = "dev" if "dev" in splits else "validation"
    for split in ("train", dev, "test"):
        if split not in splits:
            raise UserError(
                f"{path} has no split {split!r}, but {', '.join(splits)}: save it as files and name their --data.folder"
            )
    columns = (text_column, label_column, *filter(None, [pair_column]))
    rows = [_rows(path, splits, split, columns) for split in ("train", dev, "test")]
    return rows, tuple(getattr(splits["train"].features[label_column], "names", ()))


def hold_out(split: Rows, n: int) -> tuple[Rows, Rows]:
    """The split without `n` rows, and these `n` rows: those with the smallest hash of their text. The order stays."""
    by_hash = sorted(split.rows, key=lambda row: hashlib.sha256(str(row.text).encode()).digest())
    places = {row.place for row in by_hash[:n]}
    rest = [row for row in split.rows if row.place not in places]
    return Rows(split.source, rest), Rows(split.source, [row for row in split.rows if row.place in places])


def _rows(path: str, splits: "datasets.DatasetDict", split: str, columns: Sequence[str]) -> Rows:
    source, table = f"{path} ({split})", splits[split]
    for name in columns:
        if name not in table.column_names:
            raise wrong_column(source, table.column_names, columns, name)
    records = zip(*(table[name] for name in columns), strict=True)
    return Rows(source, [to_row(values, f"{source}, row {number}") for number, values in enumerate(records, start=1)])


def check_reachable(name: str, kind: str = "model") -> None:
    """Raise OSError if the hub does not answer soon; its libraries would retry for half a minute."""
    from huggingface_hub import HfApi, constants

    if not constants.HF_HUB_OFFLINE:
        getattr(HfApi(), f"{kind}_info")(name, timeout=TIMEOUT_S)


def is_local(path: str) -> bool:
    """Whether this is a folder, or is written as one, and not the name of a dataset on the hub."""
    return path.startswith(("/", "./", "../", "~")) or Path(path).exists()


def _saved(path: str) -> "datasets.DatasetDict":
    """A dataset that `datasets.save_to_disk` wrote."""
    folder = Path(path)
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise UserError(f"--data.hf {path} {what}: name a folder of datasets.save_to_disk, or a dataset on the hub")
    if not (folder / SAVED_SPLITS).exists():
        said = "holds one split" if (folder / SAVED_SPLIT).exists() else f"has no {SAVED_SPLITS}"
        raise UserError(
            f"--data.hf {path} {said}: save a DatasetDict with train, validation and test splits by its save_to_disk; "
            "files belong in --data.folder"
        )
    import datasets  # takes seconds

    try:
        splits = datasets.load_from_disk(path)
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        said = " ".join(str(error).split())[:200]
        raise UserError(f"--data.hf {path} is damaged ({type(error).__name__}: {said}): save it again") from error
    if not isinstance(splits, datasets.DatasetDict):
        raise UserError(f"--data.hf {path} has no splits: save a DatasetDict with train, validation and test splits")
    return splits


def _fetch(path: str, revision: str | None) -> "datasets.DatasetDict":
    """Download a dataset, or read it from the cache if HF_HUB_OFFLINE is set."""
    import datasets  # takes seconds

    try:
        check_reachable(path, "dataset")
        return datasets.load_dataset(path, revision=revision)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise UserError(
            f"cannot load {path} from the Hugging Face hub ({type(error).__name__}): check name and connection, or set "
            f"--data.folder to a folder with train, dev and test files ({KINDS})"
        ) from error
