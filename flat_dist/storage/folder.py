"""Folders on a local disk or an object store, whose files appear whole or not at all."""

import contextlib
import hashlib
import json
import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

from pyarrow import fs

from flat_dist.config.errors import UserError
from flat_dist.storage import durable
from flat_dist.storage.bucket import first_line, open_bucket
from flat_dist.storage.file_validation import AGAIN, DamagedFileError, parse_json
from flat_dist.storage.location import PATH_BYTES, Location, is_folder, parse

READS_AT_ONCE = 16
"""Files that are read side by side: on an object store, each takes as long as a few kilobytes more would."""

ROOM_BYTES = 300
"""Of a path, for what the folders and files of a run are called."""

before_writing: list[Callable[[], None]] = []
"""Called before each write to an object store: holders of locks make sure that they still hold them."""


class Folder:
    """A folder named by a path, or a URI of `file://`, `s3://` or `gs://`.

    Files are read and written whole. What goes wrong is a UserError that names the folder; only a file that is not
    there is a FileNotFoundError.

    Raises:
        UserError: the URI's scheme is unknown, it names no location, it carries credentials, or its store cannot be
            reached.
    """

    def __init__(self, uri: str | os.PathLike[str] | Location):
        self.location = uri if isinstance(uri, Location) else parse(uri)
        self.uri = self.location.uri
        if self.location.is_local:
            self._filesystem, self._path = fs.LocalFileSystem(), self.location.path
        else:
            self._filesystem, root = open_bucket(self.location.scheme, self.location.bucket, self.location.query)
            self._path = f"{root.rstrip('/')}/{self.location.path}".rstrip("/")

    def __truediv__(self, name: str) -> "Folder":
        return Folder(self.location.inner(name))

    def check(self, option: str = "--storage") -> None:
        """Make sure, before any work, that the folder can be written, or made; nothing is made.

        Args:
            option: where the user named the folder.

        Raises:
            UserError: it cannot, or its store does not let us in.
        """
        if self.local is None:
            with self._translate_error("read"):
                self._filesystem.get_file_info(self._path)
            return
        if len(self._path.encode()) > PATH_BYTES - ROOM_BYTES:
            raise UserError(
                f"{option} {self._path[:ROOM_BYTES]}… is too long: no path may have over {PATH_BYTES} bytes"
            )
        nearest = next(path for path in (self.local, *self.local.parents) if os.path.lexists(path))
        if not is_folder(nearest):
            what = "a link that leads to no folder" if nearest.is_symlink() else "no folder"
            raise UserError(f"{option} {self.uri} cannot be used: {nearest} is {what}; name another {option}")
        if why := durable.refuses_files(nearest):
            raise UserError(f"{option} {self.uri} cannot be used: {nearest} {why}; name another {option}")

    def __repr__(self) -> str:
        return f"Folder({self.uri!r})"

    @property
    def name(self) -> str:
        """Last part of the path."""
        return self._path.rpartition("/")[2]

    @property
    def local(self) -> Path | None:
        """The path on this machine; None on an object store."""
        return Path(self._path) if isinstance(self._filesystem, fs.LocalFileSystem) else None

    @property
    def remote(self) -> tuple[fs.FileSystem, str] | None:
        """File system and path on an object store; None on this machine."""
        return None if self.local else (self._filesystem, self._path)

    def place(self, name: str) -> str:
        """Path or URI of a file in the folder.

        Raises:
            DamagedFileError: that is no name of a file in a folder. Names come from files too, which may be damaged.
        """
        self._inside(name)
        return (self / name).uri

    def exists(self, name: str) -> bool:
        """Whether the file is there."""
        with self._translate_error("read"):
            return self._filesystem.get_file_info(self._inside(name)).type == fs.FileType.File

    def names(self) -> list[str]:
        """Names of the files in the folder, sorted; hidden (temporary) ones are left out."""
        selector = fs.FileSelector(self._path, allow_not_found=True)
        with self._translate_error("read"):
            files = [info for info in self._filesystem.get_file_info(selector) if info.type == fs.FileType.File]
        return sorted(info.base_name for info in files if not info.base_name.startswith("."))

    def read(self, name: str) -> bytes:
        """Content of a file.

        Raises:
            FileNotFoundError: there is no such file.
        """
        path = self._inside(name)
        with self._translate_error("read"), self._filesystem.open_input_stream(path, compression=None) as stream:
            return stream.read()

    def read_many(self, names: Sequence[str]) -> Iterator[bytes]:
        """Contents of files, in their order, some of them read ahead.

        Raises:
            FileNotFoundError: one of them is not there.
        """
        with ThreadPoolExecutor(READS_AT_ONCE) as executor:
            ahead: deque[Future[bytes]] = deque()
            for name in names:
                ahead.append(executor.submit(self.read, name))
                if len(ahead) == READS_AT_ONCE:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()

    def sha256(self, name: str) -> str:
        """Hexadecimal digest of a file's content; a process reads a file that does not change once.

        Raises:
            FileNotFoundError: there is no such file.
        """
        path = self._inside(name)
        with self._translate_error("read"):
            if self.local is not None:
                return durable.sha256(Path(path))
            info = self._filesystem.get_file_info(path)
        return _sha256(self.uri, name, info.size, info.mtime_ns)

    def write(self, name: str, data: bytes) -> str:
        """Write a file in one go and return the sha256 of its content.

        On a disk it is written under a temporary name, synced and renamed; on an object store it is one PUT. Either way
        it is there to stay before `write` returns, so that a marker written after it can be trusted.
        """
        path, local = self._inside(name), self.local
        with self._translate_error("written"):
            if local is None:
                self._put(path, data)
            else:
                durable.make_folder(local)
                durable.write(local / name, data)
        return hashlib.sha256(data).hexdigest()

    def _put(self, path: str, data: bytes) -> None:
        with self._filesystem.open_output_stream(path, compression=None) as stream:
            stream.write(data)

    def _inside(self, name: str) -> str:
        """Path of a file in the folder, and nowhere else."""
        if name in ("", ".", "..") or "/" in name or "\0" in name:
            raise DamagedFileError(
                f"{name!r} cannot be a file in {self.uri}, which a damaged or foreign file there says: delete that "
                "folder, or name another"
            )
        return f"{self._path}/{name}"

    @contextlib.contextmanager
    def _translate_error(self, done: str) -> Iterator[None]:
        """Say of an error of the file system where it was, and what to do."""
        if done == "written" and self.local is None:
            for confirm in tuple(before_writing):
                confirm()
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            raise UserError(
                f"{self.uri} cannot be {done} ({first_line(error)}): make room, or give access, or name another "
                "--storage; the same command then continues"
            ) from error

    def delete(self, name: str) -> None:
        """Remove a file, if it is there."""
        with contextlib.suppress(FileNotFoundError), self._translate_error("written"):
            self._filesystem.delete_file(self._inside(name))

    def clear(self) -> None:
        """Remove all files, and what killed processes left half written; not folders inside this one."""
        for name in self.names():
            self.delete(name)
        self.clear_leftovers()

    def clear_leftovers(self) -> None:
        """Remove what killed processes left half written; only for who knows that nobody writes here now."""
        if self.local is not None and self.local.is_dir():
            with self._translate_error("written"):
                durable.clear(self.local, 0)

    def read_json(self, name: str, kind: Any = Any, remedy: str = AGAIN) -> Any:
        """Content of a JSON file, checked as by `parse_json`.

        Raises:
            FileNotFoundError: there is no such file.
            DamagedFileError: it is no JSON, or has another type than `kind`.
        """
        return parse_json(self.read(name), kind, self.place(name), remedy)

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
        with contextlib.suppress(FileNotFoundError), self._translate_error("written"):
            self._filesystem.delete_dir(self._inside(name))


@lru_cache(maxsize=2**12)
def _sha256(folder: str, name: str, size: int | None, changed: int | None) -> str:
    """Digest of a file on an object store; size and time change with its content."""
    return hashlib.sha256(Folder(folder).read(name)).hexdigest()
