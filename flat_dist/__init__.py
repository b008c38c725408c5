"""Feature-level adversarial training (FLAT; Chen & Ji, AAAI 2022) of text classifiers, distributed with Ray.

The functions of `flat_dist.api` are names of this package: `import flat_dist as fd`, then `fd.train(...)`. They are
imported when they are first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flat_dist.api import (
        Attacked,
        Data,
        Explanation,
        Measured,
        UserError,
        attack,
        evaluate,
        explain,
        export,
        load_dataset,
        load_model,
        predict,
        train,
    )

__version__ = "0.1.0"

__all__ = [
    "Attacked",
    "Data",
    "Explanation",
    "Measured",
    "UserError",
    "attack",
    "evaluate",
    "explain",
    "export",
    "load_dataset",
    "load_model",
    "predict",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("flat_dist.api"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
