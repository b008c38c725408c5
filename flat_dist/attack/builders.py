"""Finds the builder of an attack by its Python path."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from flat_dist.resources import assets, textattack_setup
from flat_dist.runtime import user_code

OPTION = "--attack.name"


def load_builder(path: str) -> Callable[..., Any]:
    """The function at a path such as my_package.attacks:build; its module may be in the current folder.

    Raises:
        UserError: the module cannot be imported, or has no such function.
    """
    textattack_setup.activate(assets.prepare())  # before the module imports TextAttack
    return user_code.load_function(path, OPTION, str(Path.cwd()))


def source_sha256(path: str) -> str:
    """sha256 of the file in which a builder is written: what a run records of the user's code.

    Raises:
        UserError: the builder cannot be found, or its file cannot be read.
    """
    return user_code.source_sha256(load_builder(path), path, OPTION)
