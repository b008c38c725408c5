"""MLflow's settings in this process: no telemetry, no tracebacks in the log, short waits for a server.

Environment variables that the user sets take precedence.
"""

import logging
import os

SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # fail soon: by default, MLflow tries for minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",  # seconds
}

NOISY_LOGGERS = ("mlflow.store.db.utils", "mlflow.utils.databricks_utils")
"""Loggers that print a traceback of an error that they also raise."""


def configure() -> None:
    """Apply the settings. Call it before MLflow is imported."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    for name in NOISY_LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
