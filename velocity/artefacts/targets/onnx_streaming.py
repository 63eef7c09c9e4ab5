"""ONNX of a causal model's chunk step, for live audio, in floating point and in 8 bits."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from velocity.artefacts.target import FLOAT, INT8, Comparison, Target

if TYPE_CHECKING:
    import numpy as np

    from velocity.artefacts.trained import Trained


def write_streaming(trained: Trained, folder: Path, source: Path | None, int8: bool) -> dict[str, Any]:
    import onnx

    from velocity.artefacts.onnx_chunks import describe_streaming, export_onnx_streaming
    from velocity.artefacts.onnx_graph import save_graph
    from velocity.artefacts.onnx_int8 import quantize_graph

    model = trained.load(phones=True)
    described = {"streaming": describe_streaming(model)}
    graph = onnx.load(source / "model.onnx") if source else export_onnx_streaming(model)
    if int8:
        quantize_graph(graph, trained.load_int8(phones=True))
    return described | save_graph(graph, folder, trained, "onnx-streaming-int8" if int8 else "onnx-streaming")


class Chunked:
    """A streaming model chunk by chunk, each with the state that the one before it left, as live audio is recognised:
    log-mel (1, frames, 80) → log-posteriors (1, frames', V), with ``phones`` those of the phones."""

    def __init__(self, folder: Path, threads: int) -> None:
        from velocity.recognition.streaming import StreamingASR

        self._model = StreamingASR(folder, threads)
        self.gives_phones = self._model.gives_phones

    def __call__(self, mel: np.ndarray, phones: bool = False) -> np.ndarray:
        import numpy as np

        model, frames = self._model, mel.shape[1]
        filled = -(model.lead_frames + frames) % model.chunk_frames
        padded = np.pad(mel[0], ((model.lead_frames, filled), (0, 0)))
        state, outputs = model.initial_state(), []
        for start in range(0, len(padded), model.chunk_frames):
            chunk, state = model.step(padded[start : start + model.chunk_frames], state, phones)
            outputs.append(chunk)
        return np.concatenate(outputs)[None, : -(-frames // model.stride)]


TARGETS = {
    "onnx-streaming": Target(
        order=30,
        about="live sound, chunk by chunk, of a causal model",
        write=partial(write_streaming, int8=False),
        model="model.onnx",
        comparison=Comparison(Chunked, "onnxruntime", "float", FLOAT, words="float"),
    ),
    "onnx-streaming-int8": Target(
        order=40,
        about="the same in 8 bits",
        write=partial(write_streaming, int8=True),
        model="model.onnx",
        made_from="onnx-streaming",
        comparison=Comparison(Chunked, "onnxruntime", "int8", INT8, words="int8"),
    ),
}
