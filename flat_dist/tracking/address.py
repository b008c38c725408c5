"""Addresses of MLflow: which are accepted, and which file an SQLite address names."""

import re
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlsplit

from flat_dist.config.errors import UserError
from flat_dist.storage.location import carries_credentials

SERVERS = ("http", "https")
DATABASES = ("mysql", "mssql", "postgresql")
"""Database servers, each of which needs a driver that is installed separately."""

BEFORE_HOST = re.compile(r"([\w+.-]+://)?[^/?#@]*:[^/@]*@")
"""A name and a password before the host, also where there is no scheme."""

POSSIBLE = (
    "give http://HOST:5000 (a server) or sqlite:////absolute/path/mlflow.db (a file), or leave it out for a file "
    "beside the runs"
)
LOGIN = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"


def secrets_in(uri: str) -> bool:
    """Whether an address carries a password, a token or a key."""
    in_odbc = "pwd=" in unquote(uri).lower()
    return carries_credentials(uri) or in_odbc or BEFORE_HOST.match(uri) is not None


def check(uri: str) -> None:
    """Raise UserError if MLflow cannot log to an address, or the address holds a secret; asks no server."""
    if secrets_in(uri):
        raise UserError(
            "--tracking.uri holds a password or a token, and addresses are printed and stored: leave it out, and "
            f"{LOGIN} (a database's password: as its driver reads it, such as PGPASSWORD or ~/.my.cnf)"
        )
    scheme = _scheme(uri)
    if scheme == "sqlite":
        file_of(uri)
    elif scheme in DATABASES:
        _check_driver(uri)
    elif scheme in SERVERS:
        _check_host(uri)
    elif uri != "databricks" and scheme not in ("databricks", *_plugins()):
        raise UserError(f"--tracking.uri {uri!r} is no place that MLflow logs to: {POSSIBLE}")


def _scheme(uri: str) -> str:
    """What the address is of, without a driver's name."""
    scheme, colon, _ = uri.partition(":")
    return scheme.partition("+")[0] if colon else ""


def _plugins() -> set[str]:
    return {point.name for point in metadata.entry_points(group="mlflow.tracking_store")}


def _check_host(uri: str) -> None:
    try:
        parts = urlsplit(uri)
        complete = bool(parts.hostname) and parts.port != 0 and not re.search(r"\s", uri)
    except ValueError:  # the port is no number, or none that exists, or a bracket is not closed
        complete = False
    if not complete:
        raise UserError(f"--tracking.uri {uri!r} names no host and port: {POSSIBLE}")


def _check_driver(uri: str) -> None:
    import sqlalchemy

    try:
        url = sqlalchemy.make_url(uri)
        url.get_dialect().import_dbapi()
    except ImportError as error:
        raise UserError(
            f"--tracking.uri {url.drivername}://… needs a driver that is not installed ({error}): install it, or start "
            "`mlflow server` with that database and name the server"
        ) from error
    except (sqlalchemy.exc.ArgumentError, ValueError) as error:
        raise UserError(f"--tracking.uri {_scheme(uri)}://… is no address of a database: {POSSIBLE}") from error
    if url.password:
        raise UserError(
            f"--tracking.uri {url.drivername}://… holds a password, and addresses are printed and stored: leave it "
            "out, and give it as the driver reads it, such as PGPASSWORD or ~/.my.cnf"
        )


def uri_of(file: Path) -> str:
    """The address of an SQLite file, for MLflow and its UI."""
    quoted = str(file).replace("%", "%25").replace("?", "%3F")
    # With the driver's name, MLflow does not create a folder that is named by the quoted path.
    return f"{'sqlite' if quoted == str(file) else 'sqlite+pysqlite'}:///{quoted}"


def file_of(uri: str) -> Path | None:
    """The file that an SQLite address names, as an absolute path; None for any other address.

    Raises:
        UserError: it is an SQLite address, but names no file.
    """
    if _scheme(uri) != "sqlite":
        return None
    found = re.fullmatch(r"sqlite(\+pysqlite)?:///([^?]+)", uri, re.DOTALL)
    path = unquote(found[2]) if found else ""
    if not path or path == ":memory:" or path.startswith("file:") or "\0" in path:
        raise UserError(
            f"--tracking.uri {uri!r} names no SQLite file: write sqlite:////absolute/path/mlflow.db, with %3F for a "
            "question mark in it and %25 for a percent sign"
        )
    return Path(path).expanduser().absolute()
