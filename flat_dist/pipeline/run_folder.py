"""The folder of a run: its name, its config, and the check that no other config uses it."""

import hashlib
import reprlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flat_dist.config.attacks import file_name, is_path
from flat_dist.config.errors import UserError, check_text, quoted
from flat_dist.config.schema import Config
from flat_dist.config.serialization import content_hash, result_values, stage_values, to_dict
from flat_dist.data import hub
from flat_dist.models import encoders, vectors
from flat_dist.resources import textattack_vectors
from flat_dist.storage.folder import Folder

CONFIG = "config.json"
AUTO = "auto"

MAX_DIFFERENCES = 5
"""Number of differences between two configs that a message lists."""

RESERVED = ("stages", "ray_train", "mlartifacts", "mlflow.db")
"""Names in a storage that all runs share. Names that begin with the last one belong to SQLite."""

MAX_BYTES = 200
"""Maximum length of a name in bytes: file systems allow 255, and prefixes and endings are added."""


def check_name(name: str | None, option: str = "--run-name", reserved: Sequence[str] = RESERVED) -> None:
    """Check the name of a new folder or file.

    Args:
        name: given by the user; None is valid.
        option: the option that it was given with, for messages.
        reserved: names that are in use, in upper or lower case.

    Raises:
        UserError: the name is not valid.
    """
    if name is None:
        return
    check_text(option, name)
    given = f"{option} is {quoted(name)}"
    if "/" in name or "\\" in name or name in (".", ".."):
        raise UserError(f"{given}, but a name must not contain slashes")
    if name != name.strip() or name.startswith("."):
        raise UserError(f"{given}, but a name must not begin with a dot or a space, or end with a space")
    if len(name.encode()) > MAX_BYTES:
        raise UserError(f"{given}, which is {len(name.encode())} bytes long: use at most {MAX_BYTES}")
    if any(name.casefold() == one or (one.endswith(".db") and name.casefold().startswith(one)) for one in reserved):
        raise UserError(f"{given}, but the storage uses that name itself: choose another name")


def identity(config: Config, fingerprint: str) -> dict[str, Any]:
    """All that the results of a run depend on, with the content of the user's files instead of their paths.

    Args:
        config: of the run.
        fingerprint: of the dataset. Other data under the same path make another run; the same data elsewhere do not.
    """
    values = result_values(config)
    values["data"] = {**stage_values(config.data), "name": dataset_name(config), "fingerprint": fingerprint}
    values["model"] |= contents(config)
    values["attack"] |= {"synonyms": synonyms(config), **users_parts(config)}
    values["training"]["memory_gib"] = config.training.memory_gib or AUTO
    return values


def contents(config: Config) -> dict[str, str | None]:
    """Fingerprints of what a model starts from, by field of its config: vectors and encoder; and with groups of words,
    the source of synonyms, whose vectors are clustered."""
    model = config.model
    folder = bool(model.encoder) and Path(str(model.encoder)).is_dir()
    return {
        "vectors": vectors.fingerprint(model),
        "encoder": encoders.fingerprint(model) if folder else model.encoder,
        **({"synonyms": synonyms(config)} if model.group_masks else {}),
    }


def synonyms(config: Config) -> str:
    """The source of synonyms; of the user's own file or folder, the hash of its content."""
    path = Path(config.attack.synonyms)
    if path.is_dir() and config.attack.synonyms not in ("counterfit", "original"):
        return f"sha256:{textattack_vectors.sha256(path)[:16]}"
    if not path.is_file():
        return config.attack.synonyms
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"


def users_parts(config: Config) -> dict[str, Any]:
    """Fingerprints of the user's own resources and builders of attacks; without any, nothing.

    Raises:
        UserError: one of them cannot be read.
    """
    attacks = {config.attack.name, *config.evaluation.attacks}
    paths = sorted(filter(is_path, attacks))
    if not (paths or config.attack.resources):
        return {}
    # These import large libraries.
    from flat_dist.attack.builders import source_sha256
    from flat_dist.resources.catalogue import RESOURCES, sources

    found = {
        "resources": {name: RESOURCES[name].describe(Path(path)) for name, path in sources(config.attack).given},
        "builders": {path: source_sha256(path) for path in paths},
    }
    return {name: value for name, value in found.items() if value}


def dataset_name(config: Config) -> str:
    """Name of the dataset, for names of runs; the user's own data are called `custom`."""
    if config.data.hf and not hub.is_local(config.data.hf):
        return config.data.hf.replace("/", "-")
    return config.data.named or "custom"


def run_name(config: Config, settings: Mapping[str, Any]) -> str:
    """Name of the run's folder: as given, or made of dataset, model, attack and `settings`."""
    return config.run_name or name_of(config, settings)


def name_of(config: Config, settings: Mapping[str, Any]) -> str:
    """A name made of dataset, model, attack and the hash of the settings."""
    return f"{dataset_name(config)}-{config.model.name}-{file_name(config.attack.name)}-{content_hash(settings)[:8]}"


def check(config: Config, settings: Mapping[str, Any]) -> None:
    """Raise UserError if the run's folder belongs to another config. Fields that are `auto` match any value."""
    if config.run_name:  # other names contain the hash of the config
        _refuse_other(Folder(config.storage) / config.run_name, settings)


def check_folder(folder: Folder, wanted: Mapping[str, Any]) -> None:
    """Raise UserError if the folder belongs to a run with other settings than `wanted`."""
    _refuse_other(folder, wanted)


def _refuse_other(folder: Folder, wanted: Mapping[str, Any]) -> None:
    if_damaged = "delete that file, and the results are computed again from the stages; or choose another --run-name"
    known = folder.read_json(CONFIG, dict[str, Any], if_damaged) if folder.exists(CONFIG) else wanted
    if differences := _differences(_in_current_format(known, wanted), wanted):
        other_data = any("data.fingerprint was" in line for line in differences)
        origin, remedy = ("from other data", "that data") if other_data else ("with another config", "these values")
        more = f"; and {len(differences) - MAX_DIFFERENCES} more" if len(differences) > MAX_DIFFERENCES else ""
        raise UserError(
            f"{folder.uri} was made {origin} ({'; '.join(differences[:MAX_DIFFERENCES])}{more}): "
            f"use {remedy} again, or another --run-name"
        )


def _in_current_format(settings: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of an older version, with the fields of this version.

    Fields that no longer belong to the result are left out. New fields get their defaults; if the default is `auto`,
    they get the values of `wanted`.
    """
    all_fields, in_result = to_dict(Config()), result_values(Config(), defaults=True)
    found = {}
    for name, value in settings.items():
        inner = wanted.get(name)
        if not isinstance(value, dict) or not isinstance(inner, dict) or name == "data":
            found[name] = value
        elif name == "config":  # of a sweep
            found[name] = _in_current_format(value, inner)
        elif isinstance(in_result.get(name), dict):  # a section
            defaults = {key: one for key, one in in_result[name].items() if key in inner}
            new = {key: inner[key] if one == AUTO else one for key, one in defaults.items()}
            outdated = all_fields[name].keys() - in_result[name].keys()
            found[name] = new | {key: one for key, one in value.items() if key not in outdated}
        else:
            found[name] = value
    return found


def open_folder(folder: Folder, wanted: Mapping[str, Any]) -> None:
    """Create the folder of a run with the settings `wanted`, if it does not exist.

    Raises:
        UserError: the folder belongs to a run with other settings, or cannot be written.
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
