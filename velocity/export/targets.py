"""The artefacts: a folder a target, with the model, its configuration and its tokenizer."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from velocity.audio import HOP, MEL_BINS, SAMPLE_RATE
from velocity.errors import VelocityError
from velocity.export.trained import Trained
from velocity.export.web import write_web
from velocity.files import atomic_directory, write_json


@dataclass(frozen=True)
class Target:
    """How an artefact comes about.

    ``write(trained, folder, source)`` puts the model's own files into ``folder`` and returns what ``config.json`` says
    of them. ``source`` is the folder of the artefact ``made_from`` of the same weights, which spares what was done for
    it, or None.
    """

    write: Callable[[Trained, Path, Path | None], dict[str, Any]]
    made_from: str | None = None


def export_target(target: str, trained: Trained, folder: Path, source: Path | None = None) -> None:
    """Write the artefact ``target`` to ``folder``: the model's files, ``config.json`` and ``tokenizer.model``, all of
    them or none. ``source`` as in ``Target``.

    Raises VelocityError for an unknown target, for inputs that are broken or do not fit each other, and for the
    streaming of a model that is not causal.
    """
    from velocity.model.asr import load_model

    if target not in TARGETS:
        raise VelocityError(f"{target}: unknown export target; known are {', '.join(TARGETS)}")
    model = load_model(trained.weights).config
    with atomic_directory(folder) as partial:
        described = TARGETS[target].write(trained, partial, source)
        config = {
            "format": 1,
            "name": trained.name,
            "target": target,
            "sample_rate": SAMPLE_RATE,
            "mel_bins": MEL_BINS,
            "frame_seconds": model.stride * HOP / SAMPLE_RATE,
            "vocabulary": model.vocabulary,
            "blank": 0,
            "normalizer": "velocity-english",
            "synthetic": trained.synthetic,
            "model": model.to_dict(),
            **described,
        }
        write_json(partial / "config.json", config)
        shutil.copyfile(trained.tokenizer, partial / "tokenizer.model")


def write_onnx(trained: Trained, folder: Path, source: Path | None, streaming: bool, int8: bool) -> dict[str, Any]:
    """``model.onnx``: of whole utterances, or the chunk step of a causal model; in floating point, or with integers."""
    import onnx

    from velocity.export.onnx import export_onnx
    from velocity.export.quantize import quantize_graph
    from velocity.export.streaming import describe_streaming, export_onnx_streaming
    from velocity.model.asr import load_model
    from velocity.quantization.calibration import load_quantized

    model = load_model(trained.weights)
    described = {"streaming": describe_streaming(model)} if streaming else {}
    quantized = load_quantized(trained.weights, trained.calibration) if int8 else None
    trace = export_onnx_streaming if streaming else export_onnx
    graph = onnx.load(source / "model.onnx") if source else trace(model)
    onnx.save(quantize_graph(graph, quantized) if quantized else graph, folder / "model.onnx")
    return described


TARGETS = {
    "onnx": Target(partial(write_onnx, streaming=False, int8=False)),
    "onnx-int8": Target(partial(write_onnx, streaming=False, int8=True), made_from="onnx"),
    "onnx-streaming": Target(partial(write_onnx, streaming=True, int8=False)),
    "onnx-streaming-int8": Target(partial(write_onnx, streaming=True, int8=True), made_from="onnx-streaming"),
    "web": Target(write_web, made_from="onnx-int8"),
}
