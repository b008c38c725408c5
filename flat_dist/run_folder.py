"""The folder of one run: its config, and the line that keeps other configs out."""

from collections.abc import Mapping
from typing import Any

from flat_dist.config import Config, UserError, content_hash, to_dict
from flat_dist.data.storage import Folder

CONFIG = "config.json"
AUTO = "auto"

IRRELEVANT = (
    ("storage",),
    ("run_name",),
    ("tracking",),
    ("hardware",),
    ("attack", "stall_seconds"),
    ("attack", "max_failures"),
    ("attack", "workers"),
    ("attack", "cpu_workers"),
    ("attack", "device"),
    ("attack", "gpus_per_worker"),
    ("training", "device"),
    ("training", "memory_gib"),
    ("training", "micro_batch"),
    ("training", "checkpointing"),
)
"""Fields that may change between two calls of the same run: they change its results by rounding at most."""


def relevant(config: Config) -> dict[str, Any]:
    """What the results depend on."""
    values = to_dict(config)
    for *path, name in IRRELEVANT:
        inner = values
        for part in path:
            inner = inner[part]
        del inner[name]
    return values


def run_name(config: Config) -> str:
    """The folder's name: as given, or from dataset, model, attack and what the results depend on."""
    return config.run_name or name_of(config, relevant(config))


def name_of(config: Config, settings: Mapping[str, Any]) -> str:
    """A name from dataset, model, attack and settings."""
    dataset = "custom" if config.data.train else (config.data.hf or config.data.name).replace("/", "-")
    return f"{dataset}-{config.model.name}-{config.attack.name}-{content_hash(settings)[:8]}"


def check(config: Config) -> None:
    """Raise UserError if the run's folder is another config's; fields that are still `auto` fit anything."""
    if config.run_name:  # or else the name itself says which config it is
        _refuse_other(Folder(config.storage) / config.run_name, relevant(config))


def _refuse_other(folder: Folder, wanted: Mapping[str, Any]) -> None:
    remedy = "delete that file, and the run's results are made again from its stages; or give another --run-name"
    known = folder.read_json(CONFIG, dict[str, Any], remedy) if folder.exists(CONFIG) else wanted
    if differences := _differences(known, wanted):
        raise UserError(
            f"{folder.uri} was made with another config ({'; '.join(differences)}): "
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
    return [] if new in (old, AUTO) else [f"{prefix} was {old!r}, now {new!r}"]
