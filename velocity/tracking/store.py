"""The store that MLflow writes to, and a local database that is there whole or not at all."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

from velocity.errors import without_credentials
from velocity.files import atomic_path
from velocity.project import local_database

# Silent, and soon aware of a server that does not answer; the user's own settings come first.
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}


def connect(uri: str) -> Any:
    """A client of the store at ``uri``, which is made if it is a local database, and MLflow's own from now on."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import mlflow

    create_store(uri)
    mlflow.set_tracking_uri(uri)
    return mlflow.MlflowClient()


def reason(error: Exception) -> str:
    """What MLflow raised, on one line."""
    return without_credentials((str(error).strip().splitlines() or [type(error).__name__])[0])[:300]


def create_store(uri: str) -> None:
    """Create a local database that is not there yet. MLflow killed among its dozens of migrations leaves a file that it
    cannot open again, so it builds in a temporary folder, and what it has built is moved here."""
    database = local_database(uri)
    if database is None or database.exists():
        return
    import mlflow
    from filelock import FileLock

    with FileLock(f"{database}.lock"), tempfile.TemporaryDirectory() as temporary:
        if database.exists():
            return
        built = Path(temporary, database.name)
        mlflow.MlflowClient(f"sqlite:///{built}", f"sqlite:///{built}").search_registered_models()
        with atomic_path(database) as path, closing(sqlite3.connect(built)) as store:
            store.execute("VACUUM INTO ?", [str(path)])
