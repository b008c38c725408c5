"""Content of files, checked: what a file holds is what its reader expects, or one sentence says what is wrong."""

import functools
from typing import Any

from pydantic import TypeAdapter, ValidationError

from flat_dist.config.errors import UserError

AGAIN = "the command that wrote it, started again, makes it anew"
"""What to do about a damaged file, unless its reader knows better."""


class DamagedFileError(UserError, ValueError):
    """A file is not what its writer wrote: empty, cut short, changed, of another type or shape, or somebody else's."""


def parse_json(data: bytes, kind: Any, place: str, remedy: str = AGAIN) -> Any:
    """The value of a JSON file, checked.

    Args:
        data: the file's content.
        kind: type that it must have: a plain type such as `dict[str, float]`, or a dataclass, which is built. A number
            that is whole is a float too; fields that a dataclass does not have are left out.
        place: where the data is from, for messages.
        remedy: what to do about damage, for messages.

    Raises:
        DamagedFileError: it is no JSON, or has another type.
    """
    try:
        return _adapter(kind).validate_json(data, strict=True)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(map(str, found["loc"]))
        said = "it is empty" if not data else f"{where}: {found['msg']}" if where else found["msg"]
        raise DamagedFileError(f"{place} is damaged ({said}): {remedy}") from error


@functools.lru_cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
