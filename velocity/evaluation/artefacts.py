"""The exported artefacts as recognisers that compute posteriors, what each is held to, and by which bars."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np

from velocity.recognition.offline import VelocityASR
from velocity.recognition.streaming import StreamingASR

Posteriors = Callable[[np.ndarray], np.ndarray]  # log-mel (1, frames, 80) → log-posteriors (1, frames', V), float32

# The model in PyTorch that an artefact is to compute: floating point; fake-quantised, as quantisation-aware training
# left it; in floating point with the trained integers for weights; with weights of few bits.
Reference = Literal["float", "int8", "int8-weights", "int4", "int2"]


@dataclass(frozen=True)
class Bars:
    """What an artefact must reach to be what was trained."""

    argmax: float  # least share of frames with PyTorch's best class
    max_abs_error: float  # greatest error of a log-posterior


FLOAT = Bars(argmax=0.999, max_abs_error=1e-3)
HALF = Bars(argmax=0.995, max_abs_error=1.0)  # products and activations in 16 bits
INT8 = Bars(argmax=0.995, max_abs_error=float("inf"))  # a sum in another order rounds to another integer now and then


class Recogniser(VelocityASR):
    """The recogniser ``like`` in which ``posteriors`` computes; chunks, decoding and tokens stay the same."""

    def __init__(self, like: VelocityASR, posteriors: Posteriors) -> None:
        vars(self).update(vars(like))
        self._posteriors = posteriors

    def __call__(self, mel: Any) -> np.ndarray:
        mel = np.asarray(mel, dtype=np.float32)
        return self._posteriors(mel[None] if mel.ndim == 2 else mel)


@dataclass(frozen=True)
class Artefact:
    """How an exported folder is run here, and what it is compared with."""

    load: Callable[[Path], Posteriors]
    library: str
    reference: Reference
    bars: Bars
    words: Reference  # what its words are compared with
    near_float: bool = True  # its words with those of the floating-point artefact as well
    whole: bool = True  # fast enough here for whole test sets

    def installed(self) -> bool:
        return find_spec(self.library) is not None


def run_streaming(folder: Path) -> Posteriors:
    """Chunk by chunk, each with the state that the one before it left, as live sound is heard."""
    model = StreamingASR(folder)

    def log_probs(mel: np.ndarray) -> np.ndarray:
        frames = mel.shape[1]
        filled = -(model.lead_frames + frames) % model.chunk_frames
        padded = np.pad(mel[0], ((model.lead_frames, filled), (0, 0)))
        state, heard = model.initial_state(), []
        for start in range(0, len(padded), model.chunk_frames):
            chunk, state = model.step(padded[start : start + model.chunk_frames], state)
            heard.append(chunk)
        return np.concatenate(heard)[None, : -(-frames // model.stride)]

    return log_probs


def run_tflite(folder: Path) -> Posteriors:
    from velocity.artefacts.tflite import TFLiteModel

    return TFLiteModel(folder / "model.tflite")


def run_coreml(folder: Path) -> Posteriors:
    """Core ML itself where it is, on a Mac; anywhere else the interpreter of its program."""
    from velocity.artefacts.coreml import PACKAGE
    from velocity.artefacts.mlpackage import import_coremltools
    from velocity.evaluation.mil import MilProgram

    if sys.platform != "darwin":
        return MilProgram(folder / PACKAGE)
    model = import_coremltools().models.MLModel(str(folder / PACKAGE))
    return lambda mel: model.predict({"mel_spectrogram": mel})["log_probs"]


ARTEFACTS = {
    "onnx": Artefact(VelocityASR, "onnxruntime", "float", FLOAT, "float"),
    "onnx-int8": Artefact(VelocityASR, "onnxruntime", "int8", INT8, "int8"),
    "onnx-streaming": Artefact(run_streaming, "onnxruntime", "float", FLOAT, "float"),
    "onnx-streaming-int8": Artefact(run_streaming, "onnxruntime", "int8", INT8, "int8"),
    "onnx-int4": Artefact(VelocityASR, "onnxruntime", "int4", HALF, "int4", near_float=False),
    "onnx-int2": Artefact(VelocityASR, "onnxruntime", "int2", HALF, "int2", near_float=False),
    "tflite": Artefact(run_tflite, "ai_edge_litert", "float", FLOAT, "float"),
    "tflite-int8": Artefact(run_tflite, "ai_edge_litert", "int8", INT8, "int8"),
    "coreml": Artefact(run_coreml, "coremltools", "float", HALF, "float", whole=False),
    "coreml-int8": Artefact(run_coreml, "coremltools", "int8-weights", HALF, "int8", whole=False),
}
