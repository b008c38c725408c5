"""Buckets of object stores, as file systems."""

import functools
import http.client
import urllib.error
import urllib.request
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlencode

from pyarrow import fs

from flat_dist.config.errors import UserError

CONNECT_SECONDS = 10.0
"""Longest wait for a store's answer."""


@functools.lru_cache
def open_bucket(scheme: str, bucket: str, query: str) -> tuple[fs.FileSystem, str]:
    """The file system of a bucket and the path of its root; cached, because opening it may send requests."""
    parameters = dict(parse_qsl(query))
    if scheme == "s3":  # one request for a small file instead of three
        parameters.setdefault("allow_delayed_open", "true")
    else:
        _check_reachable(parameters)
        parameters.setdefault("retry_limit_seconds", f"{CONNECT_SECONDS:.0f}")
    try:
        opened: tuple[fs.FileSystem, str] = fs.FileSystem.from_uri(f"{scheme}://{bucket}/?{urlencode(parameters)}")
    except (ValueError, OSError) as error:
        raise UserError(f"cannot use {f'{scheme}://{bucket}'!r} as a folder: {first_line(error)}") from error
    return opened


def first_line(error: Exception) -> str:
    """First line of an error of a file system's library."""
    return (str(error) or type(error).__name__).splitlines()[0].partition(" error_info=")[0]


def _check_reachable(parameters: Mapping[str, str]) -> None:
    """Raise UserError if Google's storage does not answer; its client would wait for minutes."""
    scheme, host = parameters.get("scheme", "https"), parameters.get("endpoint_override", "storage.googleapis.com")
    try:
        with urllib.request.urlopen(f"{scheme}://{host}/", timeout=CONNECT_SECONDS):
            pass
    except urllib.error.HTTPError:
        pass  # an answer
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise UserError(
            f"{host}, the server of gs://, cannot be reached ({error}): check the network and the URI"
        ) from error
