"""Locations of folders as users write them: a local path, or a URI of an object store."""

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, unquote_plus

from flat_dist.config.errors import UserError

PATH_BYTES, NAME_BYTES, KEY_BYTES = 4095, 255, 1024
"""Longest path and name on a disk, and longest key in a bucket."""
SHOWN = 200
"""Characters of a location that a message shows."""

URI = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):(?P<slashes>/*)(?P<rest>.*)", re.DOTALL)
WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")
VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\})(?=/|$)")
BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

SECRET_ANYWHERE = re.compile(
    "secret|token|passw|passphrase|credential|signature|(api|access|account|private|shared|customer|security)key"
)
SECRET_ALONE = re.compile("sig|sas|key|pass|pwd|auth|authorization|(google)?accessid")
"""Names of secret parameters, in lower case, letters only."""
KNOWN = ("file", "s3", "gs")
DATABASES = ("postgresql", "mysql", "mariadb", "mssql", "oracle")
"""Schemes in which a user name alone is not a secret."""


def carries_credentials(uri: str) -> bool:
    """Whether a URI has a password, key or token, which must not be printed or stored.

    Secrets are `user:password@`, a user name alone where it may be a token, and parameters with a secret's name.
    """
    match = URI.fullmatch(uri)
    if match is None or not (match["slashes"] or match["scheme"].lower() in KNOWN):
        return False
    authority = re.split(r"[/?#]", match["rest"], maxsplit=1)[0]
    user, at, _ = authority.rpartition("@")
    if at and user != "anonymous" and (":" in user or not match["scheme"].lower().startswith(DATABASES)):
        return True
    cut_short = re.search(r":(?!\d*$)[^\]]*$", authority) and "@" in uri  # a password with a slash in it
    parameters = re.split(r"[?&;#]", uri)[1:]
    return bool(cut_short) or any(_is_secret(parameter.partition("=")[0]) for parameter in parameters)


def _is_secret(name: str) -> bool:
    plain = re.sub(r"[^a-z]", "", unquote_plus(unquote_plus(name)).lower())
    return bool(SECRET_ANYWHERE.search(plain) or SECRET_ALONE.fullmatch(plain))


def is_folder(path: str | Path) -> bool:
    """Whether a local folder exists; False also for invalid paths, for which pathlib raises."""
    return os.path.isdir(path)  # noqa: PTH112


@dataclass(frozen=True)
class Location:
    """Location of a folder."""

    scheme: str
    """s3, gs or file; empty for a plain path."""
    bucket: str
    """With the prefix `anonymous@` for access without login; empty for a local folder."""
    path: str
    """Absolute for a local folder; without leading and trailing slash in a bucket."""
    query: str = ""
    """Parameters of an object store, as written."""

    @property
    def uri(self) -> str:
        """The URI or path that `parse` turns into this location."""
        if not self.scheme:
            return self.path
        path = quote(self.path, safe="/=+,:@!~")
        if self.scheme == "file":
            return f"file://{path}"
        return f"{self.scheme}://{self.bucket}" + (path and f"/{path}") + (self.query and f"?{self.query}")

    @property
    def is_local(self) -> bool:
        """Whether it is a local folder."""
        return self.scheme in ("", "file")

    def inner(self, name: str) -> "Location":
        """A folder inside this one; `name` may have several parts.

        Raises:
            UserError: it is outside this folder, or too long.
        """
        if any(part in ("", ".", "..") for part in name.split("/")):
            raise UserError(f"{_shown(name)} is not a valid name of a folder inside {self.uri}: give it another")
        path = f"{self.path.rstrip('/')}/{name}"
        return _validated(replace(self, path=path if self.is_local else path.lstrip("/")), name)


def parse(written: str | os.PathLike[str]) -> Location:
    """The location of a path or URI; a path object or a leading slash means a literal path.

    Raises:
        UserError: it has credentials, or is not valid.
    """
    text = os.fspath(written)
    if not isinstance(written, str) or text.startswith("/"):
        return _local("", text, text)
    match = URI.fullmatch(text)
    if match and carries_credentials(text):
        raise UserError(
            f"the {match['scheme']} URI carries credentials, and URIs are printed and stored: leave them out, and set "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or GOOGLE_APPLICATION_CREDENTIALS, on every node"
        )
    if not text.strip():
        raise UserError(f"{text!r} names no folder: give a path, or a URI such as s3://bucket/runs")
    if WINDOWS.match(text):
        raise UserError(f"{_shown(text)} is a Windows path: give a path of this machine, such as /data/runs")
    scheme = match["scheme"].lower() if match else ""
    if not match or not (match["slashes"] or scheme in KNOWN):
        return _local("", _expand(text), text)
    if scheme == "file":
        return _parse_file_uri(match["slashes"], match["rest"], text)
    if scheme not in ("s3", "gs"):
        raise UserError(f"{_shown(text)}: {scheme}:// is unknown; give a path, or a URI of file://, s3:// or gs://")
    return _parse_bucket(scheme, match["slashes"], match["rest"], text)


def _parse_file_uri(slashes: str, rest: str, text: str) -> Location:
    if re.search(r"[?#]", rest):
        raise UserError(f"{_shown(text)}: a file URI takes no parameters; write %3F for ? and %23 for # in a name")
    path = _decode(rest, text)
    if slashes == "//" and path.partition("/")[0].lower() == "localhost":
        slashes, path = "/", path.partition("/")[2]
    return _local("file", f"/{path}" if len(slashes) % 2 else _expand(path), text)


def _parse_bucket(scheme: str, slashes: str, rest: str, text: str) -> Location:
    place, _, query = rest.partition("?")
    bucket, _, path = place.partition("/")
    if slashes != "//" or not bucket:
        raise UserError(f"{_shown(text)} names no bucket: write {scheme}://bucket/folder")
    if "#" in rest:
        raise UserError(f"{_shown(text)}: write %23 for # in a name")
    if not BUCKET.fullmatch(bucket.removeprefix("anonymous@") if scheme == "gs" else bucket):
        raise UserError(
            f"{_shown(text)}: {bucket!r} is not a valid bucket name; for a server of your own write "
            f"{scheme}://bucket/folder?endpoint_override=host:9000&scheme=http"
        )
    parts = [part for part in _decode(path, text).split("/") if part]
    if "." in parts or ".." in parts:
        raise UserError(f"{_shown(text)}: a folder in a bucket cannot be called . or ..; write its whole path")
    for parameter in filter(None, query.split("&")):
        if not parse_qsl(parameter):
            raise UserError(f"{_shown(text)}: the parameter {parameter!r} has no value; write it as name=value")
    return _validated(Location(scheme, bucket, "/".join(parts), query), text)


def _decode(path: str, text: str) -> str:
    try:
        return unquote(path, errors="strict")
    except UnicodeDecodeError:
        raise UserError(f"{_shown(text)}: its percent codes are not UTF-8; write %25 for a percent sign") from None


def _expand(path: str) -> str:
    """The path with ~ and a leading variable expanded."""
    match = VARIABLE.match(path)
    if match:
        name = match[1] or match[2]
        if not os.environ.get(name):
            raise UserError(f"{_shown(path)}: the variable {name} is not set; write the whole path")
        path = os.environ[name] + path[match.end() :]
    try:
        return str(Path(path).expanduser()) if path.startswith("~") else path
    except RuntimeError:
        raise UserError(
            f"{_shown(path)}: this user or home folder does not exist; write ./ before a name with ~"
        ) from None


def _local(scheme: str, path: str, text: str) -> Location:
    if not path:
        raise UserError(f"{text!r} names no folder: give a path, or a URI such as s3://bucket/runs")
    _check_characters(path, text)
    try:
        match = Path(path).absolute()
        if ".." in match.parts:
            match = match.resolve()
    except (OSError, RuntimeError) as error:  # no current folder, or circular links
        raise UserError(f"{_shown(text)} cannot be resolved ({error}): give an absolute path") from error
    return _validated(Location(scheme, "", f"/{str(match).lstrip('/')}"), text)


def _validated(location: Location, text: str) -> Location:
    _check_characters(location.path, text)
    lengths = [len(part.encode()) for part in location.path.split("/")]
    most = PATH_BYTES if location.is_local else KEY_BYTES
    if len(location.path.encode()) > most or (location.is_local and max(lengths) > NAME_BYTES):
        raise UserError(
            f"{_shown(text)} is too long: a path has at most {most} bytes"
            + (f", and a name in it {NAME_BYTES}" if location.is_local else "")
        )
    return location


def _check_characters(path: str, text: str) -> None:
    if any(ord(character) < 32 or 127 <= ord(character) < 160 for character in path + text):
        raise UserError(f"{_shown(text)} has control characters: give a name without them")
    try:
        path.encode()
    except UnicodeEncodeError:
        raise UserError(f"{_shown(text)} is not UTF-8: rename the folder, or give another") from None


def _shown(text: str) -> str:
    short = text if len(text) <= SHOWN else f"{text[: SHOWN // 2]}…{text[-SHOWN // 2 :]}"
    return repr(short)
