"""The artefacts: a folder a target, with the model, its configuration and its tokenizer."""

from __future__ import annotations

import shutil
from pathlib import Path

from velocity.audio import HOP, MEL_BINS, SAMPLE_RATE
from velocity.errors import VelocityError
from velocity.export.trained import Trained
from velocity.files import atomic_directory, write_json

TARGETS = ("onnx", "onnx-int8", "onnx-streaming", "onnx-streaming-int8")


def export_target(target: str, trained: Trained, folder: Path, traced: Path | None = None) -> None:
    """Write ``model.onnx``, ``config.json`` and ``tokenizer.model`` to ``folder``, all of them or none.

    ``traced`` is the ``model.onnx`` of the floating-point target of the same weights, which spares INT8 the tracing.
    Raises VelocityError for an unknown target, for inputs that are broken or do not fit each other, and for the
    streaming of a model that is not causal.
    """
    import onnx

    from velocity.export.onnx import export_onnx
    from velocity.export.quantize import quantize_graph
    from velocity.export.streaming import describe_streaming, export_onnx_streaming
    from velocity.model.asr import load_model
    from velocity.quantization.calibration import load_quantized

    if target not in TARGETS:
        raise VelocityError(f"{target}: unknown export target; known are {', '.join(TARGETS)}")
    model = load_model(trained.weights)
    streaming = {"streaming": describe_streaming(model)} if "streaming" in target else {}
    quantized = load_quantized(trained.weights, trained.calibration) if target.endswith("-int8") else None
    trace = export_onnx_streaming if streaming else export_onnx
    graph = onnx.load(traced) if traced else trace(model)
    if quantized:
        graph = quantize_graph(graph, quantized)
    config = {
        "format": 1,
        "name": trained.name,
        "target": target,
        "sample_rate": SAMPLE_RATE,
        "mel_bins": MEL_BINS,
        "frame_seconds": model.config.stride * HOP / SAMPLE_RATE,
        "vocabulary": model.config.vocabulary,
        "blank": 0,
        "normalizer": "velocity-english",
        "synthetic": trained.synthetic,
        "model": model.config.to_dict(),
        **streaming,
    }
    with atomic_directory(folder) as partial:
        onnx.save(graph, partial / "model.onnx")
        write_json(partial / "config.json", config)
        shutil.copyfile(trained.tokenizer, partial / "tokenizer.model")
