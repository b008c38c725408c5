"""Buckets of object stores, as file systems."""

import functools
import http.client
import urllib.error
import urllib.request
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlencode

from pyarrow import fs

from flat_dist.config.errors import UserError

REACH_SECONDS = 10.0
"""After which a store that does not answer is given up."""


@functools.lru_cache
def open_bucket(scheme: str, bucket: str, query: str) -> tuple[fs.FileSystem, str]:
    """The file system of a bucket, and the path of its root: made once, because it may ask where the bucket is."""
    parameters = dict(parse_qsl(query))
    if scheme == "s3":  # a small file is then one request instead of three
        parameters.setdefault("allow_delayed_open", "true")
    else:
        _reach(parameters)
        parameters.setdefault("retry_limit_seconds", f"{REACH_SECONDS:.0f}")
    try:
        found: tuple[fs.FileSystem, str] = fs.FileSystem.from_uri(f"{scheme}://{bucket}/?{urlencode(parameters)}")
    except (ValueError, OSError) as error:
        raise UserError(f"cannot use {f'{scheme}://{bucket}'!r} as a folder: {first_line(error)}") from error
    return found


def first_line(error: Exception) -> str:
    """What an error of a file system's library says to people."""
    return (str(error) or type(error).__name__).splitlines()[0].partition(" error_info=")[0]


def _reach(parameters: Mapping[str, str]) -> None:
    """Raise UserError if Google's storage does not answer: its client waits for minutes for a host that is silent."""
    scheme, host = parameters.get("scheme", "https"), parameters.get("endpoint_override", "storage.googleapis.com")
    try:
        with urllib.request.urlopen(f"{scheme}://{host}/", timeout=REACH_SECONDS):
            pass
    except urllib.error.HTTPError:
        pass  # an answer
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise UserError(
            f"{host}, where gs:// is, cannot be reached ({error}): check the network and the URI"
        ) from error
