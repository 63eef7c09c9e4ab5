"""Exported models as one MLflow model: what goes in, what comes out, an example, and the code as a readable file."""

from __future__ import annotations

from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

NAME = "velocity-asr"
CODE = Path(__file__).with_name("pyfunc.py")  # run by the server; whoever loads the model without it runs nothing


def log_model(client: Any, run_id: str, folders: list[Path]) -> str:
    """Keep ``folders`` with the run, under ``artifacts/`` of the model; returns its URI, ``models:/<id>``."""
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    run = client.get_run(run_id)
    made = client.create_logged_model(run.info.experiment_id, NAME, source_run_id=run_id, params=run.data.params)
    with mlflow.start_run(run_id=run_id):
        mlflow.pyfunc.log_model(
            python_model=str(CODE),
            artifacts={folder.name: str(folder) for folder in folders},
            signature=ModelSignature(Schema([ColSpec("binary", "audio")]), Schema([ColSpec("string", "text")])),
            input_example=example(),
            pip_requirements=[f"velocity-asr=={version('velocity-asr')}", f"mlflow=={mlflow.__version__}"],
            model_id=made.model_id,
        )
    return made.model_uri


def example() -> Any:
    """A request of one recording: a fifth of a second of a tone, as FLAC."""
    import pandas as pd
    import soundfile

    from velocity.audio import SAMPLE_RATE

    tone = 0.1 * np.sin(2 * np.pi * 440.0 * np.arange(SAMPLE_RATE // 5) / SAMPLE_RATE)
    file = BytesIO()
    soundfile.write(file, tone, SAMPLE_RATE, format="FLAC")
    return pd.DataFrame({"audio": [file.getvalue()]})
