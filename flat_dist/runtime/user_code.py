"""Functions of the user, found by their Python path."""

import hashlib
import importlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flat_dist.config.errors import UserError, first_line


def import_from(folder: str) -> None:
    """Look for modules in a folder, too, after all other places."""
    if folder and folder not in sys.path:
        sys.path.append(folder)


def load_function(path: str, option: str, folder: str) -> Callable[..., Any]:
    """The function at a path such as my_package.models:predict.

    Args:
        path: module and function.
        option: the option that the path was given with, for messages.
        folder: in which the module is looked for, after all other places; empty: only in the others.

    Raises:
        UserError: the module cannot be imported, or has no such function.
    """
    import_from(folder)
    module, _, names = path.partition(":")
    found = _module(path, module, option, folder)
    for name in names.split("."):
        if not hasattr(found, name):
            raise UserError(f"{option} {path}: {module} has no {names}; write package.module:function")
        found = getattr(found, name)
    if not callable(found):
        raise UserError(f"{option} {path}: {names} is a {type(found).__name__}, but must be a function")
    return found


def _module(path: str, name: str, option: str, folder: str) -> Any:
    try:
        return importlib.import_module(name)
    except Exception as error:  # a user's module can raise any error
        parts = name.split(".")
        own = [".".join(parts[:count]) for count in range(1, len(parts) + 1)]
        if isinstance(error, ModuleNotFoundError) and error.name in own:
            where = f"in {folder} or among the installed packages" if folder else "among the installed packages"
            raise UserError(f"{option} {path}: there is no module {error.name} {where}") from error
        raise UserError(
            f"{option} {path}: importing {name} raises {type(error).__name__}: {first_line(error)}"
        ) from error


def source_sha256(function: Callable[..., Any], path: str, option: str) -> str:
    """sha256 of the file in which a function, or the class of a callable object, is written.

    Args:
        function: of the user.
        path: where it was found, for messages.
        option: the option that the path was given with, for messages.

    Raises:
        UserError: its file cannot be read.
    """
    written = inspect.unwrap(function)
    if not (inspect.isroutine(written) or inspect.isclass(written)):
        written = type(written)
    try:
        return hashlib.sha256(Path(inspect.getfile(written)).read_bytes()).hexdigest()
    except (TypeError, OSError) as error:
        raise UserError(f"{option} {path}: its source cannot be read ({first_line(error)})") from error
