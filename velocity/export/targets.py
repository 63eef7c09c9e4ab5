"""The artefacts: a folder a target, with the model, its configuration and its tokenizer."""

from __future__ import annotations

import shutil
from pathlib import Path

from velocity.audio import HOP, MEL_BINS, SAMPLE_RATE
from velocity.errors import VelocityError
from velocity.export.trained import Trained
from velocity.files import atomic_directory, write_json

TARGETS = ("onnx", "onnx-int8")


def export_target(target: str, trained: Trained, folder: Path) -> None:
    """Write ``model.onnx``, ``config.json`` and ``tokenizer.model`` to ``folder``, all of them or none.

    Raises VelocityError for an unknown target and for inputs that are broken or do not fit each other.
    """
    from velocity.export.onnx import export_onnx
    from velocity.model.asr import load_model
    from velocity.quantization.calibration import load_quantized
    from velocity.quantization.linear import quantized_layers

    if target not in TARGETS:
        raise VelocityError(f"{target}: unknown export target; known are {', '.join(TARGETS)}")
    if target == "onnx":
        model = load_model(trained.weights)
    else:
        model = load_quantized(trained.weights, trained.calibration)
        for layer in quantized_layers(model).values():
            layer.prepare_export()
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
    }
    with atomic_directory(folder) as partial:
        export_onnx(model, partial / "model.onnx")
        write_json(partial / "config.json", config)
        shutil.copyfile(trained.tokenizer, partial / "tokenizer.model")
