"""Attacks and their records.

The package can be called: `flat_dist.attack` is also the name of a function, `flat_dist.api.attack`, and Python
replaces a name of a package by a module of this name once that is imported.
"""

import importlib
import sys
from types import ModuleType
from typing import Any


class _Attack(ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return importlib.import_module("flat_dist.api").attack(*args, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:  # as pickle and Ray do with other modules: by name
        return importlib.import_module, (self.__name__,)


sys.modules[__name__].__class__ = _Attack
