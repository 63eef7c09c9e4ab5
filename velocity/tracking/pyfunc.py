"""The recogniser behind ``mlflow models serve``: recordings in, texts out. MLflow copies this file into the model.

A client sends ``{"dataframe_split": {"columns": ["audio"], "data": [["<Base64 of a WAV, FLAC, Opus … file>"]]}}``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException

from velocity.audio import read_blocks
from velocity.errors import VelocityError
from velocity.recognition.offline import VelocityASR


class Recogniser(mlflow.pyfunc.PythonModel):
    """The INT8 model where there is one, otherwise the one there is."""

    def load_context(self, context: Any) -> None:
        folders = {Path(folder).name: folder for folder in context.artifacts.values()}
        self.model = VelocityASR(folders.get("onnx-int8") or next(iter(folders.values())))

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> pd.DataFrame:
        """(rows,) of ``audio``, each the bytes of a file → (rows,) of ``text``. For others the answer is 400."""
        recordings = (read_blocks(audio, name=f"row {row}") for row, audio in enumerate(model_input["audio"]))
        try:
            return pd.DataFrame({"text": [self.model.transcribe(recording) for recording in recordings]})
        except VelocityError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error


mlflow.models.set_model(Recogniser())
