"""The stage of a dataset: its splits as Arrow tables that workers read."""

from collections.abc import Callable

from flat_dist.data import datasets
from flat_dist.data.datasets import SPLITS, Dataset
from flat_dist.storage.arrow import read_table, write_table
from flat_dist.storage.folder import Folder
from flat_dist.storage.lock import exclusive_lock
from flat_dist.storage.stage import DONE, Marker, begin, commit, folder, is_finished


def dataset(storage: Folder, data: Dataset, log_line: Callable[[str], None] = lambda line: None) -> Folder:
    """The stage of a dataset's three splits, as Arrow tables that workers read; written if it is not there, or damaged.

    Args:
        storage: folder of the stages.
        data: the dataset.
        log_line: logs a line.
    """
    target = folder(storage, "data", {"fingerprint": data.fingerprint})
    inputs = {"fingerprint": data.fingerprint, "label_names": data.label_names}
    if not is_finished(target, inputs):
        with exclusive_lock(target, "write the dataset", log_line):
            if begin(target, inputs, log_line):
                for split in SPLITS:
                    write_table(target, split, getattr(data, split))
                commit(target, inputs, [f"{split}.arrow" for split in SPLITS], source=data.source)
    return target


def read_dataset(target: Folder) -> Dataset:
    """The dataset that `dataset` left in a folder.

    Raises:
        DamagedFileError: it is not as it was left.
    """
    marker: Marker = target.read_json(DONE, Marker)
    splits = {split: read_table(target, split, datasets.SCHEMA) for split in SPLITS}
    return Dataset(**splits, label_names=tuple(marker.inputs["label_names"]), source=marker.notes["source"])
