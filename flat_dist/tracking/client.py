"""Connections to MLflow, and its errors as messages for the user."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from flat_dist.config.errors import UserError
from flat_dist.tracking import address, quiet
from flat_dist.tracking.tracker import Destination

if TYPE_CHECKING:
    from mlflow import MlflowClient

ALTERNATIVES = "name another with --tracking.uri, or run with --tracking.no-enabled"


def open_client(uri: str) -> "MlflowClient":
    """A client of a server or a database."""
    quiet.configure()
    from mlflow import MlflowClient

    if uri.startswith(address.DATABASES):  # fail soon if it is unavailable: MLflow itself tries for minutes
        import sqlalchemy

        engine = sqlalchemy.create_engine(uri)
        engine.connect().close()
        engine.dispose()
    return MlflowClient(tracking_uri=uri)


def find_experiment(client: "MlflowClient", destination: Destination) -> str | None:
    """Id of the experiment; None if it does not exist yet.

    Raises:
        UserError: the experiment is deleted.
    """
    experiment = client.get_experiment_by_name(destination.experiment)
    if experiment is None:
        return None
    if experiment.lifecycle_stage == "deleted":
        raise UserError(
            f"the experiment {destination.experiment} is deleted at {destination.uri}: restore it, or name another "
            "with --tracking.experiment"
        )
    return check_id(experiment.experiment_id)


def check_id(identity: str | None) -> str:
    """An id from an answer of the server.

    Raises:
        ValueError: there is none: the server answers, but is not MLflow.
    """
    if not identity:
        raise ValueError("its answer is not MLflow's")
    return identity


@contextmanager
def translate_errors(uri: str) -> Iterator[None]:
    """Turn every error of a server into a UserError that names the server and says what to do."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # MLflow, its drivers and invalid answers raise many types
        raise UserError(_translate_error(uri, error)) from error


def _translate_error(uri: str, error: Exception) -> str:
    first_line = (str(error).strip().splitlines() or [""])[0] or type(error).__name__
    reason = first_line[:300]
    code = getattr(error, "error_code", None)
    if code == "UNAUTHENTICATED":
        return f"MLflow at {uri} needs a login, or rejects this one: {address.LOGIN}"
    if code == "PERMISSION_DENIED":
        return f"MLflow at {uri} denies permission ({reason}): ask for access, or {ALTERNATIVES}"
    if "failed with exception" in first_line:
        reason = first_line.split(": ")[-1].strip("'\")")  # the innermost of nested errors
        return f"MLflow cannot be reached at {uri} ({reason}): start it, {ALTERNATIVES}"
    return f"MLflow at {uri} cannot be used ({reason}): check the server, {ALTERNATIVES}"
