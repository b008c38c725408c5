"""Finds the builder of an attack by its Python path."""

import hashlib
import importlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flat_dist.config.errors import UserError, first_line
from flat_dist.resources import assets, textattack_setup


def import_from(folder: str) -> None:
    """Look for modules in a folder, too, after all other places."""
    if folder and folder not in sys.path:
        sys.path.append(folder)


def load_builder(path: str) -> Callable[..., Any]:
    """The function at a path such as my_package.attacks:build; its module may be in the current folder.

    Raises:
        UserError: the module cannot be imported, or has no such function.
    """
    import_from(str(Path.cwd()))
    textattack_setup.activate(assets.prepare())  # before the module imports TextAttack
    module_name, _, names = path.partition(":")
    found = _module(path, module_name)
    for name in names.split("."):
        if not hasattr(found, name):
            raise UserError(f"--attack.name {path}: {module_name} has no {names}; write package.module:function")
        found = getattr(found, name)
    if not callable(found):
        raise UserError(f"--attack.name {path}: {names} is a {type(found).__name__}, but must be a function")
    return found


def _module(path: str, name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        parts = name.split(".")
        if error.name not in [".".join(parts[:count]) for count in range(1, len(parts) + 1)]:
            raise _broken(path, name, error) from error
        raise UserError(
            f"--attack.name {path}: there is no module {error.name} in {Path.cwd()} or among the installed packages"
        ) from error
    except Exception as error:  # a user's module can raise any error
        raise _broken(path, name, error) from error


def _broken(path: str, name: str, error: Exception) -> UserError:
    return UserError(f"--attack.name {path}: importing {name} raises {type(error).__name__}: {first_line(error)}")


def source_sha256(path: str) -> str:
    """sha256 of the file in which a builder is written: what a run records of the user's code.

    Raises:
        UserError: the builder cannot be found, or its file cannot be read.
    """
    builder = inspect.unwrap(load_builder(path))
    try:
        return hashlib.sha256(Path(inspect.getfile(builder)).read_bytes()).hexdigest()
    except (TypeError, OSError) as error:
        raise UserError(f"--attack.name {path}: its source cannot be read ({first_line(error)})") from error
