"""The folder of one run: its config, and the line that keeps other configs out."""

import hashlib
import reprlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flat_dist.config.errors import UserError, check_text, quoted
from flat_dist.config.schema import Config
from flat_dist.config.serialization import content_hash, result_values, stage_values
from flat_dist.models import encoders, vectors
from flat_dist.storage.folder import Folder

CONFIG = "config.json"
AUTO = "auto"

SHOWN = 5
"""Differences between two configs that a message names."""

RESERVED = ("stages", "ray_train", "mlartifacts", "mlflow.db")
"""Names in a storage that belong to all of its runs; names that begin with the last one are SQLite's."""

LONGEST = 200
"""Bytes of a name: file systems take 255, and endings and prefixes are added to it."""


def check_name(name: str | None, option: str = "--run-name", reserved: Sequence[str] = RESERVED) -> None:
    """Raise UserError if a name cannot be that of a folder or a file inside the one that it is meant for.

    Args:
        name: as the user gave it; None is no name, and fits.
        option: where it was given, for the message.
        reserved: names that others have there; letters count as equal in upper and lower case.
    """
    if name is None:
        return
    check_text(option, name)
    said = f"{option} is {quoted(name)}"
    if "/" in name or "\\" in name or name in (".", ".."):
        raise UserError(f"{said}, but a name is no path: leave out slashes")
    if name != name.strip() or name.startswith("."):
        raise UserError(f"{said}, but a name begins with neither a dot nor a space, and ends with no space")
    if len(name.encode()) > LONGEST:
        raise UserError(f"{said}, which is {len(name.encode())} bytes long: give it {LONGEST} at most")
    if any(name.casefold() == one or (one.endswith(".db") and name.casefold().startswith(one)) for one in reserved):
        raise UserError(f"{said}, but that is where the storage keeps what all runs share: give it another name")


def identity(config: Config, fingerprint: str) -> dict[str, Any]:
    """What a run is: what its results depend on, with the content of the user's files in the place of their paths.

    Args:
        config: of the run.
        fingerprint: of the dataset. Other data under the same paths are another run; the same data elsewhere are not.
    """
    values = result_values(config)
    values["data"] = {**stage_values(config.data), "name": dataset_name(config), "fingerprint": fingerprint}
    values["model"] |= contents(config)
    values["attack"]["synonyms"] = synonyms(config)
    values["training"]["memory_gib"] = config.training.memory_gib or AUTO
    return values


def contents(config: Config) -> dict[str, str | None]:
    """What a model starts from, by fields of its config: files of the user by their content."""
    model = config.model
    folder = bool(model.encoder) and Path(str(model.encoder)).is_dir()
    return {
        "vectors": vectors.fingerprint(model),
        "encoder": encoders.fingerprint(model) if folder else model.encoder,
    }


def synonyms(config: Config) -> str:
    """The synonyms that attacks use: a table of the user by its content."""
    path = Path(config.attack.synonyms)
    if not path.is_file():
        return config.attack.synonyms
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"


def dataset_name(config: Config) -> str:
    """What the data are called in names: as the named dataset, or the one of the hub; `custom` are the user's own."""
    return config.data.named or (config.data.hf or "custom").replace("/", "-")


def run_name(config: Config, settings: Mapping[str, Any]) -> str:
    """The folder's name: as given, or from dataset, model, attack and `settings`, on which the results depend."""
    return config.run_name or name_of(config, settings)


def name_of(config: Config, settings: Mapping[str, Any]) -> str:
    """A name from dataset, model, attack and settings."""
    return f"{dataset_name(config)}-{config.model.name}-{config.attack.name}-{content_hash(settings)[:8]}"


def check(config: Config, settings: Mapping[str, Any]) -> None:
    """Raise UserError if the run's folder is another config's; fields that are still `auto` fit anything."""
    if config.run_name:  # or else the name itself says which config it is
        _refuse_other(Folder(config.storage) / config.run_name, settings)


def check_folder(folder: Folder, wanted: Mapping[str, Any]) -> None:
    """Raise UserError if the folder is that of a run whose results depend on something else than `wanted`."""
    _refuse_other(folder, wanted)


def _refuse_other(folder: Folder, wanted: Mapping[str, Any]) -> None:
    remedy = "delete that file, and the run's results are made again from its stages; or give another --run-name"
    known = folder.read_json(CONFIG, dict[str, Any], remedy) if folder.exists(CONFIG) else wanted
    if differences := _differences(known, wanted):
        other = (
            "from other data" if any("data.fingerprint was" in line for line in differences) else "with another config"
        )
        more = f"; and {len(differences) - SHOWN} more" if len(differences) > SHOWN else ""
        raise UserError(
            f"{folder.uri} was made {other} ({'; '.join(differences[:SHOWN])}{more}): "
            "give these values again, or another --run-name"
        )


def open_folder(folder: Folder, wanted: Mapping[str, Any]) -> None:
    """Make the folder of a run whose results depend on `wanted`, if it is not there.

    Raises:
        UserError: the folder was made by a run with another config, or cannot be written.
    """
    _refuse_other(folder, wanted)
    if folder.exists(CONFIG):
        return
    try:
        folder.write_json(CONFIG, wanted)
    except OSError as error:
        raise UserError(f"{folder.uri} cannot be written: {error}; name another --storage") from error


def _differences(old: Any, new: Any, prefix: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            line
            for key in sorted(old.keys() | new.keys())
            for line in _differences(old.get(key), new.get(key), f"{prefix}.{key}" if prefix else key)
        ]
    return [] if new in (old, AUTO) else [f"{prefix} was {reprlib.repr(old)}, now {reprlib.repr(new)}"]
