"""Configs as YAML, as plain values and as hashes, and the built-in presets."""

import dataclasses
import hashlib
import json
import re
import reprlib
import typing
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any, TypeVar

import yaml

from flat_dist.config.choices import literals
from flat_dist.config.errors import UserError, unknown
from flat_dist.config.schema import BY_CONTENT, NOT_IN_RESULT, PLAN, UNLESS_DEFAULT, Config

T = TypeVar("T")


def presets() -> dict[str, str]:
    """Names of the built-in presets and the YAML text of each."""
    folder = resources.files("flat_dist.config") / "presets"
    return {
        path.name.removesuffix(".yaml"): path.read_text(encoding="utf-8")
        for path in sorted(folder.iterdir(), key=lambda path: path.name)
        if path.name.endswith(".yaml")
    }


class _Loader(yaml.SafeLoader):
    """Reads scalars as YAML 1.2 does: `1e-5` is a number; `no`, `on`, `007` and `2024-01-01` are text.

    PyYAML reads YAML 1.1. A duplicate key is an error.
    """

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML declares it so

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(None, None, f"the key {twice!r} occurs twice", node.start_mark)
        return super().construct_mapping(node, deep)


_SCALARS = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"-?(0|[1-9][0-9]*)", list("-0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+", list("-+.0123456789")),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", list("-+.")),
    ("merge", r"<<", ["<"]),
)
for _tag, _pattern, _starts in _SCALARS:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _starts)

_SWITCHES = {"yes": True, "on": True, "no": False, "off": False}
"""Words for true and false in YAML 1.1. They are accepted only for fields that are true or false."""


def from_yaml(text: str, source: str, start: Config | None = None) -> Config:
    """Read a preset: its fields replace those of `start`, or the defaults.

    Args:
        text: YAML.
        source: where the text is from, for messages.
        start: the config to start from.

    Raises:
        UserError: the text is not YAML, or contains an unknown field, a duplicate one, or an invalid value.
    """
    try:
        values = _Loader(text).get_single_data()
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{source} is not valid YAML: {' '.join(str(error).split())[:300]}") from error
    return from_dict(Config, {} if values is None else values, source, start=start)


def from_dict(kind: type[T], values: Any, source: str, prefix: str = "", start: T | None = None) -> T:
    """Build the dataclass `kind` from nested mappings; the inverse of `to_dict`.

    Args:
        kind: a dataclass.
        values: its fields; missing ones have their values in `start`, or their defaults.
        source: where the values are from, for messages.
        prefix: name of the section, with a dot, for messages.
        start: the object whose fields to replace.

    Raises:
        UserError: a key is not a field of the dataclass, or a value has the wrong type, or is not one of its choices.
    """
    if not isinstance(values, Mapping):
        raise UserError(f"{source}: {prefix.rstrip('.') or 'the file'} must contain fields, not {reprlib.repr(values)}")
    hints = typing.get_type_hints(kind)
    arguments = {}
    for key, value in values.items():
        if key not in hints:
            raise unknown(f"field in {source}", f"{prefix}{key}", (f"{prefix}{name}" for name in hints))
        inner = getattr(start, key) if start is not None else None
        arguments[key] = _coerce(hints[key], value, source, f"{prefix}{key}", inner)
    return kind(**arguments) if start is None else dataclasses.replace(start, **arguments)  # type: ignore[type-var]


def _coerce(hint: Any, value: Any, source: str, name: str, start: Any = None) -> Any:
    if dataclasses.is_dataclass(hint):
        return from_dict(typing.cast(type, hint), value, source, f"{name}.", start)
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):
            raise UserError(f"{source}: {name} must be a list, not {reprlib.repr(value)}")
        element = typing.get_args(hint)[0]
        return tuple(_coerce(element, item, source, name) for item in value)
    if choices := literals(hint):
        return _choose(choices, hint, value, source, name)
    allowed = typing.get_args(hint) or (hint,)
    if bool in allowed and isinstance(value, str):
        value = _SWITCHES.get(value.lower(), value)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if float in allowed and number:
        return _float(value, source, name)
    if str in allowed and isinstance(value, int) and number:
        return str(value)  # a name that looks like a number, such as 2024
    if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
        expected = " or ".join("nothing" if kind is type(None) else kind.__name__ for kind in allowed)
        quoted = f": write it in quotes, as in '{value}'" if str in allowed and isinstance(value, float | bool) else ""
        raise UserError(f"{source}: {name} must be {expected}, not {reprlib.repr(value)}{quoted}")
    return value


def _choose(choices: tuple[str, ...], hint: Any, value: Any, source: str, name: str) -> str | None:
    if value is None and type(None) in typing.get_args(hint):
        return None
    if not isinstance(value, str):
        raise UserError(f"{source}: {name} must be one of {', '.join(choices)}, not {reprlib.repr(value)}")
    if value not in choices:
        raise unknown(f"value of {name} in {source}", value, choices)
    return value


def _float(value: int | float, source: str, name: str) -> float:
    try:
        return float(value)
    except OverflowError as error:
        raise UserError(f"{source}: {name} must be float, and {reprlib.repr(value)} is too large for one") from error


def to_dict(config: Any) -> dict[str, Any]:
    """A dataclass as nested plain values, for JSON or YAML."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def result_values(config: Any, defaults: bool = False) -> dict[str, Any]:
    """The fields of a config, or of one section of it, that are part of the result, as nested plain values.

    Args:
        config: a dataclass.
        defaults: whether fields that are `UNLESS_DEFAULT` are there with their default, too.
    """
    return _without(config, (NOT_IN_RESULT,), defaults)


def stage_values(section: Any) -> dict[str, Any]:
    """The fields of a section that are inputs of each of its stages, as plain values."""
    return _without(section, (NOT_IN_RESULT, PLAN, BY_CONTENT))


def _without(config: Any, left_out: Sequence[Mapping[str, str]], defaults: bool = False) -> dict[str, Any]:
    """The fields of a dataclass without those that have certain metadata, and as in `result_values`."""
    plain = to_dict(config)
    values = {}
    for field in dataclasses.fields(config):
        inner = getattr(config, field.name)
        optional = field.metadata == UNLESS_DEFAULT and inner == field.default and not defaults
        if field.metadata not in left_out and not optional:
            is_section = dataclasses.is_dataclass(inner)
            values[field.name] = _without(inner, left_out, defaults) if is_section else plain[field.name]
    return values


def content_hash(value: Any) -> str:
    """A hash of nested plain values, as 16 hexadecimal digits."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
