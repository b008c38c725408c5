"""Folders on a local disk or an object store."""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pyarrow import fs

from flat_dist.config.errors import UserError
from flat_dist.storage import durable
from flat_dist.storage.file_validation import DEFAULT_REMEDY, parse_json
from flat_dist.storage.files import Files
from flat_dist.storage.location import PATH_BYTES, is_folder

RESERVED_BYTES = 300
"""Bytes of a path that a run needs for the names of its folders and files."""


class Folder(Files):
    """A folder: its files, folders inside it, and JSON."""

    def __truediv__(self, name: str) -> "Folder":
        return Folder(self.location.inner(name))

    @property
    def name(self) -> str:
        """Last part of the path."""
        return self._path.rpartition("/")[2]

    def check(self, option: str = "--storage") -> None:
        """Check that the folder can be written or created; nothing is created.

        Args:
            option: the option that names the folder.

        Raises:
            UserError: it cannot, or its store denies access.
        """
        if self.local is None:
            with self._translate_error("read"):
                self._filesystem.get_file_info(self._path)
            return
        if len(self._path.encode()) > PATH_BYTES - RESERVED_BYTES:
            raise UserError(
                f"{option} {self._path[:RESERVED_BYTES]}… is too long: no path may have over {PATH_BYTES} bytes"
            )
        nearest = next(path for path in (self.local, *self.local.parents) if os.path.lexists(path))
        if not is_folder(nearest):
            what = "a link that leads to no folder" if nearest.is_symlink() else "not a folder"
            raise UserError(f"{option} {self.uri} cannot be used: {nearest} is {what}; name another {option}")
        if why := durable.refuses_files(nearest):
            raise UserError(f"{option} {self.uri} cannot be used: {nearest} {why}; name another {option}")

    def clear(self) -> None:
        """Remove all files, and unfinished files of killed processes; folders inside this one stay."""
        for name in self.names():
            self.delete(name)
        self.clear_leftovers()

    def clear_leftovers(self) -> None:
        """Remove unfinished files of killed processes; call it only when no other process writes here."""
        if self.local is not None and self.local.is_dir():
            with self._translate_error("written"):
                durable.clear(self.local, 0)

    def read_json(self, name: str, kind: Any = Any, remedy: str = DEFAULT_REMEDY) -> Any:
        """Content of a JSON file, validated as in `parse_json`.

        Raises:
            FileNotFoundError: the file does not exist.
            DamagedFileError: it is not valid JSON, or not of the type `kind`.
        """
        return parse_json(self.read(name), kind, self.place(name), remedy)

    def write_json(self, name: str, value: Any) -> str:
        """Write plain values as indented JSON; returns the sha256."""
        return self.write(name, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())

    @contextlib.contextmanager
    def as_directory(self) -> Iterator[Path]:
        """The folder as a local directory; of a folder on an object store, a temporary copy."""
        if self.local is not None:
            yield self.local
            return
        with tempfile.TemporaryDirectory() as directory:
            fs.copy_files(self._path, directory, self._filesystem, fs.LocalFileSystem())
            yield Path(directory)

    def remove(self, name: str) -> None:
        """Remove a folder inside this one with its content, if it exists."""
        with contextlib.suppress(FileNotFoundError), self._translate_error("written"):
            self._filesystem.delete_dir(self._inside(name))
