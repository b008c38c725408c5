import os
import pickle
from collections import Counter
from pathlib import Path

import pytest

from flat_dist.resources import packages


class Malicious:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("exit 1",)


@pytest.mark.parametrize("value", [Malicious(), Path("a"), Counter("a")])
def test_a_pickle_may_hold_plain_values_only(value: object) -> None:
    with pytest.raises(pickle.UnpicklingError):
        packages.load_tagger(pickle.dumps(({}, {}, value), protocol=2))
    assert packages.load_tagger(pickle.dumps(({"a": {"NN": 1.0}}, {}, {"VB", "NN"}), protocol=2))[2] == ["NN", "VB"]
