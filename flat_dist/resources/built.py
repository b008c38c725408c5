"""Resources that are built once, in a folder of the cache: what an interrupted build leaves is never used.

The folder's name holds a hash of what the result depends on. The marker with the sha256 of each file is written last,
and a folder without it, or with other content, is built again. A process reads unchanged files once.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
from rich.console import Console

from flat_dist.config.errors import UserError
from flat_dist.config.serialization import content_hash
from flat_dist.resources.assets import Assets
from flat_dist.storage import durable


@dataclass(frozen=True)
class BuiltResource:
    """How a resource is built."""

    name: str
    """Begins the names of its folder, lock and marker."""
    files: tuple[str, ...]
    """Names of the files in its folder."""
    origin: Callable[[Assets], Mapping[str, Any]]
    """Plain values on which the content depends: settings, hashes of inputs, a version of the method."""
    contents: Callable[[Assets], Mapping[str, bytes]]
    """Computes the content of each file; prints what it does."""

    @property
    def marker(self) -> str:
        """Name of the file that is written last."""
        return f"{self.name}.json"

    def folder(self, assets: Assets) -> Path:
        """Where it is, or will be."""
        return assets.folder / f"{self.name}-{content_hash(dict(self.origin(assets)))}"

    def is_complete(self, assets: Assets) -> bool:
        """Whether it is there, with the content that was built."""
        folder = self.folder(assets)
        try:
            hashes = json.loads((folder / self.marker).read_bytes())
            return set(hashes) == set(self.files) and all(
                durable.sha256(folder / name) == hashes[name] for name in self.files
            )
        except (OSError, ValueError, TypeError, RecursionError):
            return False

    def build(self, assets: Assets) -> Path:
        """Its folder, built if it is not complete. Parallel processes may call it.

        Raises:
            UserError: the folder of the assets cannot be written.
        """
        folder = self.folder(assets)
        if self.is_complete(assets):
            return folder
        try:
            with filelock.FileLock(assets.folder / f"{self.name}.lock"):
                if not self.is_complete(assets):  # unless another process built it meanwhile
                    if (folder / self.marker).exists():
                        Console(stderr=True).print(f"{folder} is damaged and is built again", soft_wrap=True)
                    self._write(folder, self.contents(assets))
        except (OSError, NotImplementedError) as error:  # NotImplementedError: a file system without locks
            raise UserError(f"cannot write {folder} ({error}): set FLAT_DIST_CACHE to a writable folder") from error
        return folder

    def fingerprint(self, assets: Assets) -> str:
        """sha256 of its marker, which has the sha256 of each file; it is built if it is not complete."""
        return hashlib.sha256((self.build(assets) / self.marker).read_bytes()).hexdigest()

    def _write(self, folder: Path, contents: Mapping[str, bytes]) -> None:
        durable.make_folder(folder)
        for name, content in contents.items():
            durable.write(folder / name, content)
        hashes = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
        durable.write(folder / self.marker, json.dumps(hashes, indent=1).encode())
