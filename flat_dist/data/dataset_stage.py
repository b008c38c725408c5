"""The stage of a dataset: its splits as Arrow tables that workers read."""

from flat_dist.config.schema import SPLITS
from flat_dist.data import datasets
from flat_dist.data.datasets import Dataset
from flat_dist.storage.arrow import read_table, write_table
from flat_dist.storage.folder import Folder
from flat_dist.storage.stage import Output, Stage, read_marker


def dataset_stage(dataset: Dataset) -> Stage:
    """The stage that writes a dataset's splits."""

    def fill(folder: Folder) -> Output:
        for split in SPLITS:
            write_table(folder, split, getattr(dataset, split))
        return Output([f"{split}.arrow" for split in SPLITS], notes={"source": dataset.source})

    inputs = {"fingerprint": dataset.fingerprint, "label_names": dataset.label_names}
    return Stage(name="data", title="write the dataset", inputs=inputs, fill=fill)


def read_dataset(folder: Folder) -> Dataset:
    """The dataset whose stage filled a folder.

    Raises:
        DamagedFileError: it is damaged.
    """
    marker = read_marker(folder)
    splits = {split: read_table(folder, split, datasets.SCHEMA) for split in SPLITS}
    return Dataset(**splits, label_names=tuple(marker.inputs["label_names"]), source=marker.notes["source"])
