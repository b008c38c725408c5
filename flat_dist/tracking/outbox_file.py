"""Checks of an outbox file. It may be damaged, or come from another person together with a run's folder."""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from flat_dist.config.errors import UserError
from flat_dist.storage.folder import Folder

TEXT_OR_NONE = (str, type(None))

DESTINATION = {
    "uri": str,
    "experiment": str,
    "artifacts": TEXT_OR_NONE,
    "run_name": str,
    "parameters": dict,
    "hardware": str,
}
OPERATION = {"kind": str, "child": TEXT_OR_NONE, "arguments": dict}
ARGUMENTS: dict[str, dict[str, type]] = {
    "parameters": {"values": dict},
    "metrics": {"values": dict, "step": int, "timestamp": int},
    "artifact": {"folder": str, "name": str, "path": str},
    "artifacts": {"folder": str, "path": str},
    "table": {"rows": list, "path": str},
    "end": {"status": str, "tags": dict},
    "finish": {"status": str},
}
"""Arguments of each kind of operation, and their types."""

STATUSES = ("FINISHED", "FAILED", "KILLED")


def check_form(values: Any) -> None:
    """Raise ValueError unless the content of a file is a destination and a list of operations."""
    _check_fields(values, {"destination": dict, "operations": list}, "the file")
    _check_fields(values["destination"], DESTINATION, "destination")
    for number, operation in enumerate(values["operations"], 1):
        _check_operation(operation, f"operation {number}")


def _check_operation(operation: Any, where: str) -> None:
    _check_fields(operation, OPERATION, where)
    kind, arguments = operation["kind"], operation["arguments"]
    if kind not in ARGUMENTS:
        raise ValueError(f"{where} has the unknown kind {kind!r}")
    _check_fields(arguments, ARGUMENTS[kind], where)
    numbers = list(arguments["values"].values()) if kind == "metrics" else []
    rows = arguments.get("rows", [])
    if not all(isinstance(number, (int, float)) for number in numbers):
        raise ValueError(f"{where} has a metric that is not a number")
    if not all(isinstance(row, dict) and row.keys() == rows[0].keys() for row in rows):
        raise ValueError(f"{where} has rows with different columns")
    if arguments.get("status", STATUSES[0]) not in STATUSES:
        raise ValueError(f"{where} has the unknown status {arguments['status']!r}")


def _check_fields(value: Any, fields: Mapping[str, Any], where: str) -> None:
    if not isinstance(value, dict) or value.keys() != fields.keys():
        raise ValueError(f"{where} must have the fields {', '.join(fields)}")
    for name, kind in fields.items():
        if not isinstance(value[name], kind) or isinstance(value[name], bool):
            raise ValueError(f"{name} of {where} has the wrong type")


def check_places(operations: Sequence[Mapping[str, Any]], folder: Folder) -> None:
    """Raise UserError if an operation would send a file from outside the run's folder and the stages of its storage."""
    places = (folder, storage_of(folder) / "stages")
    for arguments in (operation["arguments"] for operation in operations):
        path = PurePosixPath(arguments.get("path", ""))
        if path.is_absolute() or ".." in path.parts:
            raise UserError(f"it would log under {str(path)!r}, outside its run in MLflow")
        if "folder" in arguments:
            _check_place(Folder(arguments["folder"]), arguments.get("name"), places)


def _check_place(folder: Folder, name: str | None, places: Sequence[Folder]) -> None:
    place = next((place for place in places if _is_inside(folder, place)), None)
    is_plain = name is None or (name not in ("", "..") and name == PurePosixPath(name).name)
    if place is None or not is_plain:
        raise UserError(
            f"it would send {f'{folder.uri}/{name}' if name else folder.uri!r}, which is outside the run's folder "
            "and the stages of its storage: delete the outbox file, unless you know where it comes from"
        )
    if folder.local is None or place.local is None:
        return
    root = place.local.resolve()
    for file in folder.local.rglob("*") if name is None else (folder.local / name,):
        if not file.resolve().is_relative_to(root):
            raise UserError(f"it would send {file}, a link that leads outside {place.uri}: remove the link")


def _is_inside(folder: Folder, place: Folder) -> bool:
    if folder.local is not None and place.local is not None:
        return folder.local.resolve().is_relative_to(place.local.resolve())
    if folder.remote is None or place.remote is None:
        return False
    (one, inner), (other, outer) = folder.remote, place.remote
    return (
        bool(one.equals(other))
        and PurePosixPath(inner).is_relative_to(outer)
        and ".." not in PurePosixPath(inner).parts
    )


def storage_of(folder: Folder) -> Folder:
    """The storage that contains a run's folder."""
    if "://" not in folder.uri:
        return Folder(folder.uri.rpartition("/")[0] or "/")
    parts = urlsplit(folder.uri)
    return Folder(parts._replace(path=parts.path.rpartition("/")[0]).geturl())
