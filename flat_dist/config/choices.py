"""The values that a field with choices may have, from its type hint."""

import functools
import types
import typing
from typing import Any, Literal

from flat_dist.config.schema import Config


def literals(hint: Any) -> tuple[str, ...]:
    """The values of a `Literal`, of an optional `Literal`, or of a tuple of them; empty for any other type hint."""
    if typing.get_origin(hint) is Literal:
        return typing.get_args(hint)
    if typing.get_origin(hint) in (tuple, types.UnionType, typing.Union):
        return tuple(value for part in typing.get_args(hint) for value in literals(part))
    return ()


@functools.cache
def choices(field: str) -> tuple[str, ...]:
    """The values that a field of the config, such as `model.name`, may have; empty where it takes any value.

    Raises:
        KeyError: there is no such field.
    """
    hint: Any = Config
    for name in field.split("."):
        hint = typing.get_type_hints(hint)[name]
    return literals(hint)
