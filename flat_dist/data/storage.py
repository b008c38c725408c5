"""Folders on a local disk or an object store, whose files appear whole or not at all."""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pyarrow import fs

from flat_dist.config import UserError


class Folder:
    """A folder named by a path or by any URI that `pyarrow.fs` knows (`s3://`, `gs://`, `file://`).

    Raises:
        UserError: the URI's scheme is unknown, or it names no location.
    """

    def __init__(self, uri: str | os.PathLike[str]):
        self.uri = str(uri) if "://" in str(uri) else str(Path(uri).absolute())
        try:
            self._filesystem, self._path = fs.FileSystem.from_uri(self.uri)
        except (ValueError, OSError) as error:
            raise UserError(f"cannot use {self.uri!r} as a folder: {error}") from error

    def __truediv__(self, name: str) -> "Folder":
        return Folder(f"{self.uri.rstrip('/')}/{name}")

    def __repr__(self) -> str:
        return f"Folder({self.uri!r})"

    @property
    def name(self) -> str:
        """Last part of the URI."""
        return self.uri.rstrip("/").rpartition("/")[2]

    @property
    def local(self) -> Path | None:
        """The path on this machine; None on an object store."""
        return Path(self._path) if isinstance(self._filesystem, fs.LocalFileSystem) else None

    def exists(self, name: str) -> bool:
        """Whether the file is there."""
        return self._filesystem.get_file_info(f"{self._path}/{name}").type == fs.FileType.File

    def names(self) -> list[str]:
        """Names of the files in the folder, sorted; hidden (temporary) ones are left out."""
        selector = fs.FileSelector(self._path, allow_not_found=True)
        files = (info for info in self._filesystem.get_file_info(selector) if info.type == fs.FileType.File)
        return sorted(info.base_name for info in files if not info.base_name.startswith("."))

    def read(self, name: str) -> bytes:
        """Content of a file.

        Raises:
            FileNotFoundError: there is no such file.
        """
        with self._filesystem.open_input_stream(f"{self._path}/{name}", compression=None) as stream:
            return stream.read()

    def write(self, name: str, data: bytes) -> str:
        """Write a file in one go and return the sha256 of its content.

        On a disk it is written under a temporary name and renamed; on an object store it is one PUT.
        """
        local = self.local
        if local is None:
            self._put(f"{self._path}/{name}", data)
        else:
            local.mkdir(parents=True, exist_ok=True)
            temporary = local / f".{name}.{os.getpid()}"
            try:
                self._put(str(temporary), data)
                temporary.replace(local / name)
            finally:
                temporary.unlink(missing_ok=True)
        return hashlib.sha256(data).hexdigest()

    def _put(self, path: str, data: bytes) -> None:
        with self._filesystem.open_output_stream(path, compression=None) as stream:
            stream.write(data)

    def delete(self, name: str) -> None:
        """Remove a file, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            self._filesystem.delete_file(f"{self._path}/{name}")

    def read_json(self, name: str) -> Any:
        """Content of a JSON file."""
        return json.loads(self.read(name))

    def write_json(self, name: str, value: Any) -> str:
        """Write plain values as a JSON file that people can read; returns its sha256."""
        return self.write(name, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())

    @contextlib.contextmanager
    def as_directory(self) -> Iterator[Path]:
        """The folder as a directory of this machine; a temporary copy of all that is in it if it is elsewhere."""
        if self.local is not None:
            yield self.local
            return
        with tempfile.TemporaryDirectory() as directory:
            fs.copy_files(self._path, directory, self._filesystem, fs.LocalFileSystem())
            yield Path(directory)

    def remove(self, name: str) -> None:
        """Remove a folder inside this one with all that it holds, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            self._filesystem.delete_dir(f"{self._path}/{name}")
