"""A file on an object store that is written only if nobody else has written it meanwhile."""

import contextlib
import hashlib
import os
import secrets
import time
from collections.abc import Callable, Iterator
from configparser import ConfigParser, Error
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qsl

import obstore
from obstore import exceptions
from obstore.store import GCSStore, S3Store

from flat_dist.config.errors import UserError
from flat_dist.storage.bucket import first_line
from flat_dist.storage.folder import Folder

REQUEST_SECONDS = 10.0
"""After which a request, and trying it again, is given up."""
SETTLE_SECONDS = 1.0
"""Where a store has no conditional writes: between writing a file and looking whether another driver wrote it, too."""
CONFLICTS: tuple[type[Exception], ...] = (exceptions.AlreadyExistsError, exceptions.PreconditionError)
GONE: tuple[type[Exception], ...] = (*CONFLICTS, FileNotFoundError)
OTHER_TAG = f'"{"0" * 32}"'
UNSUPPORTED = ("400", "405", "501")
"""HTTP statuses by which a store says that it does not know a condition."""


@dataclass(frozen=True)
class Seen:
    """A file as it was seen, or left, at some time."""

    content: bytes
    version: tuple[tuple[str, str], ...]
    """Differs from that of the same file at any other time."""


class File(Protocol):
    """A file that several processes may want to write."""

    def read(self) -> Seen | None:
        """The file; None if there is none."""

    def write(self, content: bytes, over: Seen | None) -> Seen | None:
        """Write the file if it still is as seen before (None: not there); None if it is not, and nothing is written.

        A request may have been carried out although its answer was lost: `None` then, and the content is the file's.
        """


def open_file(folder: Folder, name: str, log_line: Callable[[str], None]) -> File:
    """The file, written by conditional writes if the store has them; `say` is told if it has not.

    Raises:
        UserError: the store cannot be reached, or does not let us in.
    """
    store = _store(folder)
    path = f"{folder.location.path}/{name}".lstrip("/")
    place = folder.location.scheme, folder.location.bucket, folder.location.query
    if place not in _known:
        _known[place] = _has_conditions(store, f"{path}-{secrets.token_hex(8)}", folder.uri)
        if not _known[place]:
            log_line(
                f"{folder.uri}: this store has no conditional writes (If-None-Match, If-Match), so that of two drivers "
                "that start within a second both may go on for a while: start one at a time"
            )
    return _Conditional(store, path, folder.uri) if _known[place] else _Settling(folder, name)


_known: dict[tuple[str, str, str], bool] = {}
"""Whether a bucket's store has conditional writes."""


class _Conditional:
    """By the store's own condition: create if it is not there, replace if it is the version that was seen."""

    def __init__(self, store: Any, path: str, uri: str):
        self.store, self.path, self.uri = store, path, uri

    def read(self) -> Seen | None:
        try:
            with _translate_error(self.uri, "read", (FileNotFoundError,)):
                found = obstore.get(self.store, self.path)
                return Seen(bytes(found.bytes()), _version(found.meta))
        except FileNotFoundError:
            return None

    def write(self, content: bytes, over: Seen | None) -> Seen | None:
        mode: Any = "create" if over is None else dict(over.version)
        try:
            with _translate_error(self.uri, "written", () if over is None else (FileNotFoundError,)):
                return Seen(content, _version(obstore.put(self.store, self.path, content, mode=mode)))
        except GONE:
            return None


class _Settling:
    """By writing, waiting, and looking whether another wrote at the same moment: for stores without conditions."""

    def __init__(self, folder: Folder, name: str):
        assert folder.remote is not None
        self.files, path = folder.remote
        self.path, self.uri = f"{path}/{name}", folder.uri

    def read(self) -> Seen | None:
        try:
            with (
                _translate_error(self.uri, "read", (FileNotFoundError,)),
                self.files.open_input_stream(self.path, compression=None) as stream,
            ):
                content = stream.read()
        except FileNotFoundError:
            return None
        return Seen(content, (("sha256", hashlib.sha256(content).hexdigest()),))

    def write(self, content: bytes, over: Seen | None) -> Seen | None:
        if self.read() != over:
            return None
        with (
            _translate_error(self.uri, "written"),
            self.files.open_output_stream(self.path, compression=None) as stream,
        ):
            stream.write(content)
        time.sleep(SETTLE_SECONDS)
        found = self.read()
        return found if found and found.content == content else None


