"""Text files in UTF-8, and the known formats of other files."""

import gzip
import io
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from flat_dist.config.errors import UserError

UTF8_BOM = b"\xef\xbb\xbf"

GZIP = ".gz"
GZIP_MAGIC = b"\x1f\x8b"

OTHER_FORMATS = {
    GZIP_MAGIC: "compressed (gzip): unpack it",
    b"BZh": "compressed (bzip2): unpack it",
    b"\xfd7zXZ": "compressed (xz): unpack it",
    b"\x28\xb5\x2f\xfd": "compressed (zstd): unpack it",
    b"PK\x03\x04": "a zip archive or an Excel workbook: unpack it, or save it as CSV in UTF-8",
    b"\xd0\xcf\x11\xe0": "an Excel workbook: save it as CSV in UTF-8",
    b"PAR1": "a Parquet file: let its name end in .parquet",
    b"\xff\xfe": "UTF-16: save it as UTF-8",
    b"\xfe\xff": "UTF-16: save it as UTF-8",
}
"""First bytes of files in other formats, and what to do about them."""

LINE_END = re.compile("\r\n|\n|\r")


def other_format(start: bytes) -> str:
    """Format of a file with these first bytes, and what to do about it; empty if it may be UTF-8 text."""
    return next((problem for magic, problem in OTHER_FORMATS.items() if start.startswith(magic)), "")


def read_text(path: Path) -> str:
    """Content of a text file, without byte order mark. A file whose name ends in .gz is unpacked.

    Raises:
        UserError: it cannot be read or unpacked, is empty, or is not UTF-8.
    """
    with _open(path) as file:
        content = file.read()
    if path.suffix.lower() == GZIP:
        content = _unpack(path, content)
    content = content.removeprefix(UTF8_BOM)
    if not content.strip():
        raise UserError(f"{path} is empty: give it at least one row")
    if problem := other_format(content[:8]):
        raise UserError(f"{path} is {problem}")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _not_utf8(f"{path}:{_line_number(content[: error.start])}", content[error.start]) from error
    if "\0" in text:
        before = content[: content.index(b"\0")]
        raise _nul(f"{path}:{_line_number(before)}")
    return text


def stream_lines(path: Path) -> Iterator[str]:
    """The lines of a text file with their ends, read one after another. A file whose name ends in .gz is unpacked.

    Raises:
        UserError: as `read_text`, when the line in question is reached.
    """
    with _open(path) as raw:
        start = raw.peek(8)[:8]  # type: ignore[attr-defined]
        if path.suffix.lower() == GZIP:
            with _gzip_errors(path, start), gzip.GzipFile(fileobj=raw) as unpacked:
                yield from _lines(path, unpacked)
        else:
            yield from _lines(path, raw)


def _lines(path: Path, file: Any) -> Iterator[str]:
    start = file.peek(8)[:8]
    if not start:
        raise UserError(f"{path} is empty: give it at least one row")
    if problem := other_format(start):
        raise UserError(f"{path} is {problem}")
    # An invalid byte becomes a surrogate, so that its line is known.
    for number, line in enumerate(io.TextIOWrapper(file, "utf-8-sig", "surrogateescape", newline=""), 1):
        _check_line(line, f"{path}:{number}")
        yield line


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): check its permissions") from error


def _check_line(line: str, place: str) -> None:
    if not line.isascii():
        try:
            line.encode()
        except UnicodeEncodeError as error:
            raise _not_utf8(place, ord(line[error.start]) & 0xFF) from error
    if "\0" in line:
        raise _nul(place)


def _not_utf8(place: str, byte: int) -> UserError:
    latin = f", which is {chr(byte)} in Latin-1" if byte >= 0xA0 else ""
    return UserError(f"{place}: not UTF-8 (byte {byte:#04x}{latin}): save it as UTF-8")


def _nul(place: str) -> UserError:
    return UserError(f"{place}: a NUL byte, as in UTF-16 and in binary files: save it as UTF-8")


def _unpack(path: Path, content: bytes) -> bytes:
    with _gzip_errors(path, content):
        return gzip.decompress(content)


@contextmanager
def _gzip_errors(path: Path, start: bytes) -> Iterator[None]:
    """Turn errors of unpacking a file that starts with these bytes into one sentence."""
    try:
        yield
    except EOFError as error:
        raise UserError(f"{path} ends too early (a truncated gzip file): copy or download it again") from error
    except gzip.BadGzipFile as error:
        if start.startswith(GZIP_MAGIC):
            raise _damaged(path, error) from error
        raise UserError(f"{path} is not compressed (gzip): let its name end without {GZIP}") from error
    except (zlib.error, OSError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> UserError:
    return UserError(f"{path} is a damaged gzip file ({error}): copy or download it again")


def _line_number(before: bytes) -> int:
    return len(LINE_END.findall(before.decode("latin-1"))) + 1
