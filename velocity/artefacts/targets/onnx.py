"""ONNX of whole utterances, for servers and desktops, in floating point and in 8 bits."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from velocity.artefacts.target import FLOAT, INT8, Comparison, Target

if TYPE_CHECKING:
    from velocity.artefacts.target import Posteriors
    from velocity.artefacts.trained import Trained


def write_onnx(trained: Trained, folder: Path, source: Path | None, int8: bool) -> dict[str, Any]:
    """``model.onnx``: traced, or the graph in ``source``; with the trained integers for INT8."""
    import onnx

    from velocity.artefacts.onnx_graph import export_onnx, save_graph
    from velocity.artefacts.onnx_int8 import quantize_graph

    graph = onnx.load(source / "model.onnx") if source else export_onnx(trained.load(phones=True))
    if int8:
        quantize_graph(graph, trained.load_int8(phones=True))
    return save_graph(graph, folder, trained, "onnx-int8" if int8 else "onnx")


def load(folder: Path, threads: int) -> Posteriors:
    from velocity.recognition.offline import VelocityASR

    return VelocityASR(folder, threads)


TARGETS = {
    "onnx": Target(
        order=10,
        about="floating point, for servers and desktops: what the others are compared with",
        write=partial(write_onnx, int8=False),
        model="model.onnx",
        waveform=True,
        comparison=Comparison(load, "onnxruntime", "float", FLOAT, words="float"),
        timed=True,
        transcribes=True,
    ),
    "onnx-int8": Target(
        order=20,
        about="8-bit weights and activations: smaller and faster on any processor; what transcribe runs",
        write=partial(write_onnx, int8=True),
        model="model.onnx",
        made_from="onnx",
        waveform=True,
        comparison=Comparison(load, "onnxruntime", "int8", INT8, words="int8"),
        timed=True,
        transcribes=True,
    ),
}
