"""How MLflow behaves in this process: no telemetry, no tracebacks in the log, and no long wait for a server.

What the user sets in the environment wins.
"""

import logging
import os

SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # say soon that a server is away, instead of trying for minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",  # seconds
}

LOUD = ("mlflow.store.db.utils", "mlflow.utils.databricks_utils")
"""Loggers that print with a traceback what they raise as well."""


def settle() -> None:
    """Set up the environment; called before MLflow is imported."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    for name in LOUD:
        logging.getLogger(name).setLevel(logging.CRITICAL)
