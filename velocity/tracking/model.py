"""Exported models as one MLflow model: what goes in, what comes out, an example, and the code as a readable file."""

from __future__ import annotations

from importlib.metadata import version
from io import BytesIO
from pathlib import Path

NAME = "velocity-asr"
CODE = Path(__file__).with_name("pyfunc.py")  # run by the server; whoever loads the model without it runs nothing


def log_model(run_id: str, folders: list[Path]) -> str:
    """Keep ``folders`` with the run, under ``artifacts/`` of the model; returns its URI, ``models:/<id>``."""
    import mlflow
    import pandas as pd
    import soundfile
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    from velocity.audio import SAMPLE_RATE

    silence = BytesIO()
    soundfile.write(silence, [0.0] * SAMPLE_RATE, SAMPLE_RATE, format="FLAC")
    with mlflow.start_run(run_id=run_id):
        return mlflow.pyfunc.log_model(
            name=NAME,
            python_model=str(CODE),
            artifacts={folder.name: str(folder) for folder in folders},
            signature=ModelSignature(Schema([ColSpec("binary", "audio")]), Schema([ColSpec("string", "text")])),
            input_example=pd.DataFrame({"audio": [silence.getvalue()]}),
            pip_requirements=[f"velocity-asr=={version('velocity-asr')}", f"mlflow=={mlflow.__version__}"],
        ).model_uri
