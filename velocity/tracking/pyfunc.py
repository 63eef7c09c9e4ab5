"""The recogniser behind ``mlflow models serve``: recordings in, texts out. MLflow copies this file into the model.

A client sends ``{"dataframe_split": {"columns": ["audio"], "data": [["<Base64 of a WAV, FLAC, Opus … file>"]]}}``.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException

from velocity.errors import VelocityError
from velocity.recognition.offline import VelocityASR


class Recogniser(mlflow.pyfunc.PythonModel):
    """The INT8 model where there is one, otherwise the one there is."""

    def load_context(self, context: Any) -> None:
        folders = {Path(folder).name: folder for folder in context.artifacts.values()}
        self.model = VelocityASR(folders.get("onnx-int8") or next(iter(folders.values())))

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> pd.DataFrame:
        """(rows,) of ``audio``, each the bytes of an audio file → (rows,) of ``text``.

        Raises MlflowException, which the server answers as 400, for bytes that are no audio.
        """
        return pd.DataFrame({"text": [self._text(row, audio) for row, audio in enumerate(model_input["audio"])]})

    def _text(self, row: int, audio: bytes) -> str:
        with NamedTemporaryFile() as file:
            file.write(audio)
            file.flush()
            try:
                return self.model.transcribe(file.name)
            except VelocityError as error:
                reason = str(error).replace(file.name, f"row {row}")
                raise MlflowException.invalid_parameter_value(reason) from error


mlflow.models.set_model(Recogniser())