def _version(found: Any) -> tuple[tuple[str, str], ...]:
    return tuple((name, found[name]) for name in ("e_tag", "version") if found.get(name) is not None)


@contextlib.contextmanager
def _translate_error(uri: str, done: str, expected: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    try:
        yield
    except (*CONFLICTS, *expected):
        raise
    except (exceptions.BaseError, OSError) as error:
        raise UserError(
            f"the lock in {uri} cannot be {done} ({first_line(error)}): give access to the store by "
            "credentials in the environment, or name another --storage"
        ) from error


def _has_conditions(store: Any, probe: str, uri: str) -> bool:
    """Whether the store keeps to both conditions, tried on a file of its own."""
    with _translate_error(uri, "written"):
        try:
            return _try_conditions(store, probe)
        finally:
            with contextlib.suppress(exceptions.BaseError, OSError):
                obstore.delete(store, probe)


def _try_conditions(store: Any, probe: str) -> bool:
    try:
        first = obstore.put(store, probe, b"1", mode="create")
    except exceptions.NotSupportedError:
        return False
    except exceptions.GenericError as error:
        if any(f"status code: {status}" in str(error) for status in UNSUPPORTED):
            return False
        raise
    wrong = {name: OTHER_TAG if name == "e_tag" else f"{value}0" for name, value in _version(first)}
    return bool(wrong) and all(_refuses(store, probe, mode) for mode in ("create", wrong))


def _refuses(store: Any, probe: str, mode: Any) -> bool:
    try:
        obstore.put(store, probe, b"2", mode=mode)
    except CONFLICTS:
        return True
    except (exceptions.GenericError, exceptions.NotSupportedError):
        return False
    return False


def _store(folder: Folder) -> Any:
    """The bucket, as the library of conditional writes opens it."""
    place, parameters = folder.location, dict(parse_qsl(folder.location.query))
    endpoint = parameters.get("endpoint_override", "")
    if endpoint and "://" not in endpoint:
        endpoint = f"{parameters.get('scheme', 'https')}://{endpoint}"
    options: dict[str, Any] = {
        "client_options": {
            "allow_http": True,  # where the URI, or the environment, says so
            "allow_invalid_certificates": parameters.get("tls_verify_certificates") == "false",
            "connect_timeout": timedelta(seconds=REQUEST_SECONDS / 3),
            "timeout": timedelta(seconds=REQUEST_SECONDS),
        },
        "retry_config": {"max_retries": 3, "retry_timeout": timedelta(seconds=REQUEST_SECONDS)},
    }
    if place.scheme == "gs":
        bucket = place.bucket.removeprefix("anonymous@")
        if bucket != place.bucket:  # a server for tests, which takes any token
            options["credential_provider"] = lambda: {"token": "anonymous", "expires_at": None}
        options |= {"base_url": endpoint} if endpoint else {}
        return GCSStore(bucket, **options)
    options |= {"endpoint": endpoint} if endpoint else {}
    assert folder.remote is not None
    region = folder.remote[0].region
    options |= _profile()
    return S3Store(place.bucket, region=region, disable_bulk_delete=True, **options)


def _profile() -> dict[str, str]:
    """Keys from the credentials file of AWS, which the library does not read: it knows environment and instance."""
    if "AWS_ACCESS_KEY_ID" in os.environ or "AWS_WEB_IDENTITY_TOKEN_FILE" in os.environ:
        return {}
    file = os.environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials")
    profiles = ConfigParser(interpolation=None)
    with contextlib.suppress(Error, OSError, UnicodeDecodeError, RuntimeError):  # then there are no keys in it
        profiles.read_string(Path(file).expanduser().read_text())
    found = os.environ.get("AWS_PROFILE", "default")
    if not profiles.has_option(found, "aws_access_key_id"):
        return {}
    keys = ("access_key_id", "secret_access_key", "session_token")
    return {key: profiles[found][f"aws_{key}"] for key in keys if profiles.has_option(found, f"aws_{key}")}
