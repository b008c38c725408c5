"""Text files in UTF-8, and the known formats of other files."""

import gzip
import re
import zlib
from pathlib import Path

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
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): check its permissions") from error
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
        byte = content[error.start : error.start + 1]
        latin = f", which is {byte.decode('latin-1')} in Latin-1" if byte >= b"\xa0" else ""
        raise UserError(
            f"{path}:{_line_number(content[: error.start])}: not UTF-8 (byte 0x{byte.hex()}{latin}): save it as UTF-8"
        ) from error
    if "\0" in text:
        line = _line_number(content[: content.index(b"\0")])
        raise UserError(f"{path}:{line}: a NUL byte, as in UTF-16 and in binary files: save it as UTF-8")
    return text


def _unpack(path: Path, content: bytes) -> bytes:
    try:
        return gzip.decompress(content)
    except EOFError as error:
        raise UserError(f"{path} ends too early (a truncated gzip file): copy or download it again") from error
    except gzip.BadGzipFile as error:
        if content.startswith(GZIP_MAGIC):
            raise _damaged(path, error) from error
        raise UserError(f"{path} is not compressed (gzip): let its name end without {GZIP}") from error
    except (zlib.error, OSError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> UserError:
    return UserError(f"{path} is a damaged gzip file ({error}): copy or download it again")


def _line_number(before: bytes) -> int:
    return len(LINE_END.findall(before.decode("latin-1"))) + 1
