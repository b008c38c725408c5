"""Validation of files: a file has the expected content, or an error says in one sentence what is wrong."""

import functools
from typing import Any

from pydantic import TypeAdapter, ValidationError

from flat_dist.config.errors import UserError

DEFAULT_REMEDY = "run again the command that wrote it"
"""What to do about a damaged file, by default."""


class DamagedFileError(UserError, ValueError):
    """A file does not have the expected content: it is empty, incomplete, changed, or of another type or source."""


def parse_json(data: bytes, kind: Any, place: str, remedy: str = DEFAULT_REMEDY) -> Any:
    """The validated value of a JSON file.

    Args:
        data: the file's content.
        kind: expected type: a plain type such as `dict[str, float]`, or a dataclass, which is built. Integers are
            accepted as floats; unknown fields of a dataclass are ignored.
        place: source of the data, for messages.
        remedy: what to do if it is damaged, for messages.

    Raises:
        DamagedFileError: it is not valid JSON, or has another type.
    """
    try:
        return _adapter(kind).validate_json(data, strict=True)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(map(str, problem["loc"]))
        reason = "it is empty" if not data else f"{where}: {problem['msg']}" if where else problem["msg"]
        raise DamagedFileError(f"{place} is damaged ({reason}): {remedy}") from error


@functools.lru_cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
