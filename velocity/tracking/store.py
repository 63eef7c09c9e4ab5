"""The store that MLflow writes to: its lock, and a local database that is there whole or not at all."""

from __future__ import annotations

import hashlib
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from velocity.files import atomic_path
from velocity.project import local_database

# Silent, and soon aware of a server that does not answer; the user's own settings come first.
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}


def lock_path(uri: str) -> Path:
    """Beside a local database, otherwise in this machine's folder for temporary files."""
    named = Path(tempfile.gettempdir(), f"velocity-asr-{hashlib.sha256(uri.encode()).hexdigest()[:16]}")
    return Path(f"{local_database(uri) or named}.lock")


def create_store(uri: str) -> None:
    """Create a local database that is not there yet. MLflow killed among its dozens of migrations leaves a file that it
    cannot open again, so it builds in a temporary folder, and what it has built is moved here."""
    database = local_database(uri)
    if database is None or database.exists():
        return
    import mlflow
    from filelock import FileLock

    with FileLock(lock_path(uri)):
        if database.exists():
            return
        with tempfile.TemporaryDirectory() as temporary, atomic_path(database) as finished:
            built = Path(temporary, database.name)
            mlflow.MlflowClient(f"sqlite:///{built}", f"sqlite:///{built}").search_registered_models()
            with closing(sqlite3.connect(built)) as source, closing(sqlite3.connect(finished)) as target:
                source.backup(target)
