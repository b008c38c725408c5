"""Settings of the Python API: fields of the config, by the names of their options."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike, fspath
from typing import Any

from flat_dist.config.errors import UserError
from flat_dist.config.schema import Config, EndpointConfig
from flat_dist.config.serialization import from_dict

Settings = Mapping[str, Any]
"""Fields of the config by the names of their options, without the dashes before them."""

NONE: Settings = {}

ENDPOINT = "endpoint."
"""Beginning of settings of requests to a model behind HTTP."""

ARGUMENTS = (
    ("attack", "name"),
    ("attack", "sample"),
    ("evaluation", "attacks"),
    ("evaluation", "split"),
    ("evaluation", "sample"),
    ("evaluation", "explain"),
)
"""Fields that `attack` and `evaluate` have as arguments."""


def split_endpoint(settings: Settings) -> tuple[Settings, EndpointConfig]:
    """The settings of the config, and those of requests to a model behind HTTP.

    Raises:
        UserError: a setting of requests is unknown, or its value has another type.
    """
    requests = {name.removeprefix(ENDPOINT): value for name, value in settings.items() if name.startswith(ENDPOINT)}
    values = {name.replace("-", "_"): value for name, value in requests.items()}
    others = {name: value for name, value in settings.items() if not name.startswith(ENDPOINT)}
    return others, from_dict(EndpointConfig, values, "settings", ENDPOINT)


def config_of(
    start: Config,
    settings: Settings,
    sections: Sequence[str] | None,
    storage: str | PathLike[str],
    name: str | None = None,
) -> Config:
    """The config that settings make of another.

    Args:
        start: the config.
        settings: by dotted name.
        sections: those that have an effect, besides `seed` and `hardware`; None: all.
        storage: folder of the storage.
        name: of the results' folder.

    Raises:
        UserError: a setting is unknown, has no effect, or its value has another type.
    """
    values: dict[str, Any] = {}
    for given, value in settings.items():
        section, dot, key = given.replace("-", "_").partition(".")
        arguments = section in ("storage", "run_name", "data") and key not in ("max_length", "min_frequency")
        unused = sections is not None and section not in (*sections, "seed", "hardware")
        if arguments or unused or (sections is not None and (section, key) in ARGUMENTS):
            raise UserError(f"the setting {given} has no effect here: leave it out, or use an argument of the function")
        if dot:
            values.setdefault(section, {})[key] = value
        else:
            values[section] = value
    config = from_dict(Config, values, "settings", start=start)
    return replace(config, storage=fspath(storage), run_name=name)
