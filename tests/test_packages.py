import io
import os
import pickle
import tarfile
import zipfile
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


def test_members_of_zips_of_tars_and_of_archives_inside_them(tmp_path: Path) -> None:
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w:gz") as tar:
        for name, content in (("a/b.txt", b"one"), ("a/c.txt", b"two")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    (tmp_path / "source.tar.gz").write_bytes(inner.getvalue())
    with zipfile.ZipFile(tmp_path / "source.zip", "w") as outer:
        outer.writestr("p/in.tar.gz", inner.getvalue())
        outer.writestr("p/other", b"")
    assert packages.read_members(tmp_path / "source.tar.gz", ["a/c.txt"]) == {"a/c.txt": b"two"}
    (nested,) = packages.read_members(tmp_path / "source.zip", ["p/in.tar.gz"]).values()
    assert packages.read_members(nested, ["a/b.txt"]) == {"a/b.txt": b"one"}
