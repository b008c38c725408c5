"""Files of a folder on a local disk or an object store: each is complete or not there."""

import contextlib
import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

from pyarrow import fs

from flat_dist.config.errors import UserError
from flat_dist.storage import durable
from flat_dist.storage.bucket import first_line, open_bucket
from flat_dist.storage.file_validation import DamagedFileError
from flat_dist.storage.location import Location, parse

PARALLEL_READS = 16
"""Files read at the same time: on an object store, most of the time of a small file is waiting."""

before_writing: list[Callable[[], None]] = []
"""Called before each write to an object store: owners of leases check that they still own them."""


class Files:
    """Files of a folder named by a path, or by a URI of `file://`, `s3://` or `gs://`.

    Every error is a UserError that names the folder, except FileNotFoundError for a missing file.

    Raises:
        UserError: the URI has an unknown scheme, no location or credentials, or its store cannot be reached.
    """

    def __init__(self, uri: str | os.PathLike[str] | Location):
        self.location = uri if isinstance(uri, Location) else parse(uri)
        self.uri = self.location.uri
        if self.location.is_local:
            self._filesystem, self._path = fs.LocalFileSystem(), self.location.path
        else:
            self._filesystem, root = open_bucket(self.location.scheme, self.location.bucket, self.location.query)
            self._path = f"{root.rstrip('/')}/{self.location.path}".rstrip("/")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Files) and self.uri == other.uri

    def __hash__(self) -> int:
        return hash(self.uri)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.uri!r})"

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
            DamagedFileError: this is not the name of a file in a folder; names may come from damaged files.
        """
        self._inside(name)
        return self.location.inner(name).uri

    def exists(self, name: str) -> bool:
        """Whether the file exists."""
        with self._translate_error("read"):
            return self._filesystem.get_file_info(self._inside(name)).type == fs.FileType.File

    def names(self) -> list[str]:
        """Names of the files in the folder, sorted, without hidden (temporary) files."""
        selector = fs.FileSelector(self._path, allow_not_found=True)
        with self._translate_error("read"):
            files = [info for info in self._filesystem.get_file_info(selector) if info.type == fs.FileType.File]
        return sorted(info.base_name for info in files if not info.base_name.startswith("."))

    def read(self, name: str) -> bytes:
        """Content of a file.

        Raises:
            FileNotFoundError: the file does not exist.
        """
        path = self._inside(name)
        with self._translate_error("read"), self._filesystem.open_input_stream(path, compression=None) as stream:
            return stream.read()

    def read_many(self, names: Sequence[str]) -> Iterator[bytes]:
        """Contents of files, in order; the next files are read in advance.

        Raises:
            FileNotFoundError: a file does not exist.
        """
        with ThreadPoolExecutor(PARALLEL_READS) as executor:
            pending: deque[Future[bytes]] = deque()
            for name in names:
                pending.append(executor.submit(self.read, name))
                if len(pending) == PARALLEL_READS:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()

    def sha256(self, name: str) -> str:
        """Hexadecimal digest of a file; a process reads an unchanged file only once.

        Raises:
            FileNotFoundError: the file does not exist.
        """
        path = self._inside(name)
        with self._translate_error("read"):
            if self.local is not None:
                return durable.sha256(Path(path))
            info = self._filesystem.get_file_info(path)
        return _sha256(self.uri, name, info.size, info.mtime_ns)

    def write(self, name: str, data: bytes) -> str:
        """Write a file and return the sha256 of its content.

        On a disk it is written under a temporary name, synced and renamed; on an object store it is one PUT. It is
        stored when `write` returns, so a marker that is written afterwards can be trusted.
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

    def delete(self, name: str) -> None:
        """Remove a file, if it exists."""
        with contextlib.suppress(FileNotFoundError), self._translate_error("written"):
            self._filesystem.delete_file(self._inside(name))

    def _inside(self, name: str) -> str:
        """Path of a file in the folder, never outside it."""
        if name in ("", ".", "..") or "/" in name or "\0" in name:
            raise DamagedFileError(
                f"{name!r}, which a damaged or foreign file names, cannot be a file in {self.uri}: delete that folder, "
                "or name another"
            )
        return f"{self._path}/{name}"

    @contextlib.contextmanager
    def _translate_error(self, action: str) -> Iterator[None]:
        """Turn an error of the file system into a UserError that says where it was and what to do."""
        if action == "written" and self.local is None:
            for confirm in tuple(before_writing):
                confirm()
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            raise UserError(
                f"{self.uri} cannot be {action} ({first_line(error)}): make room, or give access, or name another "
                "--storage; the same command then continues"
            ) from error


@lru_cache(maxsize=2**12)
def _sha256(uri: str, name: str, size: int | None, changed: int | None) -> str:
    """Digest of a file on an object store; size and time change with its content."""
    return hashlib.sha256(Files(uri).read(name)).hexdigest()
