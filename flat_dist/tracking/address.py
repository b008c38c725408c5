"""MLflow addresses: which ones are valid, and the file of an SQLite address."""

import re
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlsplit

from flat_dist.config.errors import UserError
from flat_dist.storage.location import carries_credentials

SERVERS = ("http", "https")
DATABASES = ("mysql", "mssql", "postgresql")
"""Database servers. Each needs a driver that is installed separately."""

LOGIN_BEFORE_HOST = re.compile(r"([\w+.-]+://)?[^/?#@]*:[^/@]*@")
"""A name and a password before the host, with or without a scheme."""

EXAMPLES = (
    "give http://HOST:5000 (a server) or sqlite:////absolute/path/mlflow.db (a file), or omit it to use a file beside "
    "the runs"
)
LOGIN = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"


def holds_secret(uri: str) -> bool:
    """Whether an address contains a password, a token or a key."""
    in_odbc = "pwd=" in unquote(uri).lower()
    return carries_credentials(uri) or in_odbc or LOGIN_BEFORE_HOST.match(uri) is not None


def check(uri: str) -> None:
    """Raise UserError if MLflow cannot log to an address, or if it contains a secret. Does not connect."""
    if holds_secret(uri):
        raise UserError(
            "--tracking.uri contains a password or a token, and addresses are printed and stored: remove it, and "
            f"{LOGIN} (for a database: its driver's setting, such as PGPASSWORD or ~/.my.cnf)"
        )
    scheme = _scheme(uri)
    if scheme == "sqlite":
        file_of(uri)
    elif scheme in DATABASES:
        _check_driver(uri)
    elif scheme in SERVERS:
        _check_host(uri)
    elif uri != "databricks" and scheme not in ("databricks", *_plugins()):
        raise UserError(f"--tracking.uri {uri!r} is not an address that MLflow can log to: {EXAMPLES}")


def _scheme(uri: str) -> str:
    """The scheme of an address, without the driver."""
    scheme, colon, _ = uri.partition(":")
    return scheme.partition("+")[0] if colon else ""


def _plugins() -> set[str]:
    return {point.name for point in metadata.entry_points(group="mlflow.tracking_store")}


def _check_host(uri: str) -> None:
    try:
        parts = urlsplit(uri)
        complete = bool(parts.hostname) and parts.port != 0 and not re.search(r"\s", uri)
    except ValueError:  # an invalid port, or an unclosed bracket
        complete = False
    if not complete:
        raise UserError(f"--tracking.uri {uri!r} has no valid host and port: {EXAMPLES}")


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
        raise UserError(f"--tracking.uri {_scheme(uri)}://… is not a database address: {EXAMPLES}") from error
    if url.password:
        raise UserError(
            f"--tracking.uri {url.drivername}://… contains a password, and addresses are printed and stored: remove it "
            "and use the driver's setting, such as PGPASSWORD or ~/.my.cnf"
        )


def uri_of(file: Path) -> str:
    """The SQLite address of a file, for MLflow and its UI."""
    quoted = str(file).replace("%", "%25").replace("?", "%3F")
    # Without the driver's name, MLflow creates a folder with the quoted path as its name.
    return f"{'sqlite' if quoted == str(file) else 'sqlite+pysqlite'}:///{quoted}"


def file_of(uri: str) -> Path | None:
    """The file of an SQLite address, as an absolute path; None for any other address.

    Raises:
        UserError: it is an SQLite address without a file.
    """
    if _scheme(uri) != "sqlite":
        return None
    match = re.fullmatch(r"sqlite(\+pysqlite)?:///([^?]+)", uri, re.DOTALL)
    path = unquote(match[2]) if match else ""
    if not path or path == ":memory:" or path.startswith("file:") or "\0" in path:
        raise UserError(
            f"--tracking.uri {uri!r} does not name an SQLite file: write sqlite:////absolute/path/mlflow.db, with %3F "
            "for a question mark and %25 for a percent sign"
        )
    return Path(path).expanduser().absolute()
