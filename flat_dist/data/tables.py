"""Arrow tables as files of a folder."""

import hashlib

import pyarrow as pa

from flat_dist.data.storage import Folder


def to_bytes(table: pa.Table) -> bytes:
    """A table as an Arrow IPC file, zstd-compressed; equal tables give equal bytes."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def from_bytes(data: bytes) -> pa.Table:
    """The table of an Arrow IPC file.

    Raises:
        pyarrow.ArrowInvalid: the bytes are no whole file.
    """
    return pa.ipc.open_file(pa.BufferReader(data)).read_all()


def sha256(data: bytes) -> str:
    """Hexadecimal digest of bytes."""
    return hashlib.sha256(data).hexdigest()


def write_table(folder: Folder, name: str, table: pa.Table) -> None:
    """Write `name`.arrow."""
    folder.write(f"{name}.arrow", to_bytes(table))


def read_table(folder: Folder, name: str) -> pa.Table:
    """Read `name`.arrow.

    Raises:
        FileNotFoundError: it is not there.
    """
    return from_bytes(folder.read(f"{name}.arrow"))
