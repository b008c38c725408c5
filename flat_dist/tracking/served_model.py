"""Writes MLflow models, which `mlflow models serve` serves and `mlflow.pyfunc.load_model` loads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flat_dist.tracking import quiet

DESCRIPTION = "MLmodel"
"""The file that makes a folder an MLflow model."""


@dataclass(frozen=True)
class Interface:
    """What a served model takes and returns: columns of texts; a column of labels, and columns of probabilities."""

    texts: Mapping[str, bool]
    """Columns of texts, and whether a request must have them."""
    label: str
    probabilities: Sequence[str]
    example: Mapping[str, Sequence[str]]
    """Columns of the input example."""


def write(directory: Path, loader: str, data: Path, interface: Interface, requirements: Sequence[str]) -> None:
    """Write an MLflow model; no code is pickled.

    Args:
        directory: a folder that does not exist.
        loader: module with `_load_pyfunc(path)`.
        data: folder that `_load_pyfunc` reads. It is copied.
        interface: of the model.
        requirements: packages to install where it is served, as pip takes them.
    """
    quiet.configure()
    import mlflow.pyfunc
    import pandas as pd
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

    texts = Schema([ColSpec(DataType.string, name, required=must) for name, must in interface.texts.items()])
    label = ColSpec(DataType.string, interface.label)
    probabilities = [ColSpec(DataType.double, name) for name in interface.probabilities]
    mlflow.pyfunc.save_model(
        path=str(directory),
        loader_module=loader,
        data_path=str(data),
        signature=ModelSignature(texts, Schema([label, *probabilities])),
        input_example=pd.DataFrame({name: list(values) for name, values in interface.example.items()}),
        pip_requirements=list(requirements),
    )
