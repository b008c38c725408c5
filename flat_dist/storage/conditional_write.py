"""Conditional writes on object stores: a file is written only if no other process has changed it."""

import contextlib
import hashlib
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
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
"""Time limit of a request, including retries."""
SETTLE_SECONDS = 1.0
"""Without conditional writes: time between a write and the check whether another driver wrote, too."""
CONFLICTS: tuple[type[Exception], ...] = (exceptions.AlreadyExistsError, exceptions.PreconditionError)
NOT_WRITTEN: tuple[type[Exception], ...] = (*CONFLICTS, FileNotFoundError)
OTHER_TAG = f'"{"0" * 32}"'
UNSUPPORTED = ("400", "405", "501")
"""HTTP statuses of stores that do not support conditional writes."""


@dataclass(frozen=True)
class FileVersion:
    """Content and version of a file at some time."""

    content: bytes
    version: tuple[tuple[str, str], ...]
    """Changes with each write."""


class ConditionalFile(Protocol):
    """A file that several processes may want to write."""

    def read(self) -> FileVersion | None:
        """The current version; None if the file does not exist."""

    def write(self, content: bytes, over: FileVersion | None) -> FileVersion | None:
        """Write the file if its version still is `over` (None: it does not exist); returns None if it is not.

        If the answer to a successful request is lost, the result is None, too, but the file has the new content.
        """


def open_file(folder: Folder, name: str, log_line: Callable[[str], None]) -> ConditionalFile:
    """A file of a folder; `log_line` gets a warning if the store has no conditional writes.

    Raises:
        UserError: the store cannot be reached, or denies access.
    """
    store = _open_store(folder)
    path = f"{folder.location.path}/{name}".lstrip("/")
    place = folder.location.scheme, folder.location.bucket, folder.location.query
    if place not in _supports_conditions:
        _supports_conditions[place] = _has_conditions(store, f"{path}-{secrets.token_hex(8)}", folder.uri)
        if not _supports_conditions[place]:
            log_line(
                f"{folder.uri}: this store has no conditional writes (If-None-Match, If-Match): two drivers that "
                "start within a second may both run for a while, so start one at a time"
            )
    return _NativeFile(store, path, folder.uri) if _supports_conditions[place] else _CheckedFile(folder, name)


_supports_conditions: dict[tuple[str, str, str], bool] = {}
"""Whether a bucket's store has conditional writes."""


class _NativeFile:
    """By the store's own conditions: create if it does not exist, replace if the version is as expected."""

    def __init__(self, store: Any, path: str, uri: str):
        self.store, self.path, self.uri = store, path, uri

    def read(self) -> FileVersion | None:
        try:
            with _translate_error(self.uri, "read", (FileNotFoundError,)):
                found = obstore.get(self.store, self.path)
                return FileVersion(bytes(found.bytes()), _version(found.meta))
        except FileNotFoundError:
            return None

    def write(self, content: bytes, over: FileVersion | None) -> FileVersion | None:
        mode: Any = "create" if over is None else dict(over.version)
        try:
            with _translate_error(self.uri, "written", () if over is None else (FileNotFoundError,)):
                return FileVersion(content, _version(obstore.put(self.store, self.path, content, mode=mode)))
        except NOT_WRITTEN:
            return None


class _CheckedFile:
    """For stores without conditions: write, wait, and check whether another process wrote at the same time."""

    def __init__(self, folder: Folder, name: str):
        assert folder.remote is not None
        self.files, path = folder.remote
        self.path, self.uri = f"{path}/{name}", folder.uri

    def read(self) -> FileVersion | None:
        try:
            with (
                _translate_error(self.uri, "read", (FileNotFoundError,)),
                self.files.open_input_stream(self.path, compression=None) as stream,
            ):
                content = stream.read()
        except FileNotFoundError:
            return None
        return FileVersion(content, (("sha256", hashlib.sha256(content).hexdigest()),))

    def write(self, content: bytes, over: FileVersion | None) -> FileVersion | None:
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
def _translate_error(uri: str, action: str, expected: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    try:
        yield
    except (*CONFLICTS, *expected):
        raise
    except (exceptions.BaseError, OSError) as error:
        raise UserError(
            f"the lock in {uri} cannot be {action} ({first_line(error)}): give access to the store by "
            "credentials in the environment, or name another --storage"
        ) from error


def _has_conditions(store: Any, probe: str, uri: str) -> bool:
    """Whether the store supports both conditions; tried on a temporary file."""
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
    return bool(wrong) and all(_rejects(store, probe, mode) for mode in ("create", wrong))


def _rejects(store: Any, probe: str, mode: Any) -> bool:
    try:
        obstore.put(store, probe, b"2", mode=mode)
    except CONFLICTS:
        return True
    except (exceptions.GenericError, exceptions.NotSupportedError):
        return False
    return False


def _open_store(folder: Folder) -> Any:
    """The bucket, as opened by the library for conditional writes."""
    location, parameters = folder.location, dict(parse_qsl(folder.location.query))
    endpoint = parameters.get("endpoint_override", "")
    if endpoint and "://" not in endpoint:
        endpoint = f"{parameters.get('scheme', 'https')}://{endpoint}"
    options = _client_options(parameters)
    if location.scheme == "gs":
        bucket = location.bucket.removeprefix("anonymous@")
        if bucket != location.bucket:  # a test server, which accepts any token
            options["credential_provider"] = lambda: {"token": "anonymous", "expires_at": None}
        options |= {"base_url": endpoint} if endpoint else {}
        return GCSStore(bucket, **options)
    options |= {"endpoint": endpoint} if endpoint else {}
    assert folder.remote is not None
    options |= _profile()
    return S3Store(location.bucket, region=folder.remote[0].region, disable_bulk_delete=True, **options)


def _client_options(parameters: Mapping[str, str]) -> dict[str, Any]:
    return {
        "client_options": {
            "allow_http": True,  # if the URI or the environment says so
            "allow_invalid_certificates": parameters.get("tls_verify_certificates") == "false",
            "connect_timeout": timedelta(seconds=REQUEST_SECONDS / 3),
            "timeout": timedelta(seconds=REQUEST_SECONDS),
        },
        "retry_config": {"max_retries": 3, "retry_timeout": timedelta(seconds=REQUEST_SECONDS)},
    }


def _profile() -> dict[str, str]:
    """Keys from AWS's credentials file, because the library reads only environment and instance."""
    if "AWS_ACCESS_KEY_ID" in os.environ or "AWS_WEB_IDENTITY_TOKEN_FILE" in os.environ:
        return {}
    file = os.environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials")
    profiles = ConfigParser(interpolation=None)
    with contextlib.suppress(Error, OSError, UnicodeDecodeError, RuntimeError):  # no readable keys
        profiles.read_string(Path(file).expanduser().read_text())
    found = os.environ.get("AWS_PROFILE", "default")
    if not profiles.has_option(found, "aws_access_key_id"):
        return {}
    keys = ("access_key_id", "secret_access_key", "session_token")
    return {key: profiles[found][f"aws_{key}"] for key in keys if profiles.has_option(found, f"aws_{key}")}
