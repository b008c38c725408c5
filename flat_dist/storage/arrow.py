"""Arrow tables as files of a folder."""

import hashlib
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pyarrow as pa

from flat_dist.storage.file_validation import DEFAULT_REMEDY, DamagedFileError
from flat_dist.storage.folder import Folder

PART = re.compile(r"(\d{6,9})-([0-9a-f]{16})\.arrow", re.ASCII)
"""Names of parts: number, and first digits of the content's hash."""


class Part(NamedTuple):
    """One of the tables of a long job, each written when it is ready."""

    number: int
    name: str
    """Ends in the hash of the content, which verifies the part."""
    sha256: str
    table: pa.Table


def to_bytes(table: pa.Table) -> bytes:
    """A table as a zstd-compressed Arrow IPC file; equal tables give equal bytes."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def from_bytes(
    data: bytes, schema: pa.Schema | None = None, place: str = "the table", remedy: str = DEFAULT_REMEDY
) -> pa.Table:
    """The table of an Arrow IPC file.

    Args:
        data: the file's content.
        schema: names and types that the columns must have; None: any.
        place: source of the data, for messages.
        remedy: what to do if it is damaged, for messages.

    Raises:
        DamagedFileError: the file is incomplete or damaged, or has another schema.
    """
    try:
        table = pa.ipc.open_file(pa.BufferReader(data)).read_all()
        table.validate(full=True)
    except (pa.ArrowException, OSError, MemoryError) as error:
        reason = "it is empty" if not data else " ".join(str(error).split())
        raise DamagedFileError(f"{place} is damaged ({reason}): {remedy}") from error
    if schema is not None and not table.schema.equals(schema):
        raise DamagedFileError(f"{place} has another schema, {table.schema.names}: {remedy}")
    return table


def sha256(data: bytes) -> str:
    """Hexadecimal digest of bytes."""
    return hashlib.sha256(data).hexdigest()


def write_table(folder: Folder, name: str, table: pa.Table) -> None:
    """Write `name`.arrow."""
    folder.write(f"{name}.arrow", to_bytes(table))


def read_table(folder: Folder, name: str, schema: pa.Schema | None = None) -> pa.Table:
    """Read `name`.arrow.

    Raises:
        FileNotFoundError: the file does not exist.
        DamagedFileError: the file is damaged, or has another schema.
    """
    return from_bytes(folder.read(f"{name}.arrow"), schema, folder.place(f"{name}.arrow"))


def write_part(folder: Folder, number: int, table: pa.Table) -> Part:
    """Write a part; its name has the hash of its content."""
    data = to_bytes(table)
    digest = sha256(data)
    part = Part(number, f"{number:06d}-{digest[:16]}.arrow", digest, table)
    folder.write(part.name, data)
    return part


def valid_parts(folder: Folder, schema: pa.Schema, belongs: Callable[[int, pa.Table], bool]) -> Iterator[Part]:
    """Valid parts of an interrupted job.

    Files whose content does not match the hash in the name, with another schema or of another job are removed.

    Args:
        folder: of the parts.
        schema: of their tables.
        belongs: whether a part with this number and table is of this job.
    """
    names = [name for name in folder.names() if name.endswith(".arrow")]
    for name, data in zip(names, folder.read_many(names), strict=True):
        part = _part(folder, name, data, schema)
        if part is not None and belongs(part.number, part.table):
            yield part
        else:
            folder.delete(name)


def _part(folder: Folder, name: str, data: bytes, schema: pa.Schema) -> Part | None:
    match, digest = PART.fullmatch(name), sha256(data)
    if match is None or match[2] != digest[:16]:
        return None
    try:
        return Part(int(match[1]), name, digest, from_bytes(data, schema, folder.place(name)))
    except DamagedFileError:
        return None
